"""Calls through the kinds with a protocol of their own, from the gateway's face to the wire and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trio.testing import MockClock

from openai_gateway import Chunk, Finished, GatewayError, Kind, open_gateway
from openai_gateway.routing.calls import Usage
from tests.gateway.routing.messages_api import events_of, message, on_the_wire, text
from tests.gateway_engine.scripted import CANARY, Answer, Script, ask, provider, row, settings, two_providers, whole

ANTHROPIC = provider(kind="anthropic", base_url="https://api.anthropic.com/v1")
AZURE = provider(kind="azure", base_url="https://x.openai.azure.com", api_version="2024-10-21")
HEADERS = {"content-type": "application/json", "request-id": "req_1"}
LEFT_OUT = "one/m-at-one takes no seed: left out"
MESSAGE = message(text("Hello!"))


def said(value: Any, *, status: int = 200, **headers: str) -> Answer:
    return Answer(status=status, headers={**HEADERS, **headers}, body=(json.dumps(value).encode(),))


def streamed(*steps: Any) -> Answer:
    return Answer(headers={**HEADERS, "content-type": "text/event-stream"}, body=steps)


async def test_a_whole_answer_of_anthropic_is_openais_and_says_what_was_left_out(autojump_clock: MockClock) -> None:
    script = Script(said(MESSAGE))
    async with open_gateway(settings(providers=(ANTHROPIC,)), transport=script) as gateway:
        reply = await gateway.call(ask(body={"seed": 7}))
    assert reply.json["choices"][0]["message"]["content"] == "Hello!"
    assert json.loads(reply.body) == reply.json
    assert (reply.served.warnings, reply.served.request_id) == ((LEFT_OUT,), "req_1")
    assert (reply.served.finish_reason, reply.served.model) == ("stop", "claude-x")
    assert reply.served.usage == Usage(input=18, output=7, cached_input=5, reasoning=2)
    (request,) = script.requests
    assert (str(request.url), request.headers["x-api-key"]) == ("https://api.anthropic.com/v1/messages", CANARY)
    assert "authorization" not in request.headers


async def test_a_stream_of_anthropic_is_openais_and_says_what_was_left_out(autojump_clock: MockClock) -> None:
    script = Script(streamed(on_the_wire(list(events_of(MESSAGE)))))
    async with (
        open_gateway(settings(providers=(ANTHROPIC,)), transport=script) as gateway,
        gateway.stream(ask(body={"seed": 7, "stream_options": {"include_usage": True}})) as stream,
    ):
        *chunks, finished = [part async for part in stream]
    assert isinstance(finished, Finished)
    assert (finished.served.warnings, finished.served.request_id) == ((LEFT_OUT,), "req_1")
    assert finished.served.usage == Usage(input=18, output=7, cached_input=5, reasoning=2)
    assert [chunk.json.get("usage") is not None for chunk in chunks if isinstance(chunk, Chunk)] == [False] * 3 + [True]


async def test_a_refused_parameter_reaches_no_provider(autojump_clock: MockClock) -> None:
    script = Script()
    async with open_gateway(settings(providers=(ANTHROPIC,)), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask(body={"n": 2}))
    assert (caught.value.kind, caught.value.param, script.requests) == (Kind.INVALID_REQUEST, "n", [])


async def test_the_warnings_are_those_of_the_target_that_answered(autojump_clock: MockClock) -> None:
    both = two_providers()
    both.table.providers["one"] = ANTHROPIC  # type: ignore[index] # the table of this test alone
    error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    async with open_gateway(both, transport=Script(said(error, status=401), whole())) as gateway:
        reply = await gateway.call(ask(body={"seed": 7}))
    assert (reply.served.target, reply.served.warnings) == ("two/m-at-two", ())


async def test_a_stream_of_anthropic_that_fails_before_its_content_is_asked_elsewhere(
    autojump_clock: MockClock,
) -> None:
    both = two_providers()
    both.table.providers["one"] = ANTHROPIC  # type: ignore[index] # the table of this test alone
    begun, *_ = events_of(MESSAGE)
    error = {"type": "error", "error": {"type": "permission_error", "message": "no"}}
    async with (
        open_gateway(both, transport=Script(streamed(on_the_wire([begun, error])), whole())) as gateway,
        gateway.stream(ask()) as stream,
    ):
        *_, finished = [part async for part in stream]
    assert isinstance(finished, Finished)
    assert finished.served.target == "two/m-at-two"


async def test_the_models_of_anthropic_have_openais_time(autojump_clock: MockClock) -> None:
    entry = {"type": "model", "id": "claude-x", "display_name": "X", "created_at": "2026-06-01T00:00:00Z"}
    script = Script(said({"data": [entry], "has_more": False, "first_id": "claude-x", "last_id": "claude-x"}))
    async with open_gateway(settings(row("*", model="*"), providers=(ANTHROPIC,)), transport=script) as gateway:
        (model,) = await gateway.models()
    assert (model.id, model.created, model.owned_by) == ("claude-x", 1_780_272_000, "anthropic")
    assert model.raw["display_name"] == "X"
    assert str(script.requests[0].url) == "https://api.anthropic.com/v1/models?limit=1000"


async def test_azure_is_asked_at_the_deployment_and_lists_its_rows_without_being_asked(
    autojump_clock: MockClock,
) -> None:
    script = Script(whole(headers={"content-type": "application/json", "apim-request-id": "a-1"}))
    rows = row("mine", model="gpt 5"), row("azure/*", model="*")
    async with open_gateway(settings(*rows, providers=(AZURE,)), transport=script) as gateway:
        reply = await gateway.call(ask(model="mine"))
        assert [model.id for model in await gateway.models()] == ["mine"]
    (request,) = script.requests
    assert request.url.raw_path == b"/openai/deployments/gpt%205/chat/completions?api-version=2024-10-21"
    assert (request.headers["api-key"], reply.served.request_id) == (CANARY, "a-1")
    assert "authorization" not in request.headers


async def test_an_address_that_is_no_messages_api_is_told_so(autojump_clock: MockClock) -> None:
    async with open_gateway(settings(providers=(ANTHROPIC,)), transport=Script(said({"choices": 5}))) as gateway:
        with pytest.raises(GatewayError, match="it has to lead to Anthropic's Messages API"):
            await gateway.call(ask())


async def test_what_one_kind_cannot_do_is_asked_of_the_next_target(autojump_clock: MockClock) -> None:
    rows = row(order=1), row(provider="two", order=2)
    script = Script(whole())
    async with open_gateway(settings(*rows, providers=(ANTHROPIC, provider("two"))), transport=script) as gateway:
        served = (await gateway.call(ask(body={"n": 2}))).served

    assert (served.target, served.attempts) == ("two/m-at-two", 1)
