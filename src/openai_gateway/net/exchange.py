"""One client's connection to the listener: one request and its answer after the other."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import trio

from openai_gateway.net import promptly
from openai_gateway.net.bounds import Bounds
from openai_gateway.net.heads import Headers, PeerError, Request, request_of
from openai_gateway.net.incoming import PIECE, Incoming
from openai_gateway.wire.http1 import (
    CONTINUE,
    LAST_CHUNK,
    Body,
    Chunked,
    NotHttp,
    Sized,
    answer_head,
    chunk,
    says_close,
)

__all__ = ["Conversation", "Exchange", "Handler", "Headers", "PeerError", "Refuse", "Request"]

Fields = Iterable[tuple[str, str]]
Refuse = Callable[[int, str], tuple[Fields, bytes]]
"""Given a status and words, the header fields and the body of an answer that the listener gives by itself."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_LOG: Final = logging.getLogger(__name__)


class Exchange:
    """One request, and the answer to it. The handler is cancelled as soon as the client is gone."""

    def __init__(self, request: Request, conversation: Conversation, came: bytearray) -> None:
        """`came`: what was read already beyond the head."""
        self.request = request
        self.begun = False
        self._conversation = conversation
        self._came = came
        self._body = _body_of(request, conversation.bounds.head_bytes)
        self._waits_to_be_asked = request.version != "1.0" and "100-continue" in _words(request, "expect")
        self._stalls = conversation.bounds.body_seconds
        self._closes = request.version == "1.0" or any(map(says_close, request.headers.all("connection")))
        self._is_chunked = False
        self._is_answered = False
        self._is_taken = False

    def close_after(self) -> None:
        """Keep the connection for no other request."""
        self._closes = True

    async def body(self, most: int) -> bytes:
        """The whole body. Raises PeerError, with 413 for one that is longer than `most` bytes."""
        if (length := self.request.headers.get("content-length")) is not None and int(length) > most:
            raise self._too_large(most)
        first = await self.receive()
        if self._body.is_over and len(first) <= most:
            return first
        body = bytearray(first)
        while len(body) <= most:
            if not (piece := await self.receive()):
                return bytes(body)
            body += piece
        raise self._too_large(most)

    def _too_large(self, most: int) -> PeerError:
        self.close_after()
        return PeerError(413, f"The body is larger than {most:,} bytes.")

    async def receive(self) -> bytes:
        """Some of the body, b"" at its end. Raises PeerError: 400 for what is none, 408 for what comes too slowly."""
        while True:
            found = self._came_of_body()
            if found or self._body.is_over:
                return found
            await self._wait_for_body()

    def _came_of_body(self) -> bytes:
        try:
            return self._body.take(self._came)
        except NotHttp:
            self.close_after()
            raise PeerError(400, "The body of the request is not sound.") from None

    async def _wait_for_body(self) -> None:
        if self._waits_to_be_asked:
            self._waits_to_be_asked = False
            await self._conversation.write(CONTINUE)
        began = trio.current_time()
        with trio.move_on_after(self._stalls) as clock:
            if not await self._conversation.incoming.wait():
                await self._conversation.leave()
                raise PeerError(400, "The body of the request is not whole.")
        if clock.cancelled_caught:
            self.close_after()
            raise PeerError(408, "The body of the request comes too slowly.")
        self._waits_to_be_asked = False
        data = self._conversation.incoming.take()
        stalled = trio.current_time() - began  # which is more than it could be, where it woke in time and ran later
        self._stalls = max(0.0, self._stalls - stalled) + len(data) / self._conversation.bounds.body_rate
        self._came += data

    async def answer(self, status: int, headers: Fields = (), body: bytes = b"") -> None:
        """The whole answer."""
        length = None if status in {204, 304} else ("content-length", str(len(body)))  # RFC 9110, 8.6
        data = self._head(status, headers, length)
        self._is_answered = True
        await self._conversation.write(data if self.request.method == "HEAD" else data + body)

    async def begin(self, status: int, headers: Fields = ()) -> None:
        """The head of an answer whose length is not known yet."""
        self._is_chunked = self.request.version != "1.0"  # it knows no chunks: the end of the connection is the end
        await self._conversation.write(
            self._head(status, headers, ("transfer-encoding", "chunked") if self._is_chunked else None)
        )

    async def send(self, data: bytes) -> None:
        """Some of the body. It waits for a slow reader."""
        if data and self.request.method != "HEAD":
            await self._conversation.write(chunk(data) if self._is_chunked else data)

    async def finish(self) -> None:
        """The end of an answer that `begin` began. One that is never finished is cut, and the client sees that."""
        self._is_answered = True
        if self._is_chunked and self.request.method != "HEAD":
            await self._conversation.write(LAST_CHUNK)

    async def take_over(self) -> Tunnel:
        """The connection itself, for what another protocol says on it from here on; nothing is answered any more.

        Raises PeerError (400) for a request with a body, whose end nobody could tell from what follows.
        """
        if self._came_of_body() or not self._body.is_over:
            self.close_after()
            raise PeerError(400, "A request to change the protocol has no body.")
        self.begun = self._is_taken = True
        self._conversation.incoming.on_gone = None  # whoever took it sees its end, and may have something to put away
        await trio.lowlevel.checkpoint()
        return Tunnel(self._conversation, bytes(self._came))

    def _head(self, status: int, headers: Fields, framing: tuple[str, str] | None) -> bytes:
        fields = [*headers, ("date", _date(int(time.time())))]
        if framing is not None:
            fields.append(framing)
        self._closes = self._closes or self._conversation.is_closing() or self._is_unreadable()
        if self._closes:
            fields.append(("connection", "close"))
        data = answer_head(status, _reason(status), fields)
        self.begun = True
        self._waits_to_be_asked = False
        return data

    def _is_unreadable(self) -> bool:
        """Whether so much of the body was not read that reading it costs more than another connection."""
        if self._body.is_over:
            return False
        length = self.request.headers.get("content-length")
        return self._waits_to_be_asked or int(length or 0) > self._conversation.bounds.unread_bytes

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will be answered to this request."""
        return self._is_answered or self._is_taken

    async def rest(self) -> bytearray | None:
        """What came after this request, once it is answered; None where no other request may follow on the connection.

        What is left of a small body is read for that.
        """
        if self._closes or self._is_taken:
            return None
        if not self._body.is_over and not await self._read_out():
            return None
        return self._came

    async def _read_out(self) -> bool:
        """The rest of the body, which nobody wanted; whether it came at once, and was small."""
        unread = self._conversation.bounds.unread_bytes
        with trio.move_on_after(self._conversation.bounds.linger_seconds), suppress(PeerError):
            while unread >= 0:
                if not (piece := await self.receive()):
                    return True
                unread -= len(piece)
        return False


def _body_of(request: Request, most: int) -> Body:
    """What follows its head, which says in one way at most how long it is; `most` as in Chunked."""
    if request.headers.get("transfer-encoding") is not None:
        return Chunked(most)
    return Sized(int(request.headers.get("content-length") or 0))


def _words(request: Request, name: str) -> list[str]:
    return [word.strip(" \t") for value in request.headers.all(name) for word in value.lower().split(",")]


class Tunnel:
    """A connection that was taken over: bytes both ways, under the clocks of the listener for who reads too slowly."""

    def __init__(self, conversation: Conversation, came: bytes) -> None:
        self._conversation = conversation
        self._came = came

    @property
    def gone(self) -> trio.Event:
        """Set when the client has closed its side, whatever is still unread."""
        return self._conversation.incoming.gone

    async def receive(self) -> bytes:
        """What has come, b"" at the end."""
        came, self._came = self._came, b""
        if came:
            await trio.lowlevel.checkpoint()
            return came
        await self._conversation.incoming.wait()
        return self._conversation.incoming.take()

    async def send(self, data: bytes) -> None:
        """All of it, by one task at a time. It waits for a slow reader, and is cancelled where there is none left."""
        await self._conversation.write(data)


Handler = Callable[[Exchange], Awaitable[None]]


def _reason(status: int) -> str:
    return _REASONS.get(status, "")


@functools.lru_cache(maxsize=2)
def _date(now: int) -> str:
    """RFC 9110, 6.6.1: a server with a clock says when it answered."""
    return formatdate(now, usegmt=True)


class Conversation:
    """One connection, from its first request to its end."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        handler: Handler,
        *,
        bounds: Bounds,
        refuse: Refuse,
        is_closing: Callable[[], bool],
        peer: str = "",
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        self.bounds = bounds
        self.incoming = Incoming(stream)
        self.is_closing = is_closing
        self._stream = stream
        self._handler = handler
        self._refuse = refuse
        self._peer = peer
        self._certificate = certificate
        self._raw = bytearray()  # that came and was not looked at yet
        self._scope = trio.CancelScope()  # around all that is done for this client
        self._is_cut = False

    async def run(self, around: Callable[[], Any]) -> None:
        """Serve requests until one side ends it; `around` stands around each exchange. It closes the stream."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.incoming.read)
                try:
                    with self._scope:
                        while await self._one(around):
                            pass
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + self.bounds.linger_seconds):
                        await self._farewell()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._stream)

    async def write(self, data: bytes) -> None:
        """In pieces, each under a clock: a reader may be slow, but not stand still."""
        is_whole = False
        try:
            sent = await promptly.send(self._stream, data[:PIECE])
            while sent < len(data):
                with trio.move_on_after(self.bounds.write_seconds) as clock:
                    await self._stream.send_all(data[sent : sent + PIECE])
                if clock.cancelled_caught:
                    await self.leave()
                sent += PIECE
            is_whole = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.leave()
        finally:
            self._is_cut = self._is_cut or not is_whole  # a frame that was broken off can be followed by nothing

    async def leave(self) -> None:
        """The client is gone: the handler ends here, cancelled."""
        self._is_cut = True
        self._scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _one(self, around: Callable[[], Any]) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            head = await self._head()
            if head is None:
                return False
            with around():
                exchange = self._exchange(head)
                await self._handle(exchange)
        except PeerError as error:
            await self._refuse_head(error)
            return False
        if self._is_cut or not exchange.is_finished:
            self._is_cut = True
            return False
        rest = await exchange.rest()
        self._raw = bytearray() if rest is None else rest
        if rest:  # nothing may have been waited for, and the others have their turn before the next one
            await trio.lowlevel.checkpoint()
        return rest is not None

    async def _head(self) -> bytes | None:
        """The raw head of the next request; None where there is none. Raises PeerError."""
        if not await self._first_bytes():
            return None
        deadline = trio.current_time() + self.bounds.head_seconds
        looked_at = 0  # no byte is looked at twice, however slowly they drip in
        while (end := self._raw.find(_END_OF_HEAD, looked_at)) < 0:
            if len(self._raw) > self.bounds.head_bytes:
                raise PeerError(431, f"The head of the request is larger than {self.bounds.head_bytes:,} bytes.")
            with trio.move_on_at(deadline) as clock:
                if not await self.incoming.wait():
                    return None
            if clock.cancelled_caught:
                raise PeerError(408, "The head of the request comes too slowly.")
            looked_at = max(0, len(self._raw) - len(_END_OF_HEAD) + 1)
            self._raw += self.incoming.take()
        if end > self.bounds.head_bytes:
            raise PeerError(431, f"The head of the request is larger than {self.bounds.head_bytes:,} bytes.")
        head = bytes(self._raw[: end + len(_END_OF_HEAD)])
        del self._raw[: len(head)]
        return head

    async def _first_bytes(self) -> bool:
        """Wait for those of the next request; whether there are any. Whoever is idle for too long is left."""
        while not self._has_first_bytes():
            self._scope.deadline = trio.current_time() + self.bounds.idle_seconds  # cheaper than a scope of its own
            if not await self.incoming.wait():
                return False
            self._scope.deadline = math.inf
            self._raw += self.incoming.take()
        return True

    def _has_first_bytes(self) -> bool:
        """RFC 9112, 2.2: an empty line before a request is none of it. Some clients send one behind each body."""
        if self._raw.startswith((b"\r", b"\n")):
            self._raw = self._raw.lstrip(b"\r\n")
        return bool(self._raw)

    def _exchange(self, head: bytes) -> Exchange:
        came, self._raw = self._raw, bytearray()
        request = request_of(
            head, peer=self._peer, is_tls=isinstance(self._stream, trio.SSLStream), certificate=self._certificate
        )
        return Exchange(request, self, came)

    async def _handle(self, exchange: Exchange) -> None:
        self.incoming.on_gone = self._scope.cancel
        if self.incoming.gone.is_set():
            self._scope.cancel()
        try:
            await self._answered(exchange)
        finally:
            self.incoming.on_gone = None

    async def _answered(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except PeerError as error:
            if not exchange.begun:
                exchange.close_after()
                headers, body = self._refuse(error.status, error.words)
                await exchange.answer(error.status, headers, body)
        except Exception:  # noqa: BLE001 - the pump of all handlers: one fault of ours must not end the others
            _LOG.exception("A request failed by a fault of the gateway.")
            if not exchange.begun:
                exchange.close_after()
                headers, body = self._refuse(500, "The gateway failed by a fault of its own.")
                await exchange.answer(500, headers, body)

    async def _refuse_head(self, error: PeerError) -> None:
        headers, body = self._refuse(error.status, error.words)
        fields = [
            *headers,
            ("date", _date(int(time.time()))),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        await self.write(answer_head(error.status, _reason(error.status), fields) + body)

    async def _farewell(self) -> None:
        """End it so that the last answer is read: what still comes must not make the kernel reset the connection."""
        self.incoming.discard()
        if self._is_cut or self.incoming.gone.is_set():
            return
        transport = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        if isinstance(transport, trio.abc.HalfCloseableStream):
            try:
                await transport.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        await self.incoming.gone.wait()
