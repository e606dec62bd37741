"""OpenAI's chat request as Anthropic's: each member's equal, what is refused, and what is named as left out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.dialects import UpstreamRequest, dialect_of
from openai_gateway.routing.plan import Target
from openai_gateway.routing.repair import REPAIRS
from openai_gateway.secret import Secret
from tests.gateway.routing.oracles import accept_request
from tests.gateway.routing.samples import KEY, call, provider, row, target

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


# --- the request as a whole -------------------------------------------------------------------------------------------


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


# --- messages ---------------------------------------------------------------------------------------------------------

PDF = base64.b64encode(b"%PDF-1.7").decode()
PNG = base64.b64encode(b"\x89PNG").decode()
MARK = {"type": "ephemeral"}


def image(url: str, **more: Json) -> Json:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def file(**members: Json) -> Json:
    return {"type": "file", "file": members}


def part(given: Json) -> Json:
    """The block that one part of a user's message becomes."""
    (turn,) = turns({"role": "user", "content": [given]})
    (block,) = turn["content"]
    return block


@pytest.mark.parametrize(
    ("given", "block"),
    [
        ({"type": "text", "text": "x"}, {"type": "text", "text": "x"}),
        (
            {"type": "text", "text": "x", "cache_control": MARK},
            {"type": "text", "text": "x", "cache_control": MARK},
        ),
        (
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "x", "cache_control": MARK},
        ),
        (
            image(f"data:image/png;base64,{PNG}"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ),
        (
            image(f"DATA:image/JPG;x=y;BASE64,{PNG}", cache_control=MARK),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG},
                "cache_control": MARK,
            },
        ),
        (
            image("https://a.example/x.png"),
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            {"type": "image_url", "image_url": "https://a.example/x.png"},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "auto"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            file(file_data=f"data:application/pdf;base64,{PDF}", filename="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            file(file_data=PDF),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ),
        (
            file(file_data=base64.b64encode("é".encode()).decode(), filename="n.TXT"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}, "title": "n.TXT"},
        ),
        (
            file(file_data="data:text/plain;charset=utf-8;base64,eA=="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        ),
        (file(file_id="file_011"), {"type": "document", "source": {"type": "file", "file_id": "file_011"}}),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
        ),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": []},
            {"type": "search_result", "source": "s", "title": "t", "content": []},
        ),
    ],
)
def test_a_part_becomes_its_block(given: Json, block: Json) -> None:
    assert part(given) == block


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (5, "messages[0].content"),
        ({}, "messages[0].content"),
        (["x"], "messages[0].content[0]"),
        ([{"type": "input_audio", "input_audio": {}}], "messages[0].content[0]"),
        ([{"type": "image_url"}], "messages[0].content[0].image_url"),
        ([image("data:image/png,raw")], "messages[0].content[0].image_url"),
        ([{"type": "file"}], "messages[0].content[0].file"),
        ([file(filename="x.pdf")], "messages[0].content[0].file"),
        ([file(file_data="data:application/zip;base64,eA==")], "messages[0].content[0].file"),
        ([file(file_data="eA==", filename="x.docx")], "messages[0].content[0].file"),
        ([file(file_data="not base64!", filename="x.txt")], "messages[0].content[0].file"),
        ([file(file_data="/w==", filename="x.txt")], "messages[0].content[0].file"),
    ],
)
def test_a_part_that_cannot_be_carried_is_refused_by_its_place(content: Json, param: str) -> None:
    assert refusal(messages=[{"role": "user", "content": content}]).param == param


def test_what_a_part_says_beside_is_named() -> None:
    given = {"type": "image_url", "image_url": {"url": "https://a.example", "detail": "low", "x": 1}, "y": 2}
    also = {"type": "file", "file": {"file_data": PDF, "z": 1}}
    body, warnings = asked(messages=({"role": "user", "content": [given, given, also], "name": "Ada"},))
    assert warnings == (
        "takes no messages[].name: left out",
        "takes no messages[].content[].image_url.detail: left out",
        "takes no messages[].content[].image_url.x: left out",
        "takes no messages[].content[].y: left out",
        "takes no messages[].content[].file.z: left out",
    )
    assert len(body["messages"][0]["content"]) == 3


def test_system_and_developer_messages_are_the_system_prompt() -> None:
    assert asked(messages=({"role": "system", "content": "Be kind."}, USER)) == ({"system": "Be kind."}, ())
    marked = {"type": "text", "text": "Long.", "cache_control": MARK}
    body, warnings = asked(
        messages=({"role": "system", "content": "Be kind."}, {"role": "developer", "content": [marked]}, USER),
        system="Own.",
    )
    assert body["system"] == [{"type": "text", "text": "Own."}, {"type": "text", "text": "Be kind."}, marked]
    assert warnings == ()
    own = [{"type": "text", "text": "Own."}]
    assert asked(messages=({"role": "system", "content": "x"}, USER), system=own)[0]["system"] == [
        *own,
        {"type": "text", "text": "x"},
    ]


def test_a_system_message_in_the_midst_goes_to_the_front_and_that_is_said() -> None:
    body, warnings = asked(messages=(USER, {"role": "system", "content": "Now in French."}, USER))
    assert body["system"] == "Now in French."
    assert body["messages"] == [{"role": "user", "content": [*SAID["content"], *SAID["content"]]}]
    assert warnings == ("takes a system prompt at the beginning alone: later system messages were moved there",)


def test_a_message_that_is_a_cache_mark_puts_it_on_its_last_block() -> None:
    (turn,) = turns({"role": "user", "content": "x", "cache_control": MARK})
    assert turn["content"] == [{"type": "text", "text": "x", "cache_control": MARK}]


def tool_call(arguments: Json, **more: Json) -> Json:
    return {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}, **more}


def test_a_tool_loop_becomes_blocks_in_turns() -> None:
    conversation = (
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [tool_call('{"city":"Paris"}'),
                                                                      {**tool_call(""), "id": "call:2"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
        {"role": "tool", "tool_call_id": "call:2", "content": [{"type": "text", "text": "Error: no city"}]},
        {"role": "user", "content": "And?"},
    )  # fmt: skip
    assert turns(*conversation)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "call_3a_2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "12 °C"},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_3a_2",
                    "content": [{"type": "text", "text": "Error: no city"}],
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]


THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
CALLED = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}, "caller": {"type": "direct"}}
SAYS_A, SAYS_B = ({"type": "text", "text": said} for said in ("a ", "b"))
CAME: list[dict[str, Json]] = [THINKING, SAYS_A, SEARCH, SAYS_B, THINKING, CALLED]


def answer(**fields: Json) -> Json:
    """An assistant message as it came in an answer whose blocks were CAME, put together from a stream."""
    return {
        "role": "assistant",
        "content": "a b",
        "refusal": None,
        "reasoning_content": "Hm.Hm.",
        "thinking_blocks": [{**THINKING, "index": 0}, {**THINKING, "index": 1}],
        "anthropic_blocks": [{**block, "index": at} for at, block in enumerate(CAME)],
        "tool_calls": [tool_call("{}", caller={"type": "direct"}, index=0)],
        **fields,
    }


@pytest.mark.parametrize("content", ["a b", [{"type": "text", "text": "a b"}]])
def test_an_answer_goes_back_to_the_letter(content: Json) -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": None, "is_error": True, "cache_control": MARK}
    assert turns(USER, answer(content=content), result)[1:] == [
        {"role": "assistant", "content": CAME},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "call_1", "is_error": True, "cache_control": MARK}],
        },
    ]


@pytest.mark.parametrize(
    "changed",
    [{"content": "a c"}, {"content": None}, {"tool_calls": None}, {"tool_calls": [tool_call('{"city":"Rome"}')]}],
)
def test_an_answer_that_its_caller_changed_is_made_anew_from_what_it_says(changed: Json) -> None:
    body, warnings = asked(messages=(USER, answer(**changed), USER))
    blocks = body["messages"][1]["content"]
    assert warnings == ("takes no messages[].anthropic_blocks: left out (content or tool_calls say something else)",)
    assert blocks[:2] == [THINKING, THINKING]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert texts == ([changed["content"]] if changed.get("content") else [] if "content" in changed else ["a b"])
    assert [block for block in blocks if block["type"] == "server_tool_use"] == []


def test_thinking_alone_goes_back_before_all_else() -> None:
    message = answer(anthropic_blocks=None, tool_calls=None, content="a b ", cache_control=MARK)
    assert turns(USER, message, USER)[1]["content"] == [
        THINKING,
        THINKING,
        {"type": "text", "text": "a b ", "cache_control": MARK},
    ]


def test_what_an_assistant_said_beside_is_named() -> None:
    function = {"name": "weather", "arguments": "{}", "thought": "x"}
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        "refusal": "c",
        "reasoning_content": "unsigned",
        "annotations": [{"type": "url_citation"}],
        "tool_calls": [{**tool_call("{}"), "extra_content": {"x": 1}, "function": function}],
    }
    body, warnings = asked(messages=(USER, message, USER))
    assert [block["text"] for block in body["messages"][1]["content"][:-1]] == ["a", "b", "c"]
    assert warnings == (
        "takes no messages[].annotations: left out",
        "takes no messages[].tool_calls[].extra_content: left out",
        "takes no messages[].tool_calls[].function.thought: left out",
        "takes no messages[].reasoning_content: left out (only thinking_blocks hold the signature it needs)",
    )


def test_texts_of_nothing_are_dropped_beside_others_and_empty_turns_vanish() -> None:
    blank = {"role": "assistant", "content": " \n"}
    assert turns(USER, blank, {"role": "user", "content": [{"type": "text", "text": ""}, *SAID["content"]]}) == [
        {"role": "user", "content": [*SAID["content"], *SAID["content"]]}
    ]
    assert turns({"role": "user", "content": ""}) == [{"role": "user", "content": [{"type": "text", "text": ""}]}]
    assert turns({"role": "user", "content": None}) == []


def test_a_last_assistant_message_is_continued_and_loses_white_space_at_its_end() -> None:
    assert turns(USER, {"role": "assistant", "content": "The answer is"})[1]["content"][0]["text"] == "The answer is"
    body, warnings = asked(messages=(USER, {"role": "assistant", "content": "The answer is \n"}))
    assert body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "The answer is"}]}
    assert warnings == ("takes no white space at the end of a last assistant message: it was cut off there",)
    called = turns(USER, {"role": "assistant", "content": "x ", "tool_calls": [tool_call("{}")]})
    assert called[1]["content"][0]["text"] == "x "


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("x", "messages"),
        ([5], "messages[0]"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"]}], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "tool", "tool_call_id": "x", "content": 5}], "messages[0].content"),
        ([{"role": "assistant", "function_call": {}}], "messages[0].function_call"),
        ([{"role": "assistant", "audio": {"id": "x"}}], "messages[0].audio"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "tool_calls": [{"id": "x", "type": "custom"}]}], "messages[0].tool_calls[0].function"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "messages[0].tool_calls[0].id"),
        ([{"role": "assistant", "tool_calls": [tool_call("{")]}], "messages[0].tool_calls[0].function.arguments"),
        ([{"role": "assistant", "tool_calls": [tool_call("[]")]}], "messages[0].tool_calls[0].function.arguments"),
        ([{"role": "assistant", "tool_calls": [tool_call(7)]}], "messages[0].tool_calls[0].function.arguments"),
        ([{"role": "assistant", "thinking_blocks": [5]}], "messages[0].thinking_blocks[0]"),
        ([{"role": "assistant", "anthropic_blocks": {}}], "messages[0].anthropic_blocks"),
    ],
)
def test_a_message_that_cannot_be_carried_is_refused_by_its_place(messages: Json, param: str) -> None:
    error = refusal(messages=messages)
    assert error.param == param
    assert error.message.startswith(param)


def test_arguments_that_are_an_object_already_are_taken() -> None:
    (_, turn) = turns(USER, {"role": "assistant", "tool_calls": [tool_call({"a": 1})]})
    assert turn["content"][0]["input"] == {"a": 1}
    (_, turn) = turns(USER, {"role": "assistant", "tool_calls": [tool_call(None)]})
    assert turn["content"][0]["input"] == {}
