"""A small HTTP server on a real socket of this machine, for what only sockets can show: the order of closing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

Serve = Callable[["Connection"], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole_answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@attrs.define(eq=False)
class Connection:
    """One accepted connection; `served` is set when the server has said its all, `gone` when the client has closed."""

    number: int
    stream: trio.abc.Stream
    served: trio.Event
    gone: trio.Event = attrs.field(factory=trio.Event)
    _buffer: bytes = b""

    async def request(self) -> bytes:
        """The next request, head and body; b"" where the client left instead."""
        while not (found := self._whole()):
            data = await self.stream.receive_some()
            if not data:
                return b""
            self._buffer += data
        return found

    def _whole(self) -> bytes:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        length = int(fields.get(b"content-length", 0))
        if not end or len(rest) < length:
            return b""
        self._buffer = rest[length:]
        return head + end + rest[:length]

    async def until_gone(self) -> None:
        """Say no more, and wait until the client closes; what it may send is thrown away."""
        self.served.set()
        try:
            while await self.stream.receive_some():
                pass
        except trio.BrokenResourceError:  # it closed with bytes of ours unread: a reset
            pass
        self.gone.set()


@attrs.define(eq=False)
class Loopback:
    """The server: its base URL and the connections so far."""

    base_url: str = ""
    connections: list[Connection] = attrs.field(factory=list)
    served: trio.Event = attrs.field(factory=trio.Event)


@asynccontextmanager
async def loopback(serve: Serve) -> AsyncIterator[Loopback]:
    """Serve each connection with `serve` until the block ends."""
    async with trio.open_nursery() as nursery:
        server = Loopback()

        async def handle(stream: trio.SocketStream) -> None:
            connection = Connection(len(server.connections), stream, server.served)
            server.connections.append(connection)
            try:
                await serve(connection)
            except trio.BrokenResourceError:
                pass
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await stream.aclose()

        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        server.base_url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        yield server
        nursery.cancel_scope.cancel()
