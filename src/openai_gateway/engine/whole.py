"""A call whose answer comes in one piece."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from openai_gateway.engine.journey import Facts, Journey, request_id_of
from openai_gateway.engine.router import Router
from openai_gateway.engine.upstream import Exchange
from openai_gateway.errors import GatewayError
from openai_gateway.routing.accounts import Outcome
from openai_gateway.routing.assemble import finish_reason_of, output_bytes, usage_of
from openai_gateway.routing.attempts import Failure, Try
from openai_gateway.routing.calls import Call, Json, Reply


async def call_whole(router: Router, call: Call) -> Reply:
    """The answer in one piece. Raises GatewayError."""
    journey = await Journey.start(router, call, stream=False)
    failure: Failure | None = None
    try:
        while True:
            step = await journey.next_try(failure)
            outcome = await _attempt_whole(journey, step)
            if isinstance(outcome, Reply):
                await journey.close()
                return outcome
            failure = outcome
    except GatewayError as error:
        journey.end(Outcome.FAILED, error)
        raise
    finally:
        journey.end(Outcome.LEFT)
        await journey.aclose()


async def _attempt_whole(journey: Journey, step: Try) -> Reply | Failure:
    attempt = await journey.open(step)
    if isinstance(attempt, Failure):
        return attempt
    first_byte = trio.current_time()
    try:
        answer = await journey.whole(attempt)
        if isinstance(answer, Failure):
            return answer
        body, json = answer
        served = journey.served(attempt, facts_of(json, attempt.answer, first_byte))
        status, content_type = attempt.answer.status, "application/json"
        if not json:
            content_type = attempt.answer.headers.get("content-type", "application/octet-stream")
        return Reply(status=status, body=body, json=json, served=served, content_type=content_type)
    finally:
        await attempt.aclose()


def facts_of(json: Mapping[str, Json], exchange: Exchange, first_byte: float) -> Facts:
    """What a whole answer says about itself; `first_byte` is a moment of trio's clock."""
    model, usage = json.get("model"), usage_of(json)
    return Facts(
        model=model if isinstance(model, str) else None,
        usage=usage,
        finish_reason=finish_reason_of(json),
        request_id=request_id_of(exchange.headers),
        first_byte=first_byte,
        written=output_bytes(json) if usage is None else 0,
    )
