"""A streamed answer as server-sent events: the upstream's bytes untouched, and an end that says how it ended."""

from __future__ import annotations

from typing import Final

from openai_gateway.engine.gateway import Gateway
from openai_gateway.engine.journey import Underway
from openai_gateway.errors import GatewayError
from openai_gateway.net.listener import Exchange
from openai_gateway.routing.accounts import Beat
from openai_gateway.routing.calls import Call, Chunk, Finished, Part, Served
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.secret import Redactor
from openai_gateway.service.replies import Fields, error_body, limit_fields, underway_fields
from openai_gateway.wire.sse import encode, encode_comment

_HEAD: Final = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),  # nginx would keep the events back until its buffer is full
)
_DONE: Final = encode(b"[DONE]")


async def relay(gateway: Gateway, call: Call, exchange: Exchange, fields: Fields, redactor: Redactor) -> Served | None:
    """Pass the stream of a call on, and say who served it.

    Raises GatewayError where it failed; after the head the client was told so too.
    """
    served: Served | None = None
    is_chunked = endpoint_of(call.endpoint).has_choices
    failed: GatewayError | None = None
    async with gateway.stream_with_beats(call) as parts:
        try:
            async for part in parts:
                if not isinstance(part, Beat):
                    await _begin_once(exchange, fields, parts.underway)
                    served = part.served if isinstance(part, Finished) else served
                    if data := _event(part, is_chunked=is_chunked):
                        await exchange.send(data)
                elif exchange.begun:  # before the first content the status is still open
                    await exchange.send(encode_comment(b"still at work"))
        except GatewayError as error:
            failed = error
    if failed is not None and exchange.begun:  # in the stream, and then no [DONE]: a cut answer must not look whole
        await exchange.send(encode(error_body(failed, redactor), name="" if is_chunked else "error"))
    if exchange.begun:
        await exchange.finish()
    if failed is not None:
        raise failed
    return served


async def _begin_once(exchange: Exchange, fields: Fields, underway: Underway) -> None:
    if exchange.begun:
        return
    facts = underway_fields(target=underway.target, attempts=underway.attempts, overhead=underway.overhead)
    limits = limit_fields(underway.left) or underway.limits
    await exchange.begin(200, [*_HEAD, *fields, *facts, *limits])


def _event(part: Part, *, is_chunked: bool) -> bytes:
    if isinstance(part, Chunk):
        # Events of the other endpoints have types, and some clients go by the event's name.
        kind = "" if is_chunked else part.json.get("type")
        return encode(part.data, name=kind if isinstance(kind, str) else "")
    return _DONE if isinstance(part, Finished) and is_chunked else b""
