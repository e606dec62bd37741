"""The OpenAI request as the caller wrote it, with nothing touched but what routing decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.dialect import Headers, UpstreamRequest
from openai_gateway.routing.dialects.headers import headers_with, passing, posting, sending
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.forms import form_of
from openai_gateway.routing.plan import Provider
from openai_gateway.routing.repair import Repair, mend
from openai_gateway.wire.strict import dumps

Changes = tuple[Repair, ...]


def request_of(call: Call, model: str, url: str, own: Headers, *, stream: bool, changes: Changes) -> UpstreamRequest:
    """The whole request, its body JSON or a form; `own` are the headers that do not depend on it."""
    if call.upload is None:
        body = body_of(call, model, stream=stream, changes=changes)
        headers = posting(own, stream=stream) if body else passing(own)
        return UpstreamRequest(method=call.method, url=url, headers=headers, body=body)
    form = form_of(call.upload, _fields(call, model, stream=stream, changes=changes))
    headers = sending(own, form, stream=stream)
    return UpstreamRequest(method=call.method, url=url, headers=headers, form=form)


def body_of(call: Call, model: str, *, stream: bool, changes: Changes) -> bytes:
    """The JSON body for an upstream: key order and unknown members as the caller gave them.

    `model`, `stream` and `stream_options.include_usage` are ours; without `stream` the two stream members are left out,
    as some servers refuse stream_options there. A call for a provider has its own body untouched, if it has any.
    """
    fields = _fields(call, model, stream=stream, changes=changes)
    return dumps(fields) if fields else b""


def _fields(call: Call, model: str, *, stream: bool, changes: Changes) -> Mapping[str, Any]:
    if call.provider is not None:
        return call.body
    body: dict[str, Any] = {"model": model, **call.body} if "model" not in call.body else {**call.body, "model": model}
    if stream:
        body["stream"] = True
        if endpoint_of(call.endpoint).has_choices:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    else:
        body.pop("stream", None)
        body.pop("stream_options", None)
    return mend(body, changes) if changes else body


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
