"""OpenAI requests for the tests of the anthropic dialect, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.dialects import UpstreamRequest, dialect_of
from openai_gateway.routing.plan import Target
from tests.gateway.routing.oracles import accept_request
from tests.gateway.routing.samples import call, target

Json = Any

ANTHROPIC = dialect_of("anthropic")
USER = {"role": "user", "content": "Hi"}
SAID = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


def there(**fields: Any) -> Target:
    return target("anthropic", "claude", **{"kind": "anthropic", "base_url": "https://api.anthropic.com/v1", **fields})


def encoded(body: Mapping[str, Json], *, stream: bool = False, **fields: Any) -> UpstreamRequest:
    return ANTHROPIC.encode(call(body=body), there(**fields), stream=stream)


def asked(*, messages: Json = (USER,), **members: Json) -> tuple[dict[str, Json], tuple[str, ...]]:
    """The body that is sent for these, without what all have, and the warnings without their subject."""
    given = list(messages) if isinstance(messages, tuple) else messages
    request = encoded({"model": "x", "messages": given, **members})
    body = json.loads(request.body)
    accept_request(body)
    assert body.pop("model") == "claude"
    if body["messages"] == [SAID]:
        del body["messages"]
    if body["max_tokens"] == 32_000:
        del body["max_tokens"]
    return body, tuple(warning.removeprefix("anthropic/claude ") for warning in request.warnings)


def turns(*messages: Json) -> list[Json]:
    body, warnings = asked(messages=messages)
    assert warnings == ()
    assert body.keys() <= {"messages"}
    return [] if not body else list(body["messages"])


def refusal(**body: Json) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        encoded({"messages": [USER], **body})
    assert caught.value.kind is Kind.INVALID_REQUEST
    return caught.value
