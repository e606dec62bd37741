"""The OpenAI request as the caller wrote it, with nothing touched but what routing decides."""

from __future__ import annotations

from typing import Any

from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.dialect import Headers
from openai_gateway.routing.dialects.headers import headers_with
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.plan import Provider
from openai_gateway.routing.repair import Repair, mend
from openai_gateway.wire.strict import dumps


def body_of(call: Call, model: str, *, stream: bool, changes: tuple[Repair, ...]) -> bytes:
    """The JSON body for an upstream: key order and unknown members as the caller gave them.

    `model`, `stream` and `stream_options.include_usage` are ours; without `stream` the two stream members are left out,
    as some servers refuse stream_options there.
    """
    body: dict[str, Any] = {"model": model, **call.body} if "model" not in call.body else {**call.body, "model": model}
    if stream:
        body["stream"] = True
        if endpoint_of(call.endpoint).has_choices:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    else:
        body.pop("stream", None)
        body.pop("stream_options", None)
    return dumps(mend(body, changes))


def headers_of(provider: Provider, call: Call | None = None) -> Headers:
    """The credential, the organisation and what else the configuration says; the provider's own headers win."""
    own = {}
    if provider.api_key is not None:
        own["authorization"] = f"Bearer {provider.api_key.reveal()}"
    if provider.organization:
        own["openai-organization"] = provider.organization
    if provider.project:
        own["openai-project"] = provider.project
    return headers_with(own, provider, call)
