"""The OpenAI request as the caller wrote it, with nothing touched but what routing decides."""

from __future__ import annotations

import re
from typing import Any, Final

from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.dialect import Headers
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.plan import Provider
from openai_gateway.routing.repair import Repair, mend
from openai_gateway.wire.strict import dumps

_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")  # Stripe's bound, whom all others follow
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


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
    headers = {"accept-encoding": "identity"}
    if provider.api_key is not None:
        headers["authorization"] = f"Bearer {provider.api_key.reveal()}"
    if provider.organization:
        headers["openai-organization"] = provider.organization
    if provider.project:
        headers["openai-project"] = provider.project
    if call is not None:
        headers |= _of_caller(call)
    headers |= {name.lower(): value for name, value in provider.headers.items()}
    return tuple(headers.items())


def _of_caller(call: Call) -> dict[str, str]:
    """The two headers that a caller may set, each only in its own form: nothing else may ride along."""
    said = (
        ("traceparent", call.traceparent, _TRACEPARENT),
        ("idempotency-key", call.idempotency_key, _IDEMPOTENCY_KEY),
    )
    return {name: value for name, value, form in said if value is not None and form.fullmatch(value)}
