"""A transport that plays a script: what a provider does, step by step, on trio's clock and without a socket."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import attrs
import httpx
import trio

from openai_gateway import Call, Gateway, Settings
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable
from openai_gateway.routing.settings import Retries, Timeouts
from openai_gateway.secret import Secret

FOREVER = math.inf
Step = bytes | float | Exception
"""Bytes are sent, a number is a silence of so many seconds, an exception breaks the connection."""

CANARY = "sk-canary-0123456789abcdefghij"


@attrs.frozen(kw_only=True)
class Answer:
    """One answer. `connect` is how long connecting takes, None for a connection that is reused."""

    status: int = 200
    headers: dict[str, str] = attrs.field(factory=lambda: {"content-type": "application/json"})
    connect: float | Exception | None = 0.0
    before: Sequence[Step] = ()
    body: Sequence[Step] = ()


def whole(text: str = "Hello!", **more: Any) -> Answer:
    """A chat completion in one piece; `more` are fields of Answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 2_000_000}
    body = {"id": "c1", "object": "chat.completion", "model": "served-1", "choices": [choice], "usage": usage}
    return Answer(**{"body": (json.dumps(body).encode(),), **more})


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(text: str | None = None, finish: str | None = None, **delta: Any) -> bytes:
    """One event with a delta."""
    delta = delta if text is None else {**delta, "content": text}
    return event({"id": "c1", "model": "served-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


ROLE = chunk("", role="assistant")
STOP = chunk(finish="stop")
USAGE = event({"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
DONE = b"data: [DONE]\n\n"


def stream(*steps: Step, **more: Any) -> Answer:
    """A stream of these steps."""
    return Answer(**{"headers": {"content-type": "text/event-stream"}, "body": steps, **more})


def refusal(status: int, message: str = "no", **more: Any) -> Answer:
    """An OpenAI error."""
    headers = {"content-type": "application/json", **more.pop("headers", {})}
    error = {"message": message, "type": "some_error", "param": None, "code": None, **more}
    return Answer(status=status, headers=headers, body=(json.dumps({"error": error}).encode(),))


class Script(httpx.AsyncBaseTransport):
    """Plays the answers in turn; `log` says what happened in which order, `requests` what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.log: list[str] = []

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number = len(self.requests)
        answer = self.answers[number]
        self.requests.append(request)
        self.times.append(trio.current_time())
        self.log.append(f"asked {number}")
        try:
            await self._head(answer, request)
        except BaseException:
            self.log.append(f"closed {number}")
            raise
        return httpx.Response(answer.status, headers=answer.headers, stream=Body(answer.body, self.log, number))

    async def _head(self, answer: Answer, request: httpx.Request) -> None:
        trace = request.extensions["trace"]
        if answer.connect is not None:
            await trace("connection.connect_tcp.started", {})
            await _play(answer.connect)
        await trace("http11.send_request_headers.started", {"request": request})
        for step in answer.before:
            await _play(step)


class Body(httpx.AsyncByteStream):
    def __init__(self, steps: Sequence[Step], log: list[str], number: int) -> None:
        self._steps = steps
        self._log = log
        self._number = number
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for step in self._steps:
                piece = await _play(step)
                if piece:
                    self._log.append(f"sent {piece!r}"[:60])
                    yield piece
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._log.append(f"closed {self._number}")


async def _play(step: Step) -> bytes:
    await trio.lowlevel.checkpoint()
    if isinstance(step, Exception):
        raise step
    if isinstance(step, float):
        await trio.sleep(step)
        return b""
    return step


async def call(gateway: Gateway) -> None:
    """One call, its answer whole."""
    await gateway.call(ask())


async def read_stream(gateway: Gateway) -> None:
    """One streamed call, read to its end."""
    async with gateway.stream(ask()) as parts:
        async for _ in parts:
            pass


WAYS: dict[str, Callable[[Gateway], Awaitable[None]]] = {"call": call, "stream": read_stream}


def provider(name: str = "one", **more: Any) -> Provider:
    key = Secret(CANARY, name=f"KEY_OF_{name.upper()}")
    return Provider(
        **{"name": name, "kind": "openai", "base_url": f"https://{name}.example/v1", "api_key": key, **more}
    )


def row(name: str = "m", provider: str = "one", **more: Any) -> ModelRow:
    return ModelRow(**{"name": name, "provider": provider, "model": f"{name}-at-{provider}", **more})


def settings(*rows: ModelRow, providers: Sequence[Provider] = (), **more: Any) -> Settings:
    """One row at one provider where nothing else is said; times as in docs/spec/gateway.md."""
    found = {p.name: p for p in providers or (provider(),)}
    table = RouteTable(providers=found, rows=rows or (row(),))
    secrets = tuple(p.api_key for p in found.values() if p.api_key is not None)
    return Settings(**{"table": table, "secrets": secrets, "timeouts": Timeouts(), "retries": Retries(), **more})


def two_providers(**more: Any) -> Settings:
    """The model `m` at `one`, then at `two`."""
    rows = row(order=1), row(provider="two", order=2)
    return settings(
        *rows, providers=(provider("one"), provider("two", api_key=Secret("other-key-000", name="K"))), **more
    )


def ask(**more: Any) -> Call:
    body = {"messages": [{"role": "user", "content": "Hello!"}], **more.pop("body", {})}
    return Call(**{"model": "m", "body": body, **more})
