"""An answer that is passed on piece by piece as it is: what lies at a provider, such as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.journey import Attempt, Facts, Journey, Underway, request_id_of
from openai_gateway.engine.router import Router
from openai_gateway.errors import GatewayError
from openai_gateway.routing.accounts import Outcome
from openai_gateway.routing.attempts import Failure
from openai_gateway.routing.calls import Call


@attrs.define(eq=False)
class Download:
    """An answer whose head is here. `pieces` gives its body once, and raises GatewayError where it breaks off."""

    status: int
    content_type: str
    underway: Underway
    _journey: Journey
    _attempt: Attempt
    _first_byte: float = attrs.field(factory=trio.current_time, init=False)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The last one comes when the call's row is written."""
        exchange = self._attempt.answer
        exchange.content_came()
        last = b""
        try:
            while piece := await self._read():
                if last:
                    yield last
                last = piece
        except Broke as broke:
            failure = self._journey.router.failed(self._attempt.step.target, broke)
        else:
            facts = Facts(
                model=None,
                usage=None,
                finish_reason=None,
                request_id=request_id_of(exchange.headers),
                first_byte=self._first_byte,
                written=0,
            )
            self._journey.served(self._attempt, facts)
            await self._journey.close()
            yield last
            return
        raise failure.error

    async def _read(self) -> bytes:
        with self._journey.waiting():
            return await self._attempt.answer.read()


@asynccontextmanager
async def open_download(router: Router, call: Call) -> AsyncIterator[Download]:
    """Raises GatewayError. Leaving the block closes the connection to the upstream at once."""
    journey = await Journey.start(router, call, stream=False)
    attempt: Attempt | None = None
    try:
        attempt = await _opened(journey)
        content_type = attempt.answer.headers.get("content-type", "application/octet-stream")
        yield Download(attempt.answer.status, content_type, journey.underway, journey, attempt)
    except GatewayError as error:
        journey.end(Outcome.FAILED, error)
        raise
    finally:
        if attempt is not None:
            await attempt.aclose()
        journey.end(Outcome.LEFT)
        await journey.aclose()


async def _opened(journey: Journey) -> Attempt:
    failure: Failure | None = None
    while True:
        outcome = await journey.open(await journey.next_try(failure))
        if isinstance(outcome, Attempt):
            return outcome
        failure = outcome
