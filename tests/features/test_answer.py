"""The text an answer becomes, and what is gathered of a stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway import GatewayError, Kind, Served, Usage
from openai_gateway_mcp.features.answer import Answer, End, served_meta, show
from openai_gateway_mcp.features.failures import MODELS_COMMAND, explain
from openai_gateway_mcp.features.transcript import Transcript
from tests.features.scripted import delta


def shown(text: str = "", end: End = End.FINISHED, **others: Any) -> tuple[str, bool]:
    result = show(Answer(model="m1", end=end, text=text, **others), soft_deadline=55.0, max_characters=100)
    return result.text, result.is_error


def test_a_whole_answer_is_shown_as_it_is() -> None:
    assert shown("hello", finish_reason="stop") == ("hello", False)
    assert shown("x" * 100, finish_reason="stop") == ("x" * 100, False)


def test_a_partial_answer_over_the_size_says_what_cut_it_first() -> None:
    text, is_error = shown("x" * 200, End.SOFT_DEADLINE)
    assert text.startswith("x" * 100 + "\n\n[Partial answer")
    assert not is_error


def test_a_refusal_is_labelled_and_no_error() -> None:
    assert shown(refusal="I will not.") == ("[m1 refused to answer:]\n\nI will not.", False)


@pytest.mark.parametrize(
    ("finish", "words"),
    [
        ("length", 'finish_reason "length": raise max_tokens'),
        ("content_filter", "content filter withheld"),
        ("tool_calls", "asked to call a tool"),
        ("stop", 'empty (finish_reason "stop")'),
        (None, "empty (finish_reason none)"),
    ],
)
@pytest.mark.parametrize("nothing", ["", "\n\n"])
def test_an_empty_answer_is_an_error_that_says_why_and_what_to_do(nothing: str, finish: str | None, words: str) -> None:
    text, is_error = shown(nothing, finish_reason=finish)
    assert is_error
    assert words in text


def test_what_the_gateway_waited_for_is_said() -> None:
    text, is_error = shown(end=End.SOFT_DEADLINE, waited_for="2 attempts failed, the last so: Busy.")
    assert is_error
    assert "55 s: 2 attempts failed, the last so: Busy. Try again" in text


def test_a_silent_model_may_be_queued_or_thinking() -> None:
    assert "nothing had come from it yet" in shown(end=End.SOFT_DEADLINE)[0]


def test_meta_has_the_cost_the_warnings_and_the_request_id_where_they_are_known() -> None:
    served = Served(
        model="m1-2026",
        target="p/m1",
        attempts=2,
        warnings=("w",),
        usage=Usage(input=1, output=2),
        request_id="r1",
        finish_reason="stop",
        first_byte=0.5,
        elapsed=1.25,
        cost=0.002,
    )
    assert served_meta(Answer(model="m1", end=End.FINISHED, served=served)) == {
        "model": "m1-2026",
        "finish_reason": "stop",
        "usage": {"input": 1, "output": 2, "cached_input": 0, "reasoning": 0},
        "request_id": "r1",
        "latency_ms": 1250,
        "first_byte_ms": 500,
        "cost": 0.002,
        "target": "p/m1",
        "attempts": 2,
        "warnings": ["w"],
    }


def test_meta_marks_what_was_estimated_kept_or_continued() -> None:
    usage = Usage(input=1, output=2, estimated=True)
    served = Served(model="m", target="p/m", attempts=0, usage=usage, cached=True, continued=True)
    meta = served_meta(Answer(model="m", end=End.FINISHED, served=served))
    assert meta["usage"] == {"input": 1, "output": 2, "cached_input": 0, "reasoning": 0, "estimated": True}
    assert (meta["cached"], meta["continued"]) == (True, True)


def test_meta_of_an_answer_cut_short_says_what_cut_it() -> None:
    assert served_meta(Answer(model="m1", end=End.SIZE)) == {"model": "m1", "cut_by": "size"}


@given(st.lists(st.text()), st.lists(st.text()))
def test_a_transcript_is_the_pieces_in_order(texts: list[str], thoughts: list[str]) -> None:
    transcript = Transcript()
    added = [transcript.feed(delta(text)) for text in texts]
    for thought in thoughts:
        transcript.feed(delta(reasoning_content=thought))
    assert transcript.text == "".join(texts) == "".join(added)
    assert transcript.reasoning == "".join(thoughts)
    assert transcript.characters == len(transcript.text)
    assert transcript.received == len(transcript.text) + len(transcript.reasoning)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "index", "delta", "content", "finish_reason"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "x"]), _JSON))
def test_no_shape_of_event_upsets_a_transcript(event: dict[str, Any]) -> None:
    transcript = Transcript()
    added = transcript.feed(event)
    assert transcript.text == added


def test_only_the_first_choice_is_gathered() -> None:
    transcript = Transcript()
    transcript.feed({"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]})
    assert transcript.text == "yes"


def test_content_in_parts_is_text_and_thinking() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me "}, {"type": "text", "text": "see."}]}
    parts = [thinking, {"type": "text", "text": "4"}, {"type": "image_url", "image_url": "x"}, "odd", {"type": "text"}]
    transcript = Transcript()
    assert transcript.feed({"choices": [{"delta": {"content": parts}}]}) == "4"
    assert transcript.feed({"choices": [{"delta": {"content": "2"}}]}) == "2"
    transcript.feed({"choices": [{"delta": {"content": [{"type": "thinking", "thinking": " So."}]}}]})
    assert (transcript.text, transcript.reasoning) == ("42", "Let me see. So.")
    assert (transcript.characters, transcript.received) == (2, 17)


def test_a_finish_reason_without_measure_is_cut() -> None:
    transcript = Transcript()
    transcript.feed({"choices": [{"delta": {}, "finish_reason": "x" * 10_000}]})
    assert transcript.finish_reason == "x" * 64


@pytest.mark.parametrize("kind", Kind)
def test_every_failure_says_what_to_do_next(kind: Kind) -> None:
    text = explain(GatewayError(kind=kind, message="It broke"), asked="chat")
    assert text.startswith("chat failed: It broke. ")
    assert len(text) > len("chat failed: It broke. ") + 10


@pytest.mark.parametrize("kind", [Kind.UPSTREAM, Kind.PERMISSION, Kind.MODEL_NOT_FOUND])
def test_a_model_is_sent_to_the_tool_and_a_person_to_the_command(kind: Kind) -> None:
    error = GatewayError(kind=kind, message="It broke")
    assert "`list_models`" in explain(error, asked="chat")
    told = explain(error, asked="chat", models=MODELS_COMMAND)
    assert "`openai-gateway-mcp models`" in told
    assert "list_models" not in told


def test_a_hint_of_the_gateway_wins_and_the_wait_is_rounded_up() -> None:
    error = GatewayError(kind=Kind.RATE_LIMITED, message="Busy!", hint="Do this.", retry_after=1.2)
    assert explain(error, asked="m1") == "m1 failed: Busy! The provider asks to wait 2 s. Do this."
