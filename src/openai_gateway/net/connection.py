"""One HTTP/1.1 connection to an upstream: h11 over a trio stream, one exchange after the other."""

from __future__ import annotations

import re
import select
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, suppress
from functools import partial
from typing import Final, Protocol

import h11
import trio

from openai_gateway.net.tls import undecrypted
from openai_gateway.net.words import innermost

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of an answer's head, of its trailers, of a chunk's head. Node refuses heads over 16 KiB, Go over 10 MiB; those of
providers have 1 to 3 KiB, with the security headers of a proxy up to 10."""

PIECE_BYTES: Final = 64 * 1024
"""What is read at once, and so the most that is read ahead of a slow reader; trio's own default."""

MAX_INTERIM_ANSWERS: Final = 16
"""1xx before the answer. Servers send one or two (100, 103); one that sends them without end never answers."""

_BLIND_BYTES: Final = 64 * 1024
"""A body up to this is sent without listening meanwhile: the buffers of the two kernels take it."""

_LAST_WORDS: Final = 1.0
"""Seconds for a refusal over TLS to come whole while its request is still being sent."""

_TURNS: Final = 8
"""Turns of the scheduler after which a stream that had something to read has given it; memory streams take four."""

_KEEP_ALIVE: Final = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*(\d{1,9})", re.IGNORECASE)


Pieces = Callable[[], AsyncGenerator[bytes, None]]
Body = bytes | Pieces
"""All of a body, or what gives it piece by piece, each time from its beginning."""


class Watch(Protocol):
    """Is told how far an exchange is, so that the right clock can run."""

    def connecting(self) -> None:
        """There is no connection yet: from here a place in the pool, the look-up, TCP and TLS are waited for."""

    def sending(self, *, reused: bool) -> None:
        """The request goes out from here, on a connection that served before or on a new one."""

    def answering(self) -> None:
        """The first bytes of the answer are here."""


class Unwatched:
    """A Watch of one clock for the whole, which whoever asks has around it."""

    def connecting(self) -> None: ...
    def sending(self, *, reused: bool) -> None: ...
    def answering(self) -> None: ...


class NetError(Exception):
    """An exchange failed. The words are for a person, and hold nothing of the request."""


class Gone(NetError):
    """The peer left before its answer was whole."""


class Unreadable(NetError):
    """What came is no HTTP/1.1."""


class Unsendable(NetError):
    """The request cannot be written as HTTP. The words quote nothing of it."""


class Connection:
    """An open stream and the state of HTTP on it. Not for two tasks at once, but for `aclose`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._served = False  # an exchange before this one
        self._sent = False  # the whole request of this exchange
        self._answering = False
        self._ended = False  # the peer's half of the stream
        self._complete = False  # the answer of this exchange
        self._doubtful = False  # the answer had two lengths, of which somebody on the way may believe the other
        self._failure: NetError | None = None
        self._ahead = bytearray()  # of the body, read before anybody asked for it
        self.idle_limit: float | None = None
        """The seconds for which the server said it keeps the connection while it is idle, if it did."""

    async def ask(self, request: h11.Request, body: Body, watch: Watch) -> h11.Response:
        """Send, and give the head of the answer. Raises NetError."""
        watch.sending(reused=self._served)
        if not isinstance(body, bytes):
            head = self._checked(request)
            return await self._ask_listening(partial(self._send_pieces, head, body, watch), watch)
        data = self._written(request, body)
        if len(data) > _BLIND_BYTES:
            return await self._ask_listening(partial(self._send, data), watch)
        await self._send(data)
        return await self._head(watch)

    async def piece(self, around: Callable[[], AbstractContextManager[None]]) -> bytes:
        """Some of the answer's body, all that has come of it; b"" after its end. Raises NetError.

        `around` stands around the wait for more, if there is one.
        """
        if self._ahead:
            found = bytes(self._ahead)
            self._ahead.clear()
            return found
        found = self._received()
        if not found and not self._complete:
            with around():
                while not found and not self._complete:
                    await self._receive()
                    found = self._received()
        return found

    def renew(self) -> bool:
        """Whether another exchange may follow; if so, the connection is ready for it."""
        http = self._http
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        # What follows an answer that nobody asked for would be taken for the next one.
        if not done or not self._sent or self._doubtful or http.trailing_data != (b"", False):
            return False
        http.start_next_cycle()
        self._served = True
        self._sent = self._answering = self._complete = False
        return True

    async def has_input(self) -> bool:
        """Whether an idle connection has something to read, which can only be its end, or what nobody asked for."""
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            if undecrypted(stream):
                return True
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream):
            return _is_readable(stream.socket.fileno())
        return await _gives_something(stream)

    async def aclose(self) -> None:
        """Close at once: under a scope that is cancelled already, so that no stream waits to say farewell."""
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            await self._stream.aclose()

    def _written(self, request: h11.Request, body: bytes) -> bytes:
        return b"".join(map(self._checked, (request, h11.Data(data=body), h11.EndOfMessage())))

    def _checked(self, event: h11.Event) -> bytes:
        try:
            return self._http.send(event) or b""
        except h11.LocalProtocolError as error:  # a body that is not as long as its head says
            words = str(error)
        raise Unsendable(words)

    async def _send_pieces(self, head: bytes, body: Pieces, watch: Watch) -> None:
        """A body that is read while it is sent. As long as it gets on the clock of the answer begins anew."""
        try:
            await self._stream.send_all(head)
            async with aclosing(body()) as pieces:
                async for piece in pieces:
                    await self._stream.send_all(self._checked(h11.Data(data=piece)))
                    if not self._answering:
                        watch.sending(reused=self._served)
            await self._stream.send_all(self._checked(h11.EndOfMessage()))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # whether it was refused or the server is gone, reading says
        except (OSError, Unsendable) as error:  # it cannot be read, or is not as long as was said
            self._failure = Unsendable(f"the body cannot be read: {innermost(error)}")
            await self.aclose()
            return
        self._sent = True

    async def _ask_listening(self, send: Callable[[], Awaitable[None]], watch: Watch) -> h11.Response:
        """Send while listening: a server may refuse a large body without reading it, and never read on."""
        found: h11.Response | NetError
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            try:
                found = await self._head(watch)
                if found.status_code >= 300:  # a redirect too: nobody follows it
                    await self._read_ahead()
                    nursery.cancel_scope.cancel()
            except NetError as error:
                found = error  # raised below: a nursery would make a group of it
                nursery.cancel_scope.cancel()
        if isinstance(found, NetError):
            raise found
        return found

    async def _read_ahead(self) -> None:
        """The refusal's body, before sending is broken off: after that a TLS stream of trio's can be read no more."""
        if not isinstance(self._stream, trio.SSLStream):
            return
        with trio.move_on_after(_LAST_WORDS), suppress(NetError):
            while len(self._ahead) < PIECE_BYTES:
                self._ahead += self._received()
                if self._complete:
                    break
                await self._receive()

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # whether it was refused or the server is gone, reading says
        self._sent = True

    async def _head(self, watch: Watch) -> h11.Response:
        for _ in range(MAX_INTERIM_ANSWERS + 1):
            while (event := self._next_event()) is h11.NEED_DATA:
                await self._receive()
                if not self._answering and not self._ended:
                    self._answering = True
                    watch.answering()
            if isinstance(event, h11.Response):
                fields = {name.lower(): value for name, value in event.headers.raw_items()}
                self.idle_limit = _idle_limit(fields.get(b"keep-alive", b""))
                self._doubtful = b"transfer-encoding" in fields and b"content-length" in fields
                return event
        raise Unreadable(f"more than {MAX_INTERIM_ANSWERS} interim answers")

    def _received(self) -> bytes:
        """The body as far as it was read already. An error waits until that has been given."""
        if self._failure is not None:
            raise self._failure
        found: list[bytes] = []
        try:
            while not self._complete:
                event = self._next_event()
                if isinstance(event, h11.Data):
                    found.append(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self._complete = True
                else:
                    break
        except NetError as error:
            self._failure = error
            if not found:
                raise
        return b"".join(found)

    def _next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            words = str(error)
        if not self._ended:
            raise Unreadable(words)
        raise Gone(words if self._answering else "the server closed the connection without an answer")

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(PIECE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if self._failure is not None:
                raise self._failure from None
            raise Gone(innermost(error)) from None
        self._ended = not data
        self._http.receive_data(bytes(data))  # a copy only where memory streams gave a bytearray


def _idle_limit(keep_alive: bytes) -> float | None:
    """What a `Keep-Alive: timeout=5` says (RFC 2068, 19.7.1); Node and llama.cpp send it, and keep to it."""
    found = _KEEP_ALIVE.search(keep_alive)
    return None if found is None else float(found[1])


def _is_readable(fileno: int) -> bool:
    if not hasattr(select, "poll"):  # Windows; its select() does not mind how high a socket's number is
        return bool(select.select([fileno], [], [], 0)[0])
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))


async def _gives_something(stream: trio.abc.Stream) -> bool:
    """The same for a stream without a file descriptor: it is read for some turns. What comes is lost, as it may be."""
    came = False

    async def read() -> None:
        nonlocal came
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.receive_some(1)
        came = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(_TURNS):
            await trio.lowlevel.checkpoint()
            if came:
                break
        nursery.cancel_scope.cancel()
    return came
