"""Upstreams in memory: an opener of streams that are served by a function, and an exact account of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair

from openai_gateway.engine.upstream import Upstream, open_upstream
from openai_gateway.net.pool import Limits
from openai_gateway.net.transport import Http11Transport
from tests.gateway_engine.loopback import Connection, Serve


@attrs.define(eq=False)
class Memory:
    """`connect` is the opener. `connections` are the servers' ends; `open` counts the clients' that are not closed."""

    serve: Serve
    nursery: trio.Nursery
    pair: Callable[[], tuple[Any, Any]]
    connections: list[Connection] = attrs.field(factory=list)
    asked_for: list[tuple[str, int]] = attrs.field(factory=list)
    open: int = 0
    stuck: bool = False  # whether a stream that says farewell would wait for its peer

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = self.pair()
        self.asked_for.append((host, port))
        connection = Connection(len(self.connections), theirs, trio.Event())
        self.connections.append(connection)
        self.nursery.start_soon(self._run, connection)
        self.open += 1
        return Counted(ours, self)

    async def _run(self, connection: Connection) -> None:
        try:
            await self.serve(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(connection.stream)


class Counted(trio.abc.Stream):
    """A stream that says when it is closed for the first time."""

    def __init__(self, stream: trio.abc.Stream, memory: Memory) -> None:
        self._stream = stream
        self._memory: Memory | None = memory

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        try:
            if self._memory is not None and self._memory.stuck:
                await trio.sleep_forever()
        finally:
            if self._memory is not None:
                self._memory.open -= 1
                self._memory = None
            await trio.aclose_forcefully(self._stream)


@asynccontextmanager
async def in_memory(serve: Serve, *, lockstep: bool = False) -> AsyncIterator[Memory]:
    """Serve each connection with `serve` until the block ends. `lockstep`: what is sent waits until it is read."""
    async with trio.open_nursery() as nursery:
        yield Memory(serve, nursery, lockstep_stream_pair if lockstep else memory_stream_pair)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def native(serve: Serve, limits: Limits | None = None) -> AsyncIterator[tuple[Upstream, Memory, Http11Transport]]:
    """Our transport over such an upstream, as the engine uses it; after it no stream may be open."""
    async with in_memory(serve) as memory:
        transport = Http11Transport(connect=memory.connect, limits=limits)
        async with transport, open_upstream(transport) as upstream:
            yield upstream, memory, transport
        assert memory.open == 0
