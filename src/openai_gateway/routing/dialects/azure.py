"""Azure OpenAI: OpenAI's bodies and answers behind addresses and a header of its own.

Two surfaces (learn.microsoft.com, "Azure OpenAI in Microsoft Foundry Models v1 API"): the newer one below /openai/v1 is
asked like OpenAI, with the deployment's name as the model; the older one has a path a deployment and needs a dated
`api-version`. The provider's base URL says which: config/addresses.py ends that of the newer one in /openai/v1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.dialect import Dialect, EventDecoder, UpstreamRequest
from openai_gateway.routing.dialects.headers import headers_with
from openai_gateway.routing.dialects.openai_body import request_of
from openai_gateway.routing.endpoints import path_of
from openai_gateway.routing.plan import Provider, Target
from openai_gateway.routing.repair import Repair
from openai_gateway.wire.sse import Event

_V1: Final = "/openai/v1"
_LONGEST_NAME: Final = 256
"""Azure's own bound is 64. A name may be whatever a caller says, and each address is remembered."""

_BESIDE_DEPLOYMENTS: Final = frozenset({"responses"})
"""Endpoints of the older surface that take the deployment's name in the body alone."""


def encode(call: Call, target: Target, *, stream: bool, changes: tuple[Repair, ...] = ()) -> UpstreamRequest:
    """The OpenAI request, for the deployment that the target's model names."""
    provider = target.provider
    own = {} if provider.api_key is None else {"api-key": provider.api_key.reveal()}
    url, headers = _url(provider, target.model, path_of(call.endpoint)), headers_with(own, provider, call)
    # The older surface ignores the model in the body.
    return request_of(call, target.model, url, headers, stream=stream, changes=changes)


def answer(body: bytes) -> bytes:
    """The same."""
    return body


def events() -> EventDecoder:
    """A decoder that gives each event's data as it came; a chunk with prompt_filter_results and no choice is one."""
    return _data_of


def _data_of(event: Event) -> Sequence[bytes]:
    return (event.data,)


def _url(provider: Provider, deployment: str, endpoint: str) -> str:
    # No encoding keeps such segments from leading elsewhere (RFC 3986, 5.2.4), where a server on the way decodes first.
    leads_elsewhere = not {".", ".."}.isdisjoint(re.split(r"[/\\]", deployment))
    if leads_elsewhere or len(deployment) > _LONGEST_NAME:
        message = f"{deployment[:_LONGEST_NAME]!r} is no name of a deployment."
        raise GatewayError(kind=Kind.MODEL_NOT_FOUND, message=message, param="model")
    query = f"?api-version={quote(provider.api_version, safe='')}" if provider.api_version else ""
    if provider.base_url.endswith(_V1):
        return f"{provider.base_url}/{endpoint}{query}"
    within = "" if not deployment or endpoint in _BESIDE_DEPLOYMENTS else f"/deployments/{quote(deployment, safe='')}"
    return f"{provider.base_url}/openai{within}/{endpoint}{query}"


AZURE: Final = Dialect(kind="azure", encode=encode, models=None, answer=answer, events=events)
"""It lists no models: a key sees the base models that could be deployed, and not the deployments that can be asked."""
