"""Anthropic's Messages API: an OpenAI chat completion asked and answered there, in OpenAI's shapes on this side."""

from __future__ import annotations

from typing import Final

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.anthropic_answer import answer, listed
from openai_gateway.routing.dialects.anthropic_notes import Notes
from openai_gateway.routing.dialects.anthropic_request import written
from openai_gateway.routing.dialects.anthropic_stream import events
from openai_gateway.routing.dialects.dialect import Dialect, Headers, UpstreamRequest
from openai_gateway.routing.dialects.headers import headers_with, listing, posting
from openai_gateway.routing.plan import Provider, Target
from openai_gateway.routing.repair import Repair, mend
from openai_gateway.wire.strict import dumps

VERSION: Final = "2023-06-01"
"""Of the API. The next one, 2026-10-21, takes no temperature and no top_p at all, on no model; this one leaves that to
the models, so callers lose less. A provider's own `anthropic-version` header wins."""

_ENDPOINT: Final = "chat/completions"
_PAGE: Final = 1000  # the most that the API gives at once, and a hundred times what it has


def encode(call: Call, target: Target, *, stream: bool, changes: tuple[Repair, ...] = ()) -> UpstreamRequest:
    """The request for /messages, with warnings for what it leaves out. Raises GatewayError (INVALID_REQUEST)."""
    if call.endpoint != _ENDPOINT:
        message = f"{target.name} cannot serve {call.endpoint}: providers of kind anthropic serve {_ENDPOINT} alone."
        raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)
    notes = Notes(target=target.name)
    request = written(mend(call.body, changes), target, notes, stream=stream)
    own = _headers(target.provider, call, request.betas)
    if request.betas and dict(own)["anthropic-beta"] != ",".join(request.betas):
        notes.left_out("anthropic_beta", "the provider's configuration has that header")
    return UpstreamRequest(
        method="POST",
        url=f"{target.provider.base_url}/messages",
        headers=posting(own, stream=stream),
        body=dumps(request.body),
        warnings=notes.warnings,
    )


def models(provider: Provider) -> UpstreamRequest:
    """The request for the list of models."""
    headers = listing(_headers(provider))
    return UpstreamRequest(method="GET", url=f"{provider.base_url}/models?limit={_PAGE}", headers=headers)


def _headers(provider: Provider, call: Call | None = None, betas: tuple[str, ...] = ()) -> Headers:
    own = {"anthropic-version": VERSION}
    if provider.api_key is not None:
        own["x-api-key"] = provider.api_key.reveal()
    if betas:
        own["anthropic-beta"] = ",".join(betas)
    return headers_with(own, provider, call)


ANTHROPIC: Final = Dialect(kind="anthropic", encode=encode, models=models, answer=answer, events=events, listed=listed)
