"""One HTTP/1.1 connection to an upstream over a trio stream, one exchange after the other."""

from __future__ import annotations

import re
import select
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, suppress
from functools import partial
from typing import Final, Protocol

import trio

from openai_gateway.net import promptly
from openai_gateway.net.tls import undecrypted
from openai_gateway.net.words import innermost
from openai_gateway.wire.http1 import AnswerHead, Body, Cut, HeadReader, NotHttp, Sending, body_of_answer

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

_HALF_A_HEAD: Final = "the server closed the connection within the head of its answer"

_KEEP_ALIVE: Final = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*(\d{1,9})", re.IGNORECASE)


Pieces = Callable[[], AsyncGenerator[bytes, None]]
Content = bytes | Pieces
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
        self._data = bytearray()  # that came and was not looked at yet
        self._heads = HeadReader(MAX_HEAD_BYTES)
        self._body: Body | None = None  # of this exchange's answer, once its head was read
        self._keeps = False  # what the server said of the connection
        self._served = False  # an exchange before this one
        self._sent = False  # the whole request of this exchange
        self._answering = False
        self._ended = False  # the peer's half of the stream
        self._complete = False  # the answer of this exchange
        self._doubtful = False  # the answer had two lengths, of which somebody on the way may believe the other
        self._failure: NetError | None = None
        self._to_head = False  # of an answer without a body, whatever its head says
        self._ahead = bytearray()  # of the body, read before anybody asked for it
        self.idle_limit: float | None = None
        """The seconds for which the server said it keeps the connection while it is idle, if it did."""

    async def ask(self, request: Sending, content: Content, watch: Watch) -> AnswerHead:
        """Send, and give the head of the answer. Raises NetError."""
        watch.sending(reused=self._served)
        self._to_head = request.is_head
        if not isinstance(content, bytes):
            return await self._ask_listening(partial(self._send_pieces, request, content, watch), watch)
        data = _written(request, content)
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
        # What follows an answer that nobody asked for would be taken for the next one.
        is_done = self._complete and self._sent and self._keeps and not self._doubtful
        if not is_done or self._ended or self._data or self._failure is not None:
            return False
        self._body = None
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

    async def _send_pieces(self, request: Sending, content: Pieces, watch: Watch) -> None:
        """A body that is read while it is sent. As long as it gets on the clock of the answer begins anew."""
        try:
            await self._stream.send_all(request.head)
            async with aclosing(content()) as pieces:
                async for piece in pieces:
                    await self._stream.send_all(request.piece(piece))
                    if not self._answering:
                        watch.sending(reused=self._served)
            await self._stream.send_all(request.end())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # whether it was refused or the server is gone, reading says
        except (OSError, NotHttp) as error:  # it cannot be read, or is not as long as was said
            self._failure = Unsendable(f"the body cannot be read: {innermost(error)}")
            await self.aclose()
            return
        self._sent = True

    async def _ask_listening(self, send: Callable[[], Awaitable[None]], watch: Watch) -> AnswerHead:
        """Send while listening: a server may refuse a large body without reading it, and never read on."""
        found: AnswerHead | NetError
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            try:
                found = await self._head(watch)
                if found.status >= 300:  # a redirect too: nobody follows it
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
            sent = await promptly.send(self._stream, data)
            if sent < len(data):
                await self._stream.send_all(data[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # whether it was refused or the server is gone, reading says
        self._sent = True

    async def _head(self, watch: Watch) -> AnswerHead:
        for _ in range(MAX_INTERIM_ANSWERS + 1):
            while (head := self._next_head()) is None:
                if self._ended:
                    raise Gone(_HALF_A_HEAD if self._data else "the server closed the connection without an answer")
                await self._receive()
                if not self._answering and not self._ended:
                    self._answering = True
                    watch.answering()
            if head.status >= 200:
                return head
        raise Unreadable(f"more than {MAX_INTERIM_ANSWERS} interim answers")

    def _next_head(self) -> AnswerHead | None:
        try:
            head = self._heads.take(self._data) if self._data else None
            body = None if head is None else body_of_answer(head, most=MAX_HEAD_BYTES, to_head=self._to_head)
            if head is not None and head.status >= 200:
                self._body = body
                self._keeps, self._doubtful = head.keeps, head.has_two_lengths
                self.idle_limit = _idle_limit(head.fields.get(b"keep-alive", b""))
        except NotHttp as error:
            words = str(error)
        else:
            return head
        raise Unreadable(words)

    def _received(self) -> bytes:
        """The body as far as it was read already. An error waits until that has been given."""
        if self._failure is not None:
            raise self._failure
        if self._body is None:
            return b""
        try:
            found = self._body.take(self._data)
            if self._ended and not found:
                self._body.end()
        except NotHttp as error:
            self._failure = Unreadable(str(error))
        except Cut as error:
            self._failure = Gone(str(error))
        else:
            self._complete = self._body.is_over
            return found
        raise self._failure

    async def _receive(self) -> None:
        try:
            data = await promptly.receive(self._stream, PIECE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if self._failure is not None:
                raise self._failure from None
            raise Gone(innermost(error)) from None
        self._ended = not data
        self._data += data


def _written(request: Sending, content: bytes) -> bytes:
    try:
        return b"".join((request.head, request.piece(content), request.end()))
    except NotHttp as error:  # a body that is not as long as its head says
        words = str(error)
    raise Unsendable(words)


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
