"""What callers send: each dialect writes a request of it that is JSON, or refuses it by GatewayError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from openai_gateway.errors import GatewayError
from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects import KINDS, UpstreamRequest
from openai_gateway.wire.strict import JsonError, dumps, loads
from openai_gateway_mcp.fuzz.damage import mutated
from tests.gateway.routing.samples import target as upstream
from tests.gateway.routing.test_anthropic_properties import MESSAGES, OPTIONAL
from tests.gateway_faults import test_mutations as sound
from tests.guided.target import Target, by_choices, examples

Encode = Callable[..., UpstreamRequest]
BODIES = st.fixed_dictionaries({"messages": MESSAGES}, optional=OPTIONAL)
WRITTEN = (BODIES | BODIES.flatmap(sound.mutated)).map(dumps)


def of_its_kind(kind: str, call: Call, *, stream: bool) -> UpstreamRequest:
    return KINDS[kind].encode(call, upstream(kind=kind), stream=stream)


def target(encode: Encode = of_its_kind) -> Target:
    def check(data: bytes) -> None:
        try:
            body = loads(data)
        except JsonError:
            return
        if isinstance(body, dict):
            for kind in KINDS:
                for stream in (False, True):
                    check_request(encode, kind, body, stream=stream)

    return Target(
        name="requests",
        of_bytes=check,
        of_choices=by_choices(check, data=WRITTEN | mutated(WRITTEN)),
        sound=lambda: examples(WRITTEN, 100),
    )


def check_request(encode: Encode, kind: str, body: Mapping[str, Any], *, stream: bool) -> None:
    before = repr(body)
    try:
        request = encode(kind, Call(model="m", body=body), stream=stream)
    except GatewayError as error:
        refused(error)
    else:
        sent = loads(request.body)
        assert sent["model"] == "m"
        assert stream is (sent.get("stream") is True)
        assert all(name.isascii() and value.isprintable() for name, value in request.headers)
    assert repr(body) == before, "the caller's own body was changed"


def refused(error: GatewayError) -> None:
    assert 400 <= error.status < 500, "what the caller wrote is nobody else's fault"
    dumps(error.to_openai())
