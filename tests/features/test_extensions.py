"""The seed's two methods, as its document writes them."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from openai_gateway.errors import GatewayError, Kind
from openai_gateway_mcp.features.application import Application
from openai_gateway_mcp.features.extensions import answer_extension
from openai_gateway_mcp.features.failures import seed_fault
from openai_gateway_mcp.features.rate_limit import RateLimit
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.protocol.errors import Fault
from openai_gateway_mcp.protocol.events import Era, ExtensionCalled
from openai_gateway_mcp.protocol.model import ExtensionResult
from tests.features.scripted import (
    CANARY,
    Upstream,
    Watcher,
    a_call,
    answers,
    client_of,
    door_to,
    lists,
    refuses,
)

BODY = {
    "id": "c1",
    "object": "chat.completion",
    "model": "served-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!", "x": 1}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    "their_own": {"deep": [1]},
}
HELLO = {"messages": [{"role": "user", "content": "Hello!"}]}


async def ask(
    upstream: Upstream, method: str, era: Era = Era.LEGACY, environ: dict[str, str] | None = None, **params: Any
) -> Any:
    async with door_to(upstream, environ) as door:
        try:
            event = ExtensionCalled(call=a_call(method, era), params=params)
            result = await answer_extension(event, door, RateLimit(0), Settings(gateway=door.settings))
        except Fault as fault:
            return fault
        return result.value


async def complete(upstream: Upstream, **params: Any) -> Any:
    return await ask(upstream, "completion/complete", **params)


async def test_models_list_gives_the_models_as_the_gateway_gave_them(autojump_clock: MockClock) -> None:
    value = await ask(Upstream(models=lists("a")), "models/list", _meta={})
    assert value == {"models": [{"id": "a", "object": "model", "created": 7, "owned_by": "them", "context_window": 8}]}


async def test_a_prompt_of_messages_is_answered_with_the_untouched_body(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=answers(200, BODY))
    value = await complete(upstream, prompt=HELLO)
    assert value == {
        "completion": {"values": ["Hello!"], "total": 1, "hasMore": False},
        "message": {"role": "assistant", "content": "Hello!", "x": 1},
        "model": "served-1",
        "usage": BODY["usage"],
        "finish_reason": "stop",
        "response": BODY,
    }
    assert upstream.bodies == [{"model": "gpt-3.5-turbo", "messages": HELLO["messages"]}]


async def test_other_parameters_are_passed_on_and_the_alias_is_translated(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=answers(200, BODY))
    await complete(
        upstream,
        prompt="hi",
        model="m1",
        maxTokens=7,
        temperature=0.5,
        seed=3,
        strange={"a": 1},
        stream=False,
        api_key=None,
        _meta={},
    )
    assert upstream.bodies == [
        {
            "model": "m1",
            "messages": [{"role": "user", "content": "hi"}],
            "max_completion_tokens": 7,
            "temperature": 0.5,
            "seed": 3,
            "strange": {"a": 1},
        }
    ]


async def test_every_choice_is_a_value(autojump_clock: MockClock) -> None:
    choices = [
        {"index": at, "message": {"role": "assistant", "content": text}} for at, text in enumerate(["a", None, "c"])
    ]
    value = await complete(Upstream(any=answers(200, {"choices": choices})), prompt="hi", n=3)
    assert value["completion"] == {"values": ["a", "c"], "total": 2, "hasMore": False}
    assert "usage" not in value


async def test_a_value_is_the_text_of_content_in_parts(autojump_clock: MockClock) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": parts}}]}
    value = await complete(Upstream(any=answers(200, body)), prompt="hi")
    assert value["completion"]["values"] == ["x"]
    assert value["message"]["content"] == parts


async def test_a_body_of_another_shape_still_makes_a_valid_result(autojump_clock: MockClock) -> None:
    for choices in ([], [1, {"message": 2}]):
        body = {"choices": choices}
        value = await complete(Upstream(any=answers(200, body)), prompt="hi")
        assert value["completion"]["values"] == []
        assert value["response"] == body


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"prompt": "hi", "stream": True}, "stream is not accepted: the answer of this method is one message"),
        ({"prompt": "hi", "api_key": CANARY}, "api_key is not accepted"),
        ({"prompt": "hi", "api_base": "http://169.254.169.254"}, "the upstream is configured"),
        ({"prompt": "hi", "base_url": "x"}, "the upstream is configured"),
        ({"prompt": "hi", "extra_headers": {}}, "headers are configured"),
        ({"prompt": "hi", "maxTokens": 1, "max_completion_tokens": 1}, "one parameter"),
        ({"prompt": "hi", "messages": []}, "prompt.messages"),
        ({"prompt": "hi", "model": 5}, "model must be a string"),
        ({"prompt": "hi", "model": ""}, "model must be a string"),
        ({"prompt": 5}, "prompt must be a string"),
        ({}, "prompt must be a string"),
        ({"prompt": {}}, "prompt.messages must be an array"),
        ({"prompt": {"messages": []}}, "prompt.messages must be an array"),
        ({"prompt": {"messages": ["x"]}}, "prompt.messages must be an array"),
        ({"prompt": {"messages": [{}], "model": "m"}}, "model belong beside it"),
    ],
)
async def test_wrong_params_are_refused_before_anything_is_sent(
    params: dict[str, Any], words: str, autojump_clock: MockClock
) -> None:
    upstream = Upstream()
    fault = await complete(upstream, **params)
    assert fault.code == -32602
    assert words in fault.message
    assert CANARY not in fault.message
    assert upstream.paths == []


CODES = {
    Kind.INVALID_REQUEST: (-32602, -32602),
    Kind.TOO_LARGE: (-32602, -32602),
    Kind.AUTHENTICATION: (-32001, 1001),
    Kind.PERMISSION: (-32001, 1001),
    Kind.CREDENTIALS_REJECTED: (-32001, 1001),
    Kind.RATE_LIMITED: (-32002, 1002),
    Kind.QUOTA: (-32002, 1002),
    Kind.MODEL_NOT_FOUND: (-32003, 1003),
    Kind.UPSTREAM: (-32004, 1004),
    Kind.NO_TARGET: (-32004, 1004),
    Kind.STORE: (-32004, 1004),
    Kind.SHUTTING_DOWN: (-32004, 1004),
    Kind.CONFIGURATION: (-32005, 1005),
    Kind.NETWORK: (-32006, 1006),
    Kind.CONNECT_TIMEOUT: (-32007, 1007),
    Kind.FIRST_BYTE_TIMEOUT: (-32007, 1007),
    Kind.IDLE_TIMEOUT: (-32007, 1007),
    Kind.TOTAL_TIMEOUT: (-32007, 1007),
}


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_its_code_of_the_seed_document_in_both_eras(kind: Kind) -> None:
    error = GatewayError(kind=kind, message="m", hint="h")
    legacy, modern = (seed_fault(error, era) for era in (Era.LEGACY, Era.MODERN))
    assert (legacy.code, modern.code) == CODES[kind]
    assert legacy.message == "m. h"
    assert legacy.data == {"message": "m", "type": kind.type, "param": None, "code": kind.code}


@pytest.mark.parametrize(("era", "code"), [(Era.LEGACY, -32001), (Era.MODERN, 1001)])
async def test_a_refused_key_is_an_authentication_error_that_does_not_show_it(
    era: Era, code: int, autojump_clock: MockClock
) -> None:
    refused = refuses(401, f"bad key {CANARY}", code="invalid_api_key")
    for method in ("completion/complete", "models/list"):
        fault = await ask(Upstream(any=refused, models=refused), method, era, prompt="hi")
        assert fault.code == code
        assert set(fault.data) >= {"message", "type", "param", "code"}
        assert CANARY not in str(fault)
        assert CANARY not in str(fault.data)


async def test_a_missing_gateway_is_a_configuration_error_that_says_what_to_set(autojump_clock: MockClock) -> None:
    for method in ("completion/complete", "models/list"):
        fault = await ask(Upstream(), method, environ={}, prompt="hi")
        assert fault.code == -32005
        assert "GATEWAY_URL" in fault.message


async def test_an_unset_default_that_is_not_served_is_explained(autojump_clock: MockClock) -> None:
    missing = refuses(404, "no such model", code="model_not_found")
    fault = await complete(Upstream(any=missing, models=lists("a")), prompt="hi")
    assert fault.code == -32003
    assert "Served are: a" in fault.message


async def test_a_method_that_is_none_of_the_two_is_not_found(autojump_clock: MockClock) -> None:
    fault = await ask(Upstream(), "models/delete")
    assert fault.code == -32601


async def test_the_application_sends_extensions_here(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a"))) as client:
        application: Application = client.application
        event = ExtensionCalled(call=a_call("models/list"), params={})
        assert isinstance(await application.handle(event, Watcher()), ExtensionResult)
