"""A small OpenAI-compatible upstream that obeys the model's name, and a journal of what it saw.

It runs in a thread of its own. Clients in other processes wait for an entry of the journal over HTTP, so that a test
proves an order of events and measures no time:

    GET /await/KIND/MODEL   is answered as soon as the journal holds a KIND entry for MODEL
    GET /release/MODEL      ends the answers of a `drip` model
"""

from __future__ import annotations

import enum
import http.client
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

import attrs
import h11
import trio

Json = Any

KEY: Final = "sk-planted-for-the-peers-0123456789"
READ_BYTES = 65536
DRIP_SECONDS = 0.02
WAIT_SECONDS = 30
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SOUND: Final = b"RIFF\x2c\0\0\0WAVEfmt " + bytes(48)


class Kind(enum.Enum):
    """What the journal tells of a chat completion, in the order in which it happens."""

    ASKED = "asked"
    ANSWERED = "answered"
    GONE = "gone"  # the caller closed the connection before it had its whole answer


@attrs.frozen
class Entry:
    kind: Kind
    model: str
    streamed: bool


class Manner(enum.Enum):
    """What an upstream may do with a question; each is the name of a model that does it."""

    ECHO = "echo"  # repeats the last user message
    DRIP = "drip"  # streams a word every few milliseconds until it is released
    MUTE = "mute"  # takes the request and never sends a byte
    STUCK = "stuck"  # sends one word and then nothing more
    REFUSE = "refuse"  # 400, with OpenAI's error object


class Journal:
    """The entries so far, in the one order in which they happened; written in one thread and read from any."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._written = trio.Event()

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def write(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._written.set()
        self._written = trio.Event()

    def kinds(self, model: str) -> list[str]:
        return [entry.kind.value for entry in self.entries if entry.model == model]

    def open_calls(self) -> int:
        """How many callers wait for the rest of their answer at this moment."""
        return sum(1 if entry.kind is Kind.ASKED else -1 for entry in self.entries)

    async def holds(self, kind: str, model: str) -> None:
        """Returns once there is such an entry."""
        while kind not in self.kinds(model):
            await self._written.wait()


@attrs.frozen(kw_only=True, eq=False)
class Upstream:
    """`url` is without /v1."""

    url: str
    journal: Journal
    _released: dict[str, trio.Event] = attrs.field(factory=dict)

    def wait_for(self, kind: Kind, model: str) -> None:
        """Returns once the journal holds such an entry; for a test's own thread. TimeoutError if it never does."""
        self._get(f"/await/{kind.value}/{model}")

    def release(self, model: str) -> None:
        """End the answers of a `drip` model; for a test's own thread."""
        self._get(f"/release/{model}")

    def _get(self, path: str) -> None:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=WAIT_SECONDS)
        with closing(connection):
            connection.request("GET", path)
            connection.getresponse().read()

    def released(self, model: str) -> trio.Event:
        return self._released.setdefault(model, trio.Event())


@contextmanager
def running() -> Iterator[Upstream]:
    """An upstream on a free port of the loopback interface, until the block ends."""
    started: queue.SimpleQueue[tuple[Upstream, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.SimpleQueue()

    async def serve() -> None:
        async def serve_caller(stream: trio.SocketStream) -> None:
            await Caller(upstream, stream).serve()

        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream(url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}", journal=Journal())
        with trio.CancelScope() as scope:
            started.put((upstream, trio.lowlevel.current_trio_token(), scope))
            await trio.serve_listeners(serve_caller, [listener])

    thread = threading.Thread(target=trio.run, args=(serve,), name="fake upstream")
    thread.start()
    upstream, token, scope = started.get(timeout=10)
    try:
        yield upstream
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


def inputs(body: bytes) -> list[str]:
    """The texts of a request that has an `input`; none where it has another shape."""
    try:
        said = json.loads(body)["input"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(one) for one in said] if isinstance(said, list) else [str(said)]


def is_streamed(body: bytes) -> bool:
    try:
        return bool(json.loads(body).get("stream"))
    except (ValueError, AttributeError):
        return False


class Caller:
    """One connection: requests one after another, as HTTP/1.1 keeps it open."""

    def __init__(self, upstream: Upstream, stream: trio.SocketStream) -> None:
        self._upstream = upstream
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        async with self._stream:
            try:
                while await self._serve_one():
                    self._http.start_next_cycle()
            except trio.BrokenResourceError:
                return

    async def _serve_one(self) -> bool:
        """Whether another request may follow."""
        request, body = await self._next_request()
        if request is None:
            return False
        path = request.target.decode().partition("?")[0].removeprefix("/v1")
        match path.split("/")[1:]:
            case ["await", kind, model]:
                await self._upstream.journal.holds(kind, model)
                await self._send_json(200, {"held": [kind, model]})
            case ["release", model]:
                self._upstream.released(model).set()
                await self._send_json(200, {"released": model})
            case _ if dict(request.headers).get(b"authorization") != f"Bearer {KEY}".encode():
                await self._send_json(401, failure("Incorrect API key provided", "invalid_api_key"))
            case ["models"]:
                data = [{"id": model.value, "object": "model", "created": 0, "owned_by": "tests"} for model in Manner]
                await self._send_json(200, {"object": "list", "data": data})
            case ["chat", "completions"]:
                await self._chat(json.loads(body))
            case other:
                await self._serve_other("/".join(other), body)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _serve_other(self, path: str, body: bytes) -> None:
        texts = inputs(body)
        match path:
            case "images/generations" if not is_streamed(body):
                await self._send_json(200, {"created": 1, "data": [{"b64_json": PIXEL}]})
            case "audio/transcriptions":
                await self._send_json(200, {"text": "one two" if SOUND in body else "nothing"})
            case "embeddings" | "moderations" | "audio/speech" | "images/generations" if not texts or is_streamed(body):
                await self._send_json(400, failure("input is missing, or stream is none of this", "invalid"))
            case "embeddings":
                vectors = [{"object": "embedding", "index": n, "embedding": [n, 0.5]} for n in range(len(texts))]
                await self._send_json(200, {"object": "list", "data": vectors, "model": "vectors"})
            case "moderations":
                await self._send_json(200, {"id": "m", "results": [{"flagged": "bad" in text} for text in texts]})
            case "audio/speech":
                await self._send_bytes(SOUND, "audio/wav")
            case _:
                await self._send_json(404, failure(f"No such path: /{path}", "not_found"))

    async def _chat(self, body: Json) -> None:
        model, streamed = body["model"], bool(body.get("stream"))

        def note(kind: Kind) -> None:
            self._upstream.journal.write(Entry(kind, model, streamed))

        note(Kind.ASKED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope, note)
            with suppress(trio.BrokenResourceError):  # the watch sees it too, and notes it
                await self._answer(model, body)
                note(Kind.ANSWERED)
                nursery.cancel_scope.cancel()

    async def _watch(self, answering: trio.CancelScope, note: Callable[[Kind], None]) -> None:
        """Notes the moment the caller goes away, whatever the answer is doing."""
        with suppress(trio.BrokenResourceError):
            while data := await self._stream.receive_some(READ_BYTES):
                self._http.receive_data(data)  # a caller that has its answer may already ask the next thing
        if self._http.our_state in {h11.SEND_RESPONSE, h11.SEND_BODY}:
            note(Kind.GONE)
            answering.cancel()

    async def _answer(self, model: str, body: Json) -> None:
        if model not in {manner.value for manner in Manner}:
            await self._send_json(404, failure(f"The model {model} does not exist", "model_not_found"))
            return
        match Manner(model):
            case Manner.REFUSE:
                await self._send_json(400, failure("This model refuses", "refused"))
            case Manner.MUTE:
                await trio.sleep_forever()
            case Manner.ECHO if not body.get("stream"):
                await self._send_json(200, completion(model, last_words(body)))
            case Manner.ECHO:
                await self._stream_answer(body, [last_words(body)])
            case Manner.STUCK:
                await self._begin_stream()
                await self._send_chunk(chunk(model, {"role": "assistant", "content": "one"}))
                await trio.sleep_forever()
            case Manner.DRIP:
                await self._drip(body)

    async def _drip(self, body: Json) -> None:
        released = self._upstream.released(body["model"])
        await self._begin_stream()
        while not released.is_set():
            await self._send_chunk(chunk(body["model"], {"content": "drop "}))
            with trio.move_on_after(DRIP_SECONDS):
                await released.wait()
        await self._end_stream(body)

    async def _stream_answer(self, body: Json, pieces: list[str]) -> None:
        await self._begin_stream()
        for piece in pieces:
            await self._send_chunk(chunk(body["model"], {"role": "assistant", "content": piece}))
        await self._end_stream(body)

    async def _begin_stream(self) -> None:
        await self._send(h11.Response(status_code=200, headers=[("Content-Type", "text/event-stream")]))

    async def _send_chunk(self, value: Json) -> None:
        await self._send(h11.Data(data=b"data: %b\n\n" % json.dumps(value).encode()))

    async def _end_stream(self, body: Json) -> None:
        await self._send_chunk(chunk(body["model"], {}, finish_reason="stop"))
        if body.get("stream_options", {}).get("include_usage"):
            await self._send_chunk(chunk(body["model"], None) | {"choices": [], "usage": USAGE})
        await self._send(h11.Data(data=b"data: [DONE]\n\n"))
        await self._send(h11.EndOfMessage())

    async def _send_json(self, status: int, value: Json) -> None:
        await self._send_bytes(json.dumps(value).encode(), "application/json", status)

    async def _send_bytes(self, data: bytes, content_type: str, status: int = 200) -> None:
        headers = [("Content-Type", content_type), ("Content-Length", str(len(data)))]
        await self._send(h11.Response(status_code=status, headers=headers))
        await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        assert data is not None
        await self._stream.send_all(data)

    async def _next_request(self) -> tuple[h11.Request | None, bytes]:
        request, body = None, b""
        while True:
            match event := self._http.next_event():
                case h11.NEED_DATA:
                    self._http.receive_data(await self._stream.receive_some(READ_BYTES))
                case h11.Request():
                    request = event
                case h11.Data():
                    body += event.data
                case _:
                    return request, body


USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def last_words(body: Json) -> str:
    """The text of the last user message."""
    words: str = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
    return words


def completion(model: str, text: str) -> Json:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": USAGE,
    }


def chunk(model: str, delta: Json, *, finish_reason: str | None = None) -> dict[str, Json]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}


def failure(message: str, code: str) -> Json:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
