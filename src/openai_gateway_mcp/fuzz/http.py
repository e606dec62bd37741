"""A conversation over Streamable HTTP with a server that runs already: each line is a POST of its own."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import math
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self

import attrs
import httpx
import trio

from openai_gateway_mcp.fuzz.conversation import Ended, Heard, Refused
from openai_gateway_mcp.fuzz.judge import VERSION
from openai_gateway_mcp.fuzz.reading import Kind, Reading, read
from openai_gateway_mcp.fuzz.rules import BY_ID, Deviation
from openai_gateway_mcp.fuzz.shapes import LEGACY, MODERN

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_BYTES: Final = 16 * 1024 * 1024  # of one answer; what goes on beyond is not read

_PLAIN: Final = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
_SAFE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_VERSION_SAID_FROM: Final = "2025-06-18"
_GOODBYE: Final = 2.0  # seconds for the end of a session


@attrs.define(eq=False)
class Session:
    """One client of a server. `finish` ends its session, if it has one; the server goes on."""

    url: str
    patience: float
    """Seconds that the head of an answer may take."""
    _client: httpx.AsyncClient
    _heard: trio.MemorySendChannel[Heard]
    _hearing: trio.MemoryReceiveChannel[Heard]
    keeps_order: bool = attrs.field(default=False, init=False)
    last_words: bytes = attrs.field(default=b"", init=False)
    """Nothing: another has its stderr."""
    _unfinished: bytes = b""
    _revision: str = ""
    _id: str = ""
    _is_gone: bool = False
    _posts: trio.Nursery = attrs.field(init=False)
    _is_done: trio.Event = attrs.field(factory=trio.Event)

    @classmethod
    async def start(cls, nursery: trio.Nursery, url: str, *, headers: Mapping[str, str], patience: float) -> Self:
        """`headers` go along with each request. No proxy of the environment is asked: the server is on this machine."""
        client = httpx.AsyncClient(
            headers=headers,
            timeout=None,  # noqa: S113 - `patience` bounds each wait
            verify=_authorities(),
            trust_env=False,
        )
        self = cls(url, patience, client, *trio.open_memory_channel[Heard](math.inf))
        await nursery.start(self._live)
        return self

    async def say(self, data: bytes) -> None:
        """Whole lines are posted side by side, and this waits for the heads of their answers."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        heads = [trio.Event() for _ in lines]
        for line, head in zip(lines, heads, strict=True):
            self._posts.start_soon(self._post, line, head)
        with trio.move_on_after(self.patience):
            for head in heads:
                await head.wait()

    async def hear(self, seconds: float) -> Heard | None:
        """Raises Ended."""
        with contextlib.suppress(trio.WouldBlock):
            return self._hearing.receive_nowait()
        if self._is_gone:
            raise Ended(None)
        with trio.move_on_after(seconds):
            return await self._hearing.receive()
        return None

    async def finish(self, seconds: float) -> bool:
        if self._id and not self._is_gone:
            with trio.move_on_after(min(seconds, _GOODBYE)), contextlib.suppress(httpx.TransportError):
                await self._client.delete(self.url, headers=self._headers(Reading(kind=Kind.BLANK)))
        self._is_done.set()
        return True

    # --- one line and its answer --------------------------------------------------------------------------------------

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        async with self._client, trio.open_nursery() as self._posts:
            task_status.started()
            await self._is_done.wait()
            self._posts.cancel_scope.cancel()

    async def _post(self, line: bytes, head: trio.Event) -> None:
        reading = read(line)
        try:
            request = self._client.stream("POST", self.url, content=line, headers=self._headers(reading))
            async with request as response:
                if reading.method == "initialize" and response.is_success:
                    self._id = response.headers.get("mcp-session-id", self._id)
                await self._answer(line, reading, response, head)
        except httpx.ConnectError:
            self._is_gone = True
        except httpx.TransportError as error:
            self._find("http-connection", type(error).__name__, f"no whole answer came to {line[:300]!r}: {error!r}")
            self._heard.send_nowait(Refused(line))
        finally:
            head.set()

    async def _answer(self, line: bytes, reading: Reading, response: httpx.Response, head: trio.Event) -> None:
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "text/event-stream" and response.is_success:
            head.set()
            events = Events()
            async for piece in response.aiter_bytes():
                for data in events.feed(piece):
                    self._hear(data)
            return
        body = await _body(response)
        if response.status_code >= 500:
            self._find("http-fault", f"status {response.status_code}", f"{response.status_code} to {line[:300]!r}")
        if not response.is_success:
            self._heard.send_nowait(body if _has_id(body) else Refused(line))
        elif reading.kind in {Kind.NOTIFICATION, Kind.RESPONSE}:
            if response.status_code != 202 or body:
                words = f"{response.status_code} and {len(body)} bytes to {line[:300]!r}"
                self._find("http-accepted", f"status {response.status_code}", words)
        elif media == "application/json":
            self._hear(body)
        elif reading.kind is Kind.REQUEST and response.status_code != 202:
            self._find("http-media", media or "none", f"{reading.method} was answered as {media or 'no type'}")
            self._heard.send_nowait(Refused(line))

    def _hear(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):  # what it is worth is the judge's to say
            message = json.loads(data)
            result = message.get("result") if isinstance(message, dict) else None
            version = result.get("protocolVersion") if isinstance(result, dict) else None
            if version in LEGACY:
                self._revision = version
        self._heard.send_nowait(data)

    def _find(self, rule: str, about: str, text: str) -> None:
        self._heard.send_nowait(Deviation(BY_ID[rule], about, text))

    def _headers(self, reading: Reading) -> Mapping[str, str]:
        meta = reading.params.get("_meta")
        said = meta.get(VERSION) if isinstance(meta, dict) else None
        session = self._revision if self._revision >= _VERSION_SAID_FROM else ""
        headers = {"mcp-protocol-version": said if isinstance(said, str) else session, "mcp-session-id": self._id}
        if said in MODERN and reading.method:
            name = reading.params.get(_NAMED_BY.get(reading.method, ""))
            headers["mcp-method"] = reading.method
            headers["mcp-name"] = _header(name) if isinstance(name, str) else ""
        return {**_PLAIN, **{name: value for name, value in headers.items() if _SAFE.fullmatch(value)}}


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Read once: it takes as long as a conversation."""
    return ssl.create_default_context()


def _header(value: str) -> str:
    """A name, which alone has a second way to be written: as it is, if it can stand there and isn't taken for that."""
    if _SAFE.fullmatch(value) and not value.startswith("=?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'replace')).decode()}?="


class Events:
    """The data of server-sent events, out of pieces of a stream (WHATWG HTML, 9.2.6); events without data are none."""

    def __init__(self) -> None:
        self._unfinished = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        whole = self._unfinished + piece
        held = b"\r" if whole.endswith(b"\r") else b""  # a line feed may follow, and belong to it
        *lines, unfinished = re.split(rb"\r\n|\n|\r", whole.removesuffix(held) if held else whole)
        self._unfinished = unfinished + held
        for line in lines:
            name, _, value = line.partition(b":")
            if name == b"data" and line:
                self._data.append(value.removeprefix(b" "))
            elif not line:
                data, self._data = b"\n".join(self._data), []
                if data:
                    yield data


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


def _has_id(body: bytes) -> bool:
    """Whether it is an answer to a request, and not only a page about an error."""
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and message.get("jsonrpc") == "2.0" and message.get("id") is not None
