"""Going on with an answer that was cut: the request that is made of it, and what the caller sees of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from openai_gateway.routing.calls import Usage
from openai_gateway.routing.prefill import Continuation, Prefill, can_be_continued, continued
from openai_gateway.wire.strict import dumps, loads
from tests.gateway.routing.samples import call

ASKED = {"role": "user", "content": "Hello?"}


@pytest.mark.parametrize(
    ("fields", "able"),
    [
        ({}, True),
        ({"body": {"n": 1, "response_format": {"type": "text"}, "tools": [{}]}}, True),
        ({"body": {"response_format": {"type": "json_object"}}}, False),
        ({"body": {"response_format": {"type": "json_schema"}}}, False),
        ({"body": {"response_format": "odd"}}, False),
        ({"body": {"n": 2}}, False),
        ({"body": {"logprobs": True}}, False),
        ({"endpoint": "completions"}, False),
        ({"whole": True}, False),
    ],
)
def test_only_a_single_plain_text_of_a_streaming_caller_is_continued(fields: dict[str, Any], able: bool) -> None:
    assert can_be_continued(call(**fields)) is able


@pytest.mark.parametrize(
    ("how", "message", "more"),
    [
        (Prefill.MESSAGE, {"role": "assistant", "content": "Hel"}, {}),
        (
            Prefill.CONTINUE_FINAL_MESSAGE,
            {"role": "assistant", "content": "Hel"},
            {"add_generation_prompt": False, "continue_final_message": True},
        ),
        (Prefill.PREFIX, {"role": "assistant", "content": "Hel", "prefix": True}, {}),
    ],
)
def test_the_text_so_far_stands_last_in_the_manner_of_the_server(
    how: Prefill, message: dict[str, Any], more: dict[str, Any]
) -> None:
    made = continued(call(body={"messages": [ASKED], "x": 1}), "Hel", how)
    assert made.body == {"messages": [ASKED, message], "x": 1, **more}


def test_an_answer_that_the_caller_began_goes_on_from_there() -> None:
    begun = {"role": "assistant", "content": "Once ", "name": "n"}
    made = continued(call(body={"messages": [ASKED, begun]}), "upon", Prefill.MESSAGE)
    assert made.body["messages"] == [ASKED, {"role": "assistant", "content": "Once upon", "name": "n"}]


@pytest.mark.parametrize("last", [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}, "odd"])
def test_a_last_message_of_another_shape_is_left_as_it_is(last: Any) -> None:
    made = continued(call(body={"messages": [last]}), "Hel", Prefill.MESSAGE)
    assert made.body["messages"] == [last, {"role": "assistant", "content": "Hel"}]


def test_a_call_without_messages_gets_one() -> None:
    assert continued(call(body={}), "Hel", Prefill.MESSAGE).body["messages"] == [
        {"role": "assistant", "content": "Hel"}
    ]


REST = Continuation({"id": "first", "created": 1}, Usage(input=10, output=5))


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"id": "second", "created": 9, "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def test_the_rest_comes_under_the_first_ones_id() -> None:
    assert REST.chunk(delta(content="lo")) == {
        "id": "first",
        "created": 1,
        "choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": None}],
    }


@pytest.mark.parametrize(
    "members", [{"role": "assistant"}, {"role": "assistant", "content": ""}, {"content": None}, {}]
)
def test_what_only_begins_an_answer_is_left_out_of_the_rest(members: dict[str, Any]) -> None:
    assert REST.chunk(delta(**members)) is None


@pytest.mark.parametrize(
    "json",
    [
        delta("stop"),
        delta(content="x"),
        {"choices": []},
        {"choices": [1]},
        {"choices": [{"delta": 1}]},
        {"choices": [{}, {}]},
        {},
    ],
)
def test_all_else_goes_on(json: dict[str, Any]) -> None:
    assert REST.chunk(json) is not None


def test_usage_adds_up() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "x": {"y": 1}}
    found = REST.chunk({"choices": [], "usage": usage})
    assert found is not None
    assert found["usage"] == {"prompt_tokens": 22, "completion_tokens": 8, "total_tokens": 30, "x": {"y": 1}}


def test_usage_of_a_strange_shape_is_not_added_to() -> None:
    found = REST.chunk({"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": True}})
    assert found is not None
    assert found["usage"] == {"prompt_tokens": "many", "completion_tokens": True}


def test_a_count_of_four_thousand_digits_is_not_added_to() -> None:
    """The sum might have one digit more, and Python would not write it."""
    found = REST.chunk({"choices": [], "usage": {"prompt_tokens": 10**4300 - 1}})
    assert found is not None
    assert loads(dumps(found))["usage"] == {"prompt_tokens": 10**4300 - 1}
