"""A remote behind Streamable HTTP: each request is a POST of its own, and its answer one JSON object or some events."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from openai_gateway import __version__
from openai_gateway.net.client import Answer, Http11Client, Origin
from openai_gateway.net.connection import NetError, Unwatched
from openai_gateway.secret import Secret
from openai_gateway.wire.sse import Decoder, Event, EventTooLarge
from openai_gateway.wire.strict import JsonError, dumps, loads
from openai_gateway_mcp.protocol import over_http, params
from openai_gateway_mcp.protocol.switchboard import Asked, Message, meta_of
from openai_gateway_mcp.relay import UNAUTHORIZED, Line, Lost

MAX_ANSWER_BYTES: Final = 64 * 2**20

USER_AGENT: Final = f"openai-gateway-mcp/{__version__}"
_FAREWELL: Final = 0.1  # seconds to close connections that nobody waits for
_ACCEPT: Final = "application/json, text/event-stream"


def origin_of(url: str) -> tuple[Origin, str]:
    """Where a URL of http, https, ws or wss leads, and the target to ask for there."""
    parts = urlsplit(url)
    is_secure = parts.scheme in {"https", "wss"}
    origin = Origin("https" if is_secure else "http", parts.hostname or "", parts.port or (443 if is_secure else 80))
    return origin, parts.path or "/"


class HttpRemote:
    """`url` is the endpoint's own, such as https://mcp.example/mcp; `key` is the bearer."""

    def __init__(self, url: str, key: Secret | None, client: Http11Client) -> None:
        self._url = url
        self._key = key
        self._client = client
        self._origin, self._target = origin_of(url)
        self._scopes: dict[int, trio.CancelScope] = {}
        self._version = ""  # what a legacy client has settled on, and the id of its session
        self._session = ""
        self._mirrored: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}  # tool → the arguments in its headers

    async def run(self, line: Line, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        self._line = line
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
                await self._client.aclose()

    def ask(self, asked: Asked) -> None:
        self._scopes[asked.number] = trio.CancelScope()
        self._nursery.start_soon(self._ask, asked)

    def tell(self, message: Message, withdrawn: Asked | None) -> None:
        """Leaving a stream is its cancellation; in the legacy revisions the notification says so too."""
        if withdrawn is not None and (scope := self._scopes.get(withdrawn.number)) is not None:
            scope.cancel()
        if withdrawn is None or not withdrawn.is_modern:
            self._nursery.start_soon(self._tell, message)

    async def _tell(self, message: Message) -> None:
        with contextlib.suppress(Lost):  # nobody waits for it, and the next request will say what is wrong
            answer = await self._post(message)
            await answer.aclose()

    async def _ask(self, asked: Asked) -> None:
        try:
            with self._scopes[asked.number]:
                await self._converse(asked)
        except Lost as lost:
            self._line.fail(asked, lost)
        finally:
            del self._scopes[asked.number]

    async def _converse(self, asked: Asked) -> None:
        answer = await self._post(asked.message)
        try:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if answer.status == 200 and kind == "text/event-stream":
                await self._take_events(asked, answer)
            else:
                await self._take_json(asked, answer)
        except NetError as error:
            raise Lost(f"The connection to {self._url} was lost: {error}") from None
        finally:
            await answer.aclose()

    async def _take_events(self, asked: Asked, answer: Answer) -> None:
        decoder = Decoder(max_event_bytes=MAX_ANSWER_BYTES)
        while piece := await answer.read(contextlib.nullcontext):
            try:
                events = decoder.feed(piece)
            except EventTooLarge:
                raise Lost(f"{self._url} sent an event of more than {MAX_ANSWER_BYTES} bytes") from None
            for event in events:
                if isinstance(event, Event) and event.data and self._take(asked, self._message(event.data), answer):
                    return
        raise Lost(f"The connection to {self._url} ended before the answer came")

    async def _take_json(self, asked: Asked, answer: Answer) -> None:
        body = bytearray()
        while piece := await answer.read(contextlib.nullcontext):
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise Lost(f"{self._url} sent an answer of more than {MAX_ANSWER_BYTES} bytes")
        message = maybe_message(bytes(body))
        if message is not None and "error" in message and message.get("id") is None:
            # It is about this request, whose id was not read. But who has no right key is to be told that in our words.
            message = None if answer.status in {401, 403} else {**message, "id": asked.number}
        if message is None:
            raise refusal(self._url, answer.status)
        if not self._take(asked, message, answer):
            raise Lost(f"{self._url} answered with something else than what was asked")

    def _message(self, data: bytes) -> Message:
        message = maybe_message(data)
        if message is None:
            raise Lost(f"{self._url} sent an event that is no message")
        return message

    def _take(self, asked: Asked, message: Message, answer: Answer) -> bool:
        """Pass on what came; whether it is the answer."""
        is_answer = "method" not in message and message.get("id") == asked.number
        if is_answer and isinstance(result := message.get("result"), dict):
            self._learn(asked, result, answer)
        self._line.hear(message)
        return is_answer

    def _learn(self, asked: Asked, result: Mapping[str, Any], answer: Answer) -> None:
        if asked.method == "initialize":
            self._version = str(result.get("protocolVersion", ""))
            self._session = answer.headers.get(over_http.SESSION, "")
        elif asked.method == "tools/list" and isinstance(tools := result.get("tools"), list):
            for tool in tools:
                if isinstance(tool, dict) and isinstance(schema := tool.get("inputSchema"), dict):
                    self._mirrored[str(tool.get("name"))] = tuple(over_http.mirrored(schema))

    async def _post(self, message: Message) -> Answer:
        body = dumps(message)
        fields = {
            "host": urlsplit(self._url).netloc,
            "user-agent": USER_AGENT,
            "accept": _ACCEPT,
            "accept-encoding": "identity",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self._fields(message),
        }
        if self._key is not None:
            fields["authorization"] = f"Bearer {self._key.reveal()}"
        try:
            return await self._client.ask(
                self._origin,
                method="POST",
                target=self._target.encode(),
                headers=list(fields.items()),
                body=body,
                watch=Unwatched(),
            )
        except NetError as error:
            raise Lost(f"{self._url} cannot be reached: {error}") from None

    def _fields(self, message: Message) -> dict[str, str]:
        """What the transport wants to see of a message in its head."""
        version = meta_of(message).get(params.VERSION)
        method = str(message.get("method", ""))
        if not isinstance(version, str):
            known = {over_http.VERSION: self._version, over_http.SESSION: self._session}
            return {} if method == "initialize" else {name: value for name, value in known.items() if value}
        members = message.get("params", {})
        fields = {over_http.VERSION: over_http.encoded(version), over_http.METHOD: over_http.encoded(method)}
        name = members.get(over_http.NAMED.get(method, ""))
        if isinstance(name, str):
            fields[over_http.NAME] = over_http.encoded(name)
        if method == "tools/call" and isinstance(name, str):
            fields |= over_http.mirrors(self._mirrored.get(name, ()), members.get("arguments"))
        return fields


def refusal(url: str, status: int) -> Lost:
    """What a status says that came without a message."""
    if status == 401:
        return Lost(f"{url} does not take GATEWAY_API_KEY (HTTP 401)", UNAUTHORIZED)
    if status == 403:
        return Lost(f"{url} refuses this with GATEWAY_API_KEY (HTTP 403)", UNAUTHORIZED)
    return Lost(f"{url} answered with HTTP {status} and no message of MCP; is it the URL of its /mcp?")


def maybe_message(data: bytes) -> Message | None:
    """The one JSON-RPC message in these bytes, if that is what they are."""
    try:
        message = loads(data)
    except JsonError:
        return None
    return message if isinstance(message, dict) and message.get("jsonrpc") == "2.0" else None
