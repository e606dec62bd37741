"""A sign of life in a stream that is silent: for a face whose peers give up on a connection that says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import trio

from openai_gateway.engine.beside import beside
from openai_gateway.engine.journey import Underway
from openai_gateway.engine.parts import Parts
from openai_gateway.errors import GatewayError
from openai_gateway.routing.accounts import Beat
from openai_gateway.routing.calls import Part


class Beats:
    """The parts of a stream, and a Beat after each `every` seconds without one. One task at a time may ask it.

    Whoever stops waiting for a part, by a deadline of its own, loses nothing: the stream goes on behind it, one part
    ahead at most, so that a slow reader still slows the upstream.
    """

    def __init__(self, parts: trio.MemoryReceiveChannel[Part | GatewayError], every: float, of: Parts) -> None:
        self._parts = parts
        self._every = every
        self._of = of

    @property
    def underway(self) -> Underway:
        """How far the call is."""
        return self._of.underway

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part | Beat:
        """The next part, or a Beat. Raises GatewayError where the call failed."""
        found: Part | GatewayError | None = None
        with trio.move_on_after(self._every):
            try:
                found = await self._parts.receive()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
        if found is None:
            return Beat()
        if isinstance(found, GatewayError):
            raise found
        return found


@asynccontextmanager
async def with_beats(parts: Parts, every: float) -> AsyncIterator[Beats]:
    """Read `parts` in a task of its own until the block ends. Whoever opened the parts closes them."""
    ahead, behind = trio.open_memory_channel[Part | GatewayError](0)
    async with beside(partial(_pump, parts, ahead)):
        yield Beats(behind, every, parts)


async def _pump(parts: Parts, ahead: trio.MemorySendChannel[Part | GatewayError]) -> None:
    async with ahead:
        try:
            async for part in parts:
                await ahead.send(part)
        except GatewayError as error:
            await ahead.send(error)
