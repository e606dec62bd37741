"""From hypothesis, which waits for nobody, to lines on trio: the search has a thread, the lines have trio's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs
import trio

from openai_gateway_mcp.fuzz.conversation import Heard, Line

T = TypeVar("T")


class AsyncLine(Protocol):
    """A Line on trio."""

    @property
    def keeps_order(self) -> bool: ...
    @property
    def last_words(self) -> bytes: ...
    async def say(self, data: bytes) -> None: ...
    async def hear(self, seconds: float) -> Heard | None: ...
    async def finish(self, seconds: float) -> bool: ...


@attrs.define(eq=False)
class Bridged(Line):
    """Each of its methods is run on trio's thread, and ends with Cancelled once the thread's work is cancelled."""

    line: AsyncLine
    keeps_order: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.keeps_order = self.line.keeps_order

    def say(self, data: bytes) -> None:
        trio.from_thread.run(self.line.say, data)

    def hear(self, seconds: float) -> Heard | None:
        return trio.from_thread.run(self.line.hear, seconds)

    def finish(self, seconds: float) -> bool:
        return trio.from_thread.run(self.line.finish, seconds)


async def in_a_thread(
    work: Callable[[Callable[[], Bridged]], T], start: Callable[[trio.Nursery], Awaitable[AsyncLine]]
) -> T:
    """Run `work` in a thread. It is given what opens a line; all lines are gone when it is done."""
    async with trio.open_nursery() as nursery:

        async def started() -> AsyncLine:
            return await start(nursery)

        result = await trio.to_thread.run_sync(work, lambda: Bridged(trio.from_thread.run(started)))
        nursery.cancel_scope.cancel()
    return result
