"""A relay on loopback between us and an upstream that keeps what we sent and sees us hang up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import trio


@attrs.define(kw_only=True)
class Wiretap:
    """`url` is where to connect. `sent` is all that came from our side, by connection.

    The events: a first piece went up, a first piece came back, our side closed a connection.
    """

    url: str
    _upstream: tuple[str, int]
    sent: list[bytearray] = attrs.field(factory=list)
    asked: trio.Event = attrs.field(factory=trio.Event)
    answered: trio.Event = attrs.field(factory=trio.Event)
    hung_up: trio.Event = attrs.field(factory=trio.Event)

    async def relay(self, ours: trio.SocketStream) -> None:
        """One connection, until either side closes."""
        kept = bytearray()
        self.sent.append(kept)
        theirs = await trio.open_tcp_stream(*self._upstream)
        async with ours, theirs, trio.open_nursery() as nursery:
            nursery.start_soon(self._from_us, ours, theirs, kept, nursery.cancel_scope)
            nursery.start_soon(self._to_us, theirs, ours, nursery.cancel_scope)

    async def _from_us(
        self, ours: trio.SocketStream, theirs: trio.SocketStream, kept: bytearray, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in ours:
                kept += data
                await theirs.send_all(data)
                self.asked.set()
        except trio.BrokenResourceError:
            pass  # a reset is a way of hanging up
        self.hung_up.set()
        scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _to_us(self, theirs: trio.SocketStream, ours: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in theirs:
                await ours.send_all(data)
                self.answered.set()
        except trio.BrokenResourceError:
            await trio.sleep_forever()  # our side is gone: the other direction says so, and ends this one
        scope.cancel()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def tapped(url: str) -> AsyncIterator[Wiretap]:
    """Listens as long as the block runs; `url` has a host and a port and nothing more."""
    upstream = httpx.URL(url)
    assert upstream.port is not None
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    tap = Wiretap(url=f"http://127.0.0.1:{port}", upstream=(upstream.host, upstream.port))
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, tap.relay, [listener])
        yield tap
        nursery.cancel_scope.cancel()
