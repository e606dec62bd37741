"""A stream put together again, whatever shape its chunks have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.assemble import Assembly, as_chunks, finish_reason_of, has_content, usage_of
from openai_gateway.routing.calls import Usage


def chunk(delta: Any = None, **choice: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def assembled(*chunks: Any) -> Assembly:
    assembly = Assembly()
    for one in chunks:
        assembly.feed(one)
    return assembly


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
        ({"usage": {"prompt_tokens": True, "completion_tokens": -1, "input_tokens": "3"}}, Usage()),
        ({"usage": {"prompt_tokens": 10**400, "completion_tokens": 2**53 - 1}}, Usage(output=2**53 - 1)),
        ({"usage": None}, None),
        ({"usage": {}}, None),
        ({"usage": 5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_read_from_any_shape(body: Any, usage: Usage | None) -> None:
    assert usage_of(body) == usage


def test_the_pieces_of_a_stream_become_one_answer() -> None:
    assembly = assembled(
        {
            "id": "c1",
            "created": 5,
            "model": "m",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}],
        },
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        {"choices": [{"index": 1, "delta": {"content": "other", "refusal": "no"}, "finish_reason": "length"}]},
    )
    finished_before = assembly.is_finished
    assembly.feed(chunk({}, finish_reason="stop"))
    assembly.feed({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "x": 3}})
    assert (assembly.text, assembly.reasoning, assembly.refusal, assembly.finish_reason) == ("Hello", "hm", "", "stop")
    assert (assembly.model, assembly.usage, assembly.error) == ("m", Usage(input=1, output=2), None)
    assert (finished_before, assembly.is_finished) == (False, True)
    assert sorted(assembly.choices) == [0, 1]
    assert assembly.answer() == {
        "id": "c1",
        "created": 5,
        "model": "m",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "reasoning_content": "hm", "refusal": None},
                "finish_reason": "stop",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "other", "refusal": "no"},
                "finish_reason": "length",
            },
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "x": 3},
    }


def test_tool_calls_are_joined_by_index() -> None:
    def piece(index: int | None, **fields: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [({} if index is None else {"index": index}) | fields]})

    assembly = assembled(
        piece(1, id="b", function={"name": "g", "arguments": "{"}),
        piece(0, id="a", type="function", function={"name": "f", "arguments": ""}),
        piece(0, function={"arguments": '{"x"'}),
        piece(1, function={"arguments": "}"}),
        piece(0, function={"arguments": ":1}"}),
    )
    assert assembly.tool_calls == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert assembly.answer()["choices"][0]["message"]["tool_calls"] == assembly.tool_calls


def test_tool_calls_without_an_index_are_told_apart_by_id() -> None:
    assembly = assembled(
        chunk(
            {"tool_calls": [{"id": "a", "function": {"arguments": "1"}}, {"id": "b", "function": {"arguments": "2"}}]}
        ),
        chunk({"tool_calls": [{"id": "a", "function": {"arguments": "3"}}]}),
        chunk({"tool_calls": [{"function": {"arguments": "4"}}]}),
    )
    assert [call["function"]["arguments"] for call in assembly.tool_calls] == ["13", "24"]
    alone = assembled(chunk({"tool_calls": [{"function": {"arguments": "1"}}, "odd"]}))
    assert [call["function"]["arguments"] for call in alone.tool_calls] == ["1"]


def test_audio_pieces_are_joined() -> None:
    assembly = assembled(
        chunk({"audio": {"id": "au", "transcript": "a"}}),
        chunk({"audio": {"data": "QUJD", "transcript": "b"}}),
        chunk({"audio": {"data": "REVG", "expires_at": 9}}),
    )
    assert assembly.audio == {"id": "au", "transcript": "ab", "data": "QUJDREVG", "expires_at": 9}
    assert assembly.answer()["choices"][0]["message"]["audio"] == assembly.audio


def test_the_older_endpoints_text_and_openrouters_reasoning_are_text_and_reasoning() -> None:
    assembly = assembled({"choices": [{"text": "a"}]}, {"choices": [{"text": "b"}]}, chunk({"reasoning": "r"}))
    assert (assembly.text, assembly.reasoning) == ("ab", "r")


def test_an_error_in_band_is_kept() -> None:
    assembly = assembled(chunk({"content": "x"}), {"error": {"message": "broke"}}, chunk({}))
    assert assembly.error == {"message": "broke"}


def test_an_empty_stream_is_an_empty_answer() -> None:
    assembly = assembled()
    assert (assembly.text, assembly.tool_calls, assembly.audio, assembly.finish_reason) == ("", [], {}, None)
    assert not assembly.is_finished
    assert assembly.answer() == {"object": "chat.completion", "choices": []}


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


def test_a_whole_answer_taken_apart_and_put_together_is_the_same() -> None:
    chunks = as_chunks(ANSWER)
    assert [one["object"] for one in chunks] == ["chat.completion.chunk"] * 2
    assert has_content(chunks[0])
    assert assembled(*chunks).answer() == ANSWER


def test_an_answer_without_usage_has_no_usage_chunk() -> None:
    assert len(as_chunks({"choices": [{"message": {"content": "x"}}], "usage": None})) == 1


def test_the_finish_reason_of_an_answer_is_found() -> None:
    assert finish_reason_of(ANSWER) == "stop"
    assert finish_reason_of({"choices": [{"finish_reason": None}, {"finish_reason": "length"}]}) == "length"
    assert finish_reason_of({}) is None


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


@given(
    st.lists(_ODD | st.builds(chunk, _ODD) | st.builds(lambda call: chunk({"tool_calls": [call]}), _ODD), max_size=5)
)
def test_no_shape_of_chunk_breaks_the_assembly(chunks: list[Any]) -> None:
    assembly = assembled(*chunks)
    for one in chunks:
        assert has_content(one) in {True, False}
    answer = assembly.answer()
    assert assembled(*as_chunks(answer)).text == assembly.text
