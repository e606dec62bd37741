"""The fault upstream: a provider's server that speaks HTTP/1.1 in bytes and goes wrong exactly as its script says.

It is dialled like the network (`dial` is a transport's stream opener) and answers over in-memory trio streams, so that
a whole outage takes no time under the virtual clock. `on_loopback` serves the same script on real sockets.
"""

from __future__ import annotations

import enum
import errno
import json
import math
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio
import trio.testing

FOREVER: Final = math.inf
_READ: Final = 64 * 1024  # what one read of a socket gives at most


class End(enum.Enum):
    """How the server leaves: it closes in peace, or resets the connection."""

    CLOSE = enum.auto()
    RESET = enum.auto()


@attrs.frozen
class Repeat:
    """The same piece so many times: a body too large to be written down."""

    piece: bytes
    times: int


Act = bytes | float | Repeat | End
"""Bytes are sent as one piece, a number is a silence of so many seconds."""


@attrs.frozen
class Answer:
    """What one request gets: `stream` one that asks for a stream, `whole` any other. It keeps the connection."""

    stream: Sequence[Act]
    whole: Sequence[Act]

    @classmethod
    def to_both(cls, *acts: Act) -> Answer:
        return cls(acts, acts)


Dial = float | OSError
"""What comes of connecting: the seconds that it takes, or how it fails."""


@attrs.frozen(kw_only=True)
class Asked:
    """One request as it arrived. `at` is a moment of trio's clock; `again`: its connection has served before."""

    host: str
    at: float
    again: bool
    head: bytes
    body: Mapping[str, Any]

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True


@attrs.define(kw_only=True)
class Host:
    """One provider: what each of its requests and connections gets, in turn; the last of each again and again."""

    answers: Sequence[Answer]
    dials: Sequence[Dial] = (0.0,)
    _answered: int = attrs.field(default=0, init=False)
    _dialled: int = attrs.field(default=0, init=False)

    def next_answer(self, asked: Asked) -> Answer:
        self._answered += 1
        return self.answers[min(self._answered, len(self.answers)) - 1]

    def next_dial(self) -> Dial:
        self._dialled += 1
        return self.dials[min(self._dialled, len(self.dials)) - 1]


class Gone(Exception):
    """The client closed, or the script said that the server does."""


class Wire(trio.abc.HalfCloseableStream):
    """The client's end of a connection in memory. A reset is seen by the next read or write."""

    def __init__(self, inner: trio.StapledStream[Any, Any], open_wires: set[Wire]) -> None:
        self._inner = inner
        self._open = open_wires
        self._open.add(self)
        self._broken = False
        self.unread = 0
        self.ended = False

    @property
    def readable(self) -> bool:
        """Whether a read would give something at once, be it the end: what a socket's owner learns from select()."""
        return self.unread > 0 or self.ended

    def reset(self) -> None:
        self._broken = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._breaking():
            await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        with self._breaking():
            data = bytes(await self._inner.receive_some(_READ if max_bytes is None else max_bytes))
        self.unread -= len(data)
        return data

    async def aclose(self) -> None:
        self._open.discard(self)
        await self._inner.aclose()

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        yield
        if self._broken:
            raise trio.BrokenResourceError("reset") from ConnectionResetError(
                errno.ECONNRESET, os.strerror(errno.ECONNRESET)
            )


@attrs.define(eq=False, kw_only=True)
class Connection:
    """The server's end of one connection, in memory or on a socket."""

    stream: trio.abc.HalfCloseableStream
    wire: Wire | None = None
    requests: int = 0
    _buffer: bytes = b""

    async def request(self) -> tuple[bytes, bytes] | None:
        """Head and body of the next request; None where the client left instead."""
        while (found := self._whole()) is None:
            data = await self._receive()
            if not data:
                return None
            self._buffer += data
        return found

    def _whole(self) -> tuple[bytes, bytes] | None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        length = int(fields.get(b"content-length", 0))
        if not end or len(rest) < length:
            return None
        self._buffer = rest[length:]
        self.requests += 1
        return head, rest[:length]

    async def play(self, act: Act) -> None:
        """Raises Gone where nothing can follow."""
        if isinstance(act, End):
            await self._leave(act)
            raise Gone
        if isinstance(act, float):
            await self._be_silent(act)
        elif isinstance(act, Repeat):
            for _ in range(act.times):
                await self._send(act.piece)
        else:
            await self._send(act)

    async def _send(self, data: bytes) -> None:
        if self.wire is not None:
            self.wire.unread += len(data)
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Gone from None

    async def _be_silent(self, seconds: float) -> None:
        """Until the time is over, or the client leaves."""
        with trio.move_on_after(seconds):
            while data := await self._receive():
                self._buffer += data
            raise Gone

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some())
        except (
            trio.BrokenResourceError,
            trio.ClosedResourceError,
        ):  # with bytes of ours unread a client's close resets
            return b""

    async def _leave(self, end: End) -> None:
        if end is End.RESET:
            if self.wire is not None:
                self.wire.reset()
            if isinstance(self.stream, trio.SocketStream):
                self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.aclose()

    async def aclose(self) -> None:
        if self.wire is not None:
            self.wire.ended = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await self.stream.aclose()


@attrs.define(eq=False)
class FaultUpstream:
    """All hosts, what they were asked, and the connections that lead to them.

    `log` has an entry a request, "host@seconds", and one a dial that failed, "(host)@seconds"; the seconds count from
    the upstream's beginning. `elsewhere` names the hosts that were dialled and are none of ours, `open_wires` are the
    connections in memory that the client has not closed, `serving` our ends of all that we have not.
    """

    hosts: Mapping[str, Host]
    nursery: trio.Nursery
    began: float = attrs.field(factory=trio.current_time)
    asked: list[Asked] = attrs.field(factory=list)
    log: list[str] = attrs.field(factory=list)
    open_wires: set[Wire] = attrs.field(factory=set)
    elsewhere: list[str] = attrs.field(factory=list)
    serving: set[Connection] = attrs.field(factory=set)
    keeps_log: bool = True

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """A connection to `host` in memory. Raises OSError."""
        await trio.lowlevel.checkpoint()
        name = host.partition(".")[0]
        if name not in self.hosts:
            self.elsewhere.append(host)
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        outcome = self.hosts[name].next_dial()
        if isinstance(outcome, OSError):
            self._note(f"({name})")
            raise type(outcome)(*outcome.args)  # another each time: one that is raised again keeps every traceback
        try:
            await trio.sleep(outcome)
        except trio.Cancelled:
            self._note(f"({name})")
            raise
        return self._connected(name)

    def _connected(self, name: str) -> Wire:
        ours, theirs = trio.testing.memory_stream_pair()
        wire = Wire(ours, self.open_wires)
        self.nursery.start_soon(self.serve, name, theirs, wire)
        return wire

    async def serve(self, name: str, stream: trio.abc.HalfCloseableStream, wire: Wire | None = None) -> None:
        connection = Connection(stream=stream, wire=wire)
        self.serving.add(connection)
        try:
            while (request := await connection.request()) is not None:
                await self._answer(name, connection, *request)
        except Gone:
            pass
        finally:
            self.serving.discard(connection)
            await connection.aclose()

    async def _answer(self, name: str, connection: Connection, head: bytes, body: bytes) -> None:
        asked = Asked(
            host=name,
            at=trio.current_time(),
            again=connection.requests > 1,
            head=head,
            body=json.loads(body) if body else {},
        )
        if self.keeps_log:
            self.asked.append(asked)
        self._note(name)
        answer = self.hosts[name].next_answer(asked)
        for act in answer.stream if asked.streams else answer.whole:
            await connection.play(act)

    def _note(self, what: str) -> None:
        if not self.keeps_log:
            return
        self.log.append(f"{what}@{trio.current_time() - self.began:g}")


@asynccontextmanager
async def in_memory(hosts: Mapping[str, Host]) -> AsyncIterator[FaultUpstream]:
    """The upstream until the block ends; a server that has not ended by then is ended."""
    async with trio.open_nursery() as nursery:
        yield FaultUpstream(hosts, nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def on_loopback(hosts: Mapping[str, Host]) -> AsyncIterator[tuple[FaultUpstream, Mapping[str, str]]]:
    """The same on real sockets of this machine, and the address of each host. Dials do as the kernel does."""
    async with trio.open_nursery() as nursery:
        upstream = FaultUpstream(hosts, nursery)
        addresses: dict[str, str] = {}
        for name in hosts:
            serve = partial(trio.serve_tcp, partial(upstream.serve, name), 0, host="127.0.0.1")
            listeners = await nursery.start(serve)
            addresses[name] = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        yield upstream, addresses
        nursery.cancel_scope.cancel()
