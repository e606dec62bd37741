"""OpenAI and all that speak like it: the pivot, so answers and events pass as they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.dialect import Dialect, EventDecoder, UpstreamRequest
from openai_gateway.routing.dialects.headers import listing
from openai_gateway.routing.dialects.openai_body import headers_of, request_of
from openai_gateway.routing.endpoints import path_of
from openai_gateway.routing.plan import Provider, Target
from openai_gateway.routing.repair import Repair
from openai_gateway.wire.sse import Event


def encode(call: Call, target: Target, *, stream: bool, changes: tuple[Repair, ...] = ()) -> UpstreamRequest:
    """The request for `call.endpoint` below the provider's base URL."""
    url = f"{target.provider.base_url}/{path_of(call.endpoint)}"
    return request_of(call, target.model, url, headers_of(target.provider, call), stream=stream, changes=changes)


def models(provider: Provider) -> UpstreamRequest:
    """The request for the list of models."""
    return UpstreamRequest(method="GET", url=f"{provider.base_url}/models", headers=listing(headers_of(provider)))


def answer(body: bytes) -> bytes:
    """The same."""
    return body


def events() -> EventDecoder:
    """A decoder that gives each event's data as it came."""
    return _data_of


def _data_of(event: Event) -> Sequence[bytes]:
    return (event.data,)


OPENAI: Final = Dialect(kind="openai", encode=encode, models=models, answer=answer, events=events)
