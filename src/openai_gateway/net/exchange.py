"""One client's connection to the listener: h11 over a stream, one request and its answer after the other."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import h11
import trio

from openai_gateway.net.bounds import Bounds
from openai_gateway.net.heads import Headers, PeerError, Request, refuse_unsound, request_of
from openai_gateway.net.incoming import PIECE, Incoming

__all__ = ["Conversation", "Exchange", "Handler", "Headers", "PeerError", "Refuse", "Request"]

Fields = Iterable[tuple[str, str]]
Refuse = Callable[[int, str], tuple[Fields, bytes]]
"""Given a status and words, the header fields and the body of an answer that the listener gives by itself."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_LOG: Final = logging.getLogger(__name__)


class Exchange:
    """One request, and the answer to it. The handler is cancelled as soon as the client is gone."""

    def __init__(self, request: Request, conversation: Conversation, http: h11.Connection) -> None:
        self.request = request
        self.begun = False
        self._conversation = conversation
        self._http = http
        self._stalls = conversation.bounds.body_seconds
        self._closes = False
        self._is_taken = False

    def close_after(self) -> None:
        """Keep the connection for no other request."""
        self._closes = True

    async def body(self, most: int) -> bytes:
        """The whole body. Raises PeerError, with 413 for one that is longer than `most` bytes."""
        if (length := self.request.headers.get("content-length")) is not None and int(length) > most:
            raise self._too_large(most)
        body = bytearray()
        while piece := await self.receive():
            body += piece
            if len(body) > most:
                raise self._too_large(most)
        return bytes(body)

    def _too_large(self, most: int) -> PeerError:
        self.close_after()
        return PeerError(413, f"The body is larger than {most:,} bytes.")

    async def receive(self) -> bytes:
        """Some of the body, b"" at its end. Raises PeerError: 400 for what is none, 408 for what comes too slowly."""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if event is not h11.NEED_DATA:
                return b""
            await self._wait_for_body()

    def _next_event(self) -> Any:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError:
            self.close_after()
            raise PeerError(400, "The body of the request is not sound.") from None

    async def _wait_for_body(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            head = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self._conversation.write(head or b"")
        began = trio.current_time()
        with trio.move_on_after(self._stalls) as clock:
            if not await self._conversation.incoming.wait():
                await self._conversation.leave()
        if clock.cancelled_caught:
            self.close_after()
            raise PeerError(408, "The body of the request comes too slowly.")
        data = self._conversation.incoming.take()
        self._stalls += began - trio.current_time() + len(data) / self._conversation.bounds.body_rate
        self._http.receive_data(data)

    async def answer(self, status: int, headers: Fields = (), body: bytes = b"") -> None:
        """The whole answer."""
        self.begun = True
        fields = self._fields(headers, ("content-length", str(len(body))))
        data = self._sent(h11.Response(status_code=status, headers=fields, reason=_reason(status)))
        if self.request.method != "HEAD" and body:
            data += self._sent(h11.Data(data=body))
        await self._conversation.write(data + self._sent(h11.EndOfMessage()))

    async def begin(self, status: int, headers: Fields = ()) -> None:
        """The head of an answer whose length is not known yet."""
        self.begun = True
        is_old = self._http.their_http_version == b"1.0"  # it knows no chunks: the end of the connection is the end
        fields = self._fields(headers, None if is_old else ("transfer-encoding", "chunked"))
        await self._conversation.write(
            self._sent(h11.Response(status_code=status, headers=fields, reason=_reason(status)))
        )

    async def send(self, data: bytes) -> None:
        """Some of the body. It waits for a slow reader."""
        if data and self.request.method != "HEAD":
            await self._conversation.write(self._sent(h11.Data(data=data)))

    async def finish(self) -> None:
        """The end of an answer that `begin` began. One that is never finished is cut, and the client sees that."""
        await self._conversation.write(self._sent(h11.EndOfMessage()))

    async def take_over(self) -> Tunnel:
        """The connection itself, for what another protocol says on it from here on; nothing is answered any more.

        Raises PeerError (400) for a request with a body, whose end nobody could tell from what follows.
        """
        event = self._next_event()
        if not isinstance(event, h11.EndOfMessage):
            self.close_after()
            raise PeerError(400, "A request to change the protocol has no body.")
        self.begun = self._is_taken = True
        self._conversation.incoming.on_gone = None  # whoever took it sees its end, and may have something to put away
        await trio.lowlevel.checkpoint()
        return Tunnel(self._conversation, self._http.trailing_data[0])

    def _fields(self, headers: Fields, framing: tuple[str, str] | None) -> list[tuple[str, str]]:
        fields = [*headers, ("date", _date(int(time.time())))]
        if framing is not None:
            fields.append(framing)
        if self._closes or self._conversation.is_closing() or self._is_unreadable():
            fields.append(("connection", "close"))
        return fields

    def _is_unreadable(self) -> bool:
        """Whether so much of the body was not read that reading it costs more than another connection."""
        if self._http.their_state is not h11.SEND_BODY:
            return False
        length = self.request.headers.get("content-length")
        return self._http.they_are_waiting_for_100_continue or int(length or 0) > self._conversation.bounds.unread_bytes

    def _sent(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    def is_finished(self) -> bool:
        return self._is_taken or self._http.our_state in {h11.DONE, h11.MUST_CLOSE}


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
        self._raw = b""
        self._scope: trio.CancelScope | None = None
        self._is_cut = False

    async def run(self, around: Callable[[], Any]) -> None:
        """Serve requests until one side ends it; `around` stands around each exchange. It closes the stream."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.incoming.read)
                try:
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
            for start in range(0, len(data), PIECE):
                with trio.move_on_after(self.bounds.write_seconds) as clock:
                    await self._stream.send_all(data[start : start + PIECE] if len(data) > PIECE else data)
                if clock.cancelled_caught:
                    await self.leave()
            is_whole = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.leave()
        finally:
            self._is_cut = self._is_cut or not is_whole  # a frame that was broken off can be followed by nothing

    async def leave(self) -> None:
        """The client is gone: the handler ends here, cancelled."""
        self._is_cut = True
        if self._scope is not None:
            self._scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _one(self, around: Callable[[], Any]) -> bool:
        """One request and its answer; whether another may follow."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.bounds.head_bytes)
        try:
            head = await self._head()
            if head is None:
                return False
            with around():
                exchange = self._exchange(http, head)
                await self._handle(exchange)
        except PeerError as error:
            await self._refuse_head(error)
            return False
        if self._is_cut or not exchange.is_finished():
            self._is_cut = True
            return False
        return await self._next(http, exchange)

    async def _head(self) -> bytes | None:
        """The raw head of the next request; None where there is none. Raises PeerError."""
        deadline = trio.current_time() + self.bounds.head_seconds if self._raw else None
        while (end := self._raw.find(_END_OF_HEAD)) < 0:
            if len(self._raw) > self.bounds.head_bytes:
                raise PeerError(431, f"The head of the request is larger than {self.bounds.head_bytes:,} bytes.")
            until = trio.current_time() + self.bounds.idle_seconds if deadline is None else deadline
            with trio.move_on_at(until) as clock:
                if not await self.incoming.wait():
                    return None
            if clock.cancelled_caught:
                if deadline is None:
                    return None
                raise PeerError(408, "The head of the request comes too slowly.")
            self._raw += self.incoming.take()
            if deadline is None:
                self._raw = self._raw.lstrip(b"\r\n")  # RFC 9112, 2.2: an empty line before a request is none of it
                deadline = trio.current_time() + self.bounds.head_seconds if self._raw else None
        if end > self.bounds.head_bytes:
            raise PeerError(431, f"The head of the request is larger than {self.bounds.head_bytes:,} bytes.")
        return self._raw[: end + len(_END_OF_HEAD)]

    def _exchange(self, http: h11.Connection, head: bytes) -> Exchange:
        refuse_unsound(head)
        http.receive_data(self._raw)
        self._raw = b""
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            raise PeerError(status, "The head of the request is not sound.") from None
        assert isinstance(event, h11.Request)  # noqa: S101 - the head is whole, so nothing else can come of it
        request = request_of(
            method=event.method,
            target=event.target,
            headers=event.headers,
            version=event.http_version,
            peer=self._peer,
            is_tls=isinstance(self._stream, trio.SSLStream),
            certificate=self._certificate,
        )
        return Exchange(request, self, http)

    async def _handle(self, exchange: Exchange) -> None:
        with trio.CancelScope() as scope:
            self._scope = scope
            self.incoming.on_gone = scope.cancel
            if self.incoming.gone.is_set():
                scope.cancel()
            try:
                await self._answered(exchange)
            finally:
                self._scope = self.incoming.on_gone = None
        if scope.cancelled_caught:
            self._is_cut = True

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

    async def _next(self, http: h11.Connection, exchange: Exchange) -> bool:
        """Whether the connection is ready for another request; what is left of a small body is read for that."""
        if http.our_state is h11.DONE and http.their_state is h11.SEND_BODY:
            unread = self.bounds.unread_bytes
            with trio.move_on_after(self.bounds.linger_seconds):
                try:
                    while http.their_state is h11.SEND_BODY and unread > 0:
                        unread -= len(await exchange.receive())
                except PeerError:
                    return False
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        self._raw = http.trailing_data[0]
        return True

    async def _refuse_head(self, error: PeerError) -> None:
        """h11 may be in any state: what it could not read cannot be answered by it."""
        headers, body = self._refuse(error.status, error.words)
        http = h11.Connection(h11.SERVER)
        fields = [
            *headers,
            ("date", _date(int(time.time()))),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        head = http.send(h11.Response(status_code=error.status, headers=fields, reason=_reason(error.status))) or b""
        with trio.CancelScope() as scope:
            self._scope = scope
            await self.write(head + body)
        self._scope = None

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
