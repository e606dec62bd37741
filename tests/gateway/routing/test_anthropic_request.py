"""OpenAI's chat request as Anthropic's: each member's equal, what is refused, and what is named as left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.plan import Target
from openai_gateway.routing.repair import REPAIRS
from openai_gateway.secret import Secret
from tests.gateway.routing.asking import ANTHROPIC, SAID, USER, asked, encoded, refusal, there
from tests.gateway.routing.samples import KEY, call, provider, row

Json = Any


def test_a_request_goes_to_messages_with_its_version_and_key() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    asking = call(body={"messages": [USER]}, traceparent=trace)
    request = ANTHROPIC.encode(asking, there(api_key=Secret(KEY, name="K"), organization="o"), stream=False)
    assert (request.method, request.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert dict(request.headers) == {
        "accept-encoding": "identity",
        "anthropic-version": "2023-06-01",
        "x-api-key": KEY,
        "traceparent": trace,
        "content-type": "application/json",
        "accept": "application/json",
    }
    assert json.loads(request.body) == {"model": "claude", "max_tokens": 32_000, "messages": [SAID]}
    assert KEY not in repr(request)


def test_the_providers_own_headers_win() -> None:
    headers = {"Anthropic-Version": "2026-10-21", "Authorization": "Bearer t"}
    sent = dict(encoded({"messages": [USER]}, api_key=None, headers=headers).headers)
    assert (sent["anthropic-version"], sent["authorization"]) == ("2026-10-21", "Bearer t")
    assert "x-api-key" not in sent


def test_a_stream_is_asked_for_as_such() -> None:
    request = encoded({"messages": [USER], "stream_options": {"include_usage": True}}, stream=True)
    assert json.loads(request.body)["stream"] is True
    assert dict(request.headers)["accept"] == "text/event-stream"
    assert request.warnings == ()
    assert asked(stream=True, stream_options={"include_obfuscation": True}) == (
        {},
        ("takes no stream_options.include_obfuscation: left out",),
    )
    assert asked(stream_options={"include_obfuscation": False}) == asked(stream_options="odd") == ({}, ())


@pytest.mark.parametrize("endpoint", ["embeddings", "responses", "completions"])
def test_another_endpoint_is_an_error_that_says_what_is_possible(endpoint: str) -> None:
    with pytest.raises(GatewayError, match=f"cannot serve {endpoint}: .* serve chat/completions alone") as caught:
        ANTHROPIC.encode(call(endpoint=endpoint), there(), stream=False)
    assert caught.value.kind is Kind.INVALID_REQUEST


def test_repairs_are_made_before() -> None:
    changes = (REPAIRS["temperature"], REPAIRS["max_tokens"])
    body = {"messages": [USER], "temperature": 0.5, "max_tokens": 7}
    request = ANTHROPIC.encode(call(body=body), there(), stream=False, changes=changes)
    assert json.loads(request.body) == {"model": "claude", "max_tokens": 7, "messages": [SAID]}


def test_the_models_are_asked_for_in_one_page() -> None:
    assert ANTHROPIC.models is not None
    request = ANTHROPIC.models(provider("anthropic"))
    assert (request.method, request.url) == ("GET", "https://anthropic.example.com/v1/models?limit=1000")
    assert dict(request.headers)["x-api-key"] == "key-of-anthropic"


# --- members ----------------------------------------------------------------------------------------------------------

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": WEATHER, "strict": True}}
CARRIED_TOOL = {"name": "weather", "input_schema": WEATHER, "description": "d", "strict": True}
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"max_tokens": 6, "max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"temperature": 0.3, "top_p": 0.9}, {"temperature": 0.3, "top_p": 0.9}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b "]}, {"stop_sequences": ["a", "b "]}),
        ({"stop": ["a"], "stop_sequences": ["own"]}, {"stop_sequences": ["own", "a"]}),
        ({"tools": [TOOL]}, {"tools": [CARRIED_TOOL]}),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}]},
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
        ),
        (
            {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]},
            {"tools": [{**CARRIED_TOOL, "cache_control": {"type": "ephemeral"}}]},
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "x", "input_schema": SCHEMA}]},
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "x", "input_schema": SCHEMA}]},
        ),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [CARRIED_TOOL], "tool_choice": {"type": "auto"}}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tools": [CARRIED_TOOL], "tool_choice": {"type": "none"}}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [CARRIED_TOOL], "tool_choice": {"type": "any"}}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"tools": [CARRIED_TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
            {"tools": [CARRIED_TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": False}},
            {"tools": [CARRIED_TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": False}},
        ),
        ({"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [CARRIED_TOOL]}),
        (
            {"tools": [TOOL], "parallel_tool_calls": False},
            {"tools": [CARRIED_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "required"},
            {"tools": [CARRIED_TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "none"},
            {"tools": [CARRIED_TOOL], "tool_choice": {"type": "none"}},
        ),
        ({"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
        ({"reasoning_effort": "xhigh"}, {"output_config": {"effort": "xhigh"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "none", "thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"reasoning_effort": "low", "output_config": {"effort": "max"}}, {"output_config": {"effort": "max"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                },
                "reasoning_effort": "low",
            },
            {
                "output_config": {
                    "effort": "low",
                    "format": {"type": "json_schema", "schema": {"title": "n", **SCHEMA}},
                }
            },
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "description": "d", "schema": {**SCHEMA, "title": "own"}},
                }
            },
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": {"title": "own", "description": "d", **SCHEMA}}
                }
            },
        ),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"metadata": {"user_id": "own"}}, {"metadata": {"user_id": "own"}}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "standard_only"}, {"service_tier": "standard_only"}),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 2000},
                "top_k": 5,
                "cache_control": {"type": "ephemeral"},
            },
            {
                "thinking": {"type": "enabled", "budget_tokens": 2000},
                "top_k": 5,
                "cache_control": {"type": "ephemeral"},
            },
        ),
        ({"system": "own"}, {"system": "own"}),
        ({"some_future_member": [1, None]}, {"some_future_member": [1, None]}),
    ],
)
def test_what_has_an_equal_is_carried_over(given: dict[str, Json], sent: dict[str, Json]) -> None:
    assert asked(**given) == (sent, ())


@pytest.mark.parametrize(
    "neutral",
    [
        {
            "n": 1,
            "logprobs": False,
            "top_logprobs": 0,
            "modalities": ["text"],
            "functions": [],
            "function_call": "auto",
        },
        {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "store": False, "verbosity": "medium"},
        dict.fromkeys(("n", "seed", "stop", "tools", "temperature", "max_tokens", "response_format", "user", "audio")),
    ],
)
def test_what_asks_for_nothing_needs_no_equal(neutral: dict[str, Json]) -> None:
    assert asked(**neutral) == ({}, ())


@pytest.mark.parametrize(
    ("given", "sent", "warning"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}, "takes no max_tokens: left out (max_comp"),
        ({"temperature": 1.5}, {"temperature": 1}, "takes no temperature above 1: 1 was sent"),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}, 'takes no reasoning_effort "minimal"'),
        ({"tool_choice": "auto"}, {}, "takes no tool_choice: left out (there are no tools)"),
        ({"parallel_tool_calls": False}, {}, "takes no parallel_tool_calls: left out (there are no tools)"),
        ({"metadata": {"order": "7"}}, {}, "takes no metadata.order: left out"),
        (
            {"safety_identifier": "s", "user": "u"},
            {"metadata": {"user_id": "s"}},
            "takes no user: left out (metadata.user_id is given by another member)",
        ),
        ({"service_tier": "flex"}, {}, "takes no service_tier 'flex': left out"),
        ({"seed": 7}, {}, "takes no seed: left out"),
        ({"seed": 0}, {}, "takes no seed: left out"),
        ({"presence_penalty": 0.1}, {}, "takes no presence_penalty: left out"),
        ({"frequency_penalty": 1}, {}, "takes no frequency_penalty: left out"),
        ({"logit_bias": {"5": 1}}, {}, "takes no logit_bias: left out"),
        ({"store": True}, {}, "takes no store: left out"),
        ({"verbosity": "low"}, {}, "takes no verbosity: left out"),
        ({"prediction": {"type": "content", "content": "x"}}, {}, "takes no prediction: left out"),
        ({"prompt_cache_key": "k"}, {}, "takes no prompt_cache_key: left out"),
        ({"prompt_cache_retention": "24h"}, {}, "takes no prompt_cache_retention: left out"),
        ({"prompt_cache_options": {"mode": "explicit"}}, {}, "takes no prompt_cache_options: left out"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]},
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
            "takes no tools[].function.x: left out",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "x": 1}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"title": "n", **SCHEMA}}}},
            "takes no response_format.json_schema.x: left out",
        ),
    ],
)
def test_a_hint_without_an_equal_is_left_out_and_named(
    given: dict[str, Json], sent: dict[str, Json], warning: str
) -> None:
    body, warnings = asked(**given)
    assert body == sent
    assert len(warnings) == 1
    assert warnings[0].startswith(warning)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"stop": "\n"}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [TOOL, "x"]}, "tools[1]"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": None}]}, "tools[0].function"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        ({"metadata": "x"}, "metadata"),
        ({"anthropic_beta": ["a\r\nb"]}, "anthropic_beta"),
        ({"betas": [5]}, "betas"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(given: dict[str, Json], param: str) -> None:
    error = refusal(**given)
    assert error.param == param
    assert param.partition("[")[0] in error.message


def test_betas_become_the_header() -> None:
    request = encoded({"messages": [USER], "anthropic_beta": ["a-1", "b-2"], "betas": "a-1"})
    assert dict(request.headers)["anthropic-beta"] == "a-1,b-2"
    assert json.loads(request.body).keys() == {"model", "max_tokens", "messages"}
    kept = encoded({"messages": [USER], "betas": ["a-1"]}, headers={"Anthropic-Beta": "c-3"})
    assert dict(kept.headers)["anthropic-beta"] == "c-3"
    assert kept.warnings == (
        "anthropic/claude takes no anthropic_beta: left out (the provider's configuration has that header)",
    )


def test_the_rows_limit_stands_in_for_one_that_the_call_does_not_set() -> None:
    limited = Target(provider=there().provider, model="claude", row=row("claude", "anthropic", max_output_tokens=4096))
    request = ANTHROPIC.encode(call(body={"messages": [USER]}), limited, stream=False)
    assert json.loads(request.body)["max_tokens"] == 4096
