"""Asking one model: the stream is gathered to an answer, within the caller's deadline and size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

import attrs
import trio

from openai_gateway import Call, Chunk, Finished, GatewayError, Kind, Restarted, Served
from openai_gateway_mcp.features.answer import Answer, End
from openai_gateway_mcp.features.transcript import Transcript
from openai_gateway_mcp.transports.calls import Reporter

if TYPE_CHECKING:
    from openai_gateway import Gateway  # importing it loads the engine

_GRACE = 0.25
"""Seconds past the soft deadline until we cut the stream ourselves: the gateway, who knows the reason, is first."""


class Pace:
    """Progress in characters received, of several models the sum; the session sees to it that it is not too often."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._received = 0

    def add(self, characters: int) -> None:
        self._received += characters
        if self._reporter.wanted:
            self._reporter.progress(self._received, None, f"{self._received:,} characters received")


@attrs.define(kw_only=True)
class _Asking:
    """What is known of the answer while it comes."""

    add_progress: Callable[[int], None]
    max_characters: int
    transcript: Transcript = attrs.field(factory=Transcript)
    end: End | None = None
    served: Served | None = None
    waited_for: str = ""

    def take(self, part: Chunk | Restarted | Finished) -> None:
        match part:
            case Chunk():
                before = self.transcript.received
                self.transcript.feed(part.json)
                self.add_progress(self.transcript.received - before)
                if self.transcript.characters > self.max_characters:
                    self.end = End.SIZE
            case Restarted():
                self.transcript = Transcript()
            case Finished():
                self.served = part.served
                self.end = End.FINISHED
            case _ as never:
                assert_never(never)


async def ask(gateway: Gateway, call: Call, *, pace: Pace, max_characters: int) -> Answer:
    """Gather the answer to `call`, whose deadline is the soft one. Raises GatewayError, never for that deadline.

    Leaving early (the deadline, the size) closes the upstream connection: nobody pays for text that is not shown.
    """
    asking = _Asking(add_progress=pace.add, max_characters=max_characters)
    with trio.CancelScope(deadline=math.inf if call.deadline is None else call.deadline + _GRACE):
        try:
            await _gather(gateway, call, asking)
        except GatewayError as error:
            if not _is_soft_deadline(error, call):
                raise
            asking.waited_for = error.waited_for
    transcript = asking.transcript
    return Answer(
        model=call.model,
        end=asking.end or End.SOFT_DEADLINE,
        text=transcript.text,
        reasoning=transcript.reasoning,
        refusal=transcript.refusal,
        pictures=transcript.pictures,
        sound=transcript.sound,
        finish_reason=None if asking.served is None else asking.served.finish_reason,
        served=asking.served,
        waited_for=asking.waited_for,
    )


async def _gather(gateway: Gateway, call: Call, asking: _Asking) -> None:
    async with gateway.stream(call) as parts:
        async for part in parts:
            asking.take(part)
            if asking.end is not None:
                return


def _is_soft_deadline(error: GatewayError, call: Call) -> bool:
    return (
        error.kind is Kind.TOTAL_TIMEOUT and call.deadline is not None and trio.current_time() >= call.deadline - _GRACE
    )
