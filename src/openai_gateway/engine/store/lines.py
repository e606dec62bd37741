"""Waiting for a place where other processes may free one, and nobody tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from openai_gateway.routing.limits import Demand, Measure, Outcome, Refusal

_LOOKS: Final = 0.05  # seconds between two looks

Look = Callable[[Demand], Awaitable[Outcome]]


class Lines:
    """Of one process one call looks at a time, first come first; among processes whoever looks at the right moment."""

    def __init__(self) -> None:
        self._lines: dict[str, trio.StrictFIFOLock] = {}

    async def wait(self, demand: Demand, look: Look) -> Outcome:
        """What `look` says once it no longer lacks nothing but a place."""
        limited = [limits.key for limits in demand.limits if limits.max_parallel is not None]
        if not limited:
            return await look(demand)
        async with self._lines.setdefault(limited[0], trio.StrictFIFOLock()):
            while _lacks_a_place(outcome := await look(demand)):  # noqa: ASYNC110 - others tell nobody
                await trio.sleep(_LOOKS)
        return outcome


def _lacks_a_place(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and outcome.measure is Measure.MAX_PARALLEL and outcome.seconds is not None
