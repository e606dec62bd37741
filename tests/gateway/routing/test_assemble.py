"""What chunks and whole answers say, whatever shape they have, and a whole answer taken apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.assemble import (
    as_chunks,
    failed_finish,
    finish_reason_of,
    finish_reasons,
    has_content,
    usage_of,
)
from openai_gateway.routing.calls import Usage


def chunk(delta: Any = None, **choice: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (chunk({"content": "x"}), True),
        (chunk({"reasoning_content": "x"}), True),
        (chunk({"reasoning": "x"}), True),
        (chunk({"refusal": "x"}), True),
        (chunk({"tool_calls": [{"index": 0}]}), True),
        (chunk({"function_call": {"name": "f"}}), True),
        (chunk({"audio": {"data": "x"}}), True),
        (chunk({"content": [{"type": "text", "text": "x"}]}), True),
        (chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}]}), True),
        (chunk({"content": [{"type": "text", "text": ""}]}), False),
        (chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": ""}], "closed": True}]}), False),
        ({"choices": [{"index": 0, "text": "x"}]}, True),
        (chunk({"role": "assistant"}), False),
        (chunk({"role": "assistant", "content": ""}), False),
        (chunk({"content": None, "tool_calls": []}), False),
        (chunk({}, finish_reason="stop"), False),
        ({"choices": [], "usage": {"prompt_tokens": 1}}, False),
        ({"choices": None}, False),
        ([], False),
        (chunk("odd"), False),
        ({"choices": ["odd"]}, False),
    ],
)
def test_only_what_a_caller_would_miss_is_content(body: Any, content: bool) -> None:
    assert has_content(body) is content


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}, Usage(input=3, output=4)),
        ({"usage": {"input_tokens": 3, "output_tokens": 4}}, Usage(input=3, output=4)),
        (
            {
                "choices": [{"delta": {"content": "x"}}],
                "usage": {
                    "prompt_tokens": 3,
                    "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 1},
                },
            },
            Usage(input=3, output=4, cached_input=2, reasoning=1),
        ),
        (
            {
                "usage": {
                    "input_tokens": 3,
                    "input_tokens_details": {"cached_tokens": 2},
                    "output_tokens_details": {"reasoning_tokens": 1},
                }
            },
            Usage(input=3, cached_input=2, reasoning=1),
        ),
        ({"usage": {"prompt_tokens": 3.0, "completion_tokens": 2**53 - 1}}, Usage(input=3, output=2**53 - 1)),
        # What is no number of tokens is not 0: the call would be free.
        ({"usage": {"prompt_tokens": True, "completion_tokens": -1, "input_tokens": "3"}}, None),
        ({"usage": {"prompt_tokens": 10**400, "completion_tokens": 1}}, None),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 2**53}}, None),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 0.5}}, None),
        ({"usage": {"total_tokens": 7}}, None),
        ({"usage": None}, None),
        ({"usage": {}}, None),
        ({"usage": 5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_read_from_any_shape(body: Any, usage: Usage | None) -> None:
    assert usage_of(body) == usage


ANSWER: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}


def test_a_whole_answer_is_taken_apart_into_the_chunks_that_say_the_same() -> None:
    (choice,) = ANSWER["choices"]
    (tool_call,) = choice["message"]["tool_calls"]
    head = {"id": "c1", "object": "chat.completion.chunk", "model": "m"}
    delta = {**choice["message"], "tool_calls": [{"index": 0, **tool_call}]}
    chunks = as_chunks(ANSWER)
    assert chunks == (
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": ANSWER["usage"]},
    )
    assert has_content(chunks[0])


def test_the_chunks_of_a_text_completion_look_like_the_whole() -> None:
    choice = {"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}
    whole = {"id": "c1", "object": "text_completion", "choices": [choice]}
    assert as_chunks(whole) == (whole,)


def test_content_in_parts_stays_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]
    (one,) = as_chunks({"choices": [{"message": {"content": parts}}]})
    assert one["choices"][0]["delta"] == {"content": parts}


def test_an_answer_without_usage_has_no_usage_chunk() -> None:
    assert len(as_chunks({"choices": [{"message": {"content": "x"}}], "usage": None})) == 1


def test_the_finish_reason_of_an_answer_is_found() -> None:
    assert finish_reason_of(ANSWER) == "stop"
    assert finish_reason_of({"choices": [{"finish_reason": None}, {"finish_reason": "length"}]}) == "length"
    assert finish_reason_of({}) is None


def test_each_choice_has_its_finish_reason_and_what_has_another_shape_has_none() -> None:
    choices = [{"index": 1, "finish_reason": "stop"}, {"index": "x", "finish_reason": ""}, "odd", {"finish_reason": 5}]
    assert list(finish_reasons({"choices": choices})) == [(1, "stop"), (0, None), (0, None)]


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_an_end_that_the_server_made_is_a_failed_one(reason: str) -> None:
    assert failed_finish([(0, "stop"), (1, reason)]) == reason
    assert failed_finish(finish_reasons(ANSWER)) is None


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "index",
                    "content",
                    "tool_calls",
                    "function",
                    "arguments",
                    "id",
                    "usage",
                    "audio",
                    "data",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(_ODD | st.builds(chunk, _ODD) | st.builds(lambda call: chunk({"tool_calls": [call]}), _ODD))
def test_no_shape_of_chunk_breaks_what_reads_it(one: Any) -> None:
    assert has_content(one) in {True, False}
    assert all(isinstance(index, int) for index, _ in finish_reasons(one))
    usage_of(one)
    if isinstance(one, dict):
        as_chunks(one)
