"""Anthropic's answers as OpenAI's, whole and streamed, and its errors as their causes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_gateway.errors import Kind
from openai_gateway.routing.assemble import has_content
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.calls import Usage
from openai_gateway.routing.classify import classify_event, classify_response
from openai_gateway.routing.plan import Target
from openai_gateway.routing.reading import Reading
from openai_gateway.wire import sse
from tests.gateway.routing.messages_api import (
    ANTHROPIC,
    COUNTED,
    assembled,
    completed,
    decoded,
    events_of,
    message,
    on_the_wire,
    text,
    thinking,
    tool_use,
)
from tests.gateway.routing.oracles import accept_chunk, accept_completion, accept_event, accept_message
from tests.gateway.routing.samples import REDACTOR, target

Json = Any
CITATION = {
    "type": "char_location", "cited_text": "x", "document_index": 0, "document_title": "t", "start_char_index": 0,
    "end_char_index": 1, "file_id": None,
}  # fmt: skip
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
RESULTS = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
REDACTED = {"type": "redacted_thinking", "data": "ZGF0YQ=="}


def choice(*blocks: Json, **fields: Json) -> dict[str, Json]:
    """The one choice of these blocks, the same whole and streamed."""
    whole = message(*blocks, **fields)
    accept_message(whole)
    completion = completed(whole)
    accept_completion(completion)
    events = list(events_of(whole))
    for event in events:
        if event["type"] != "ping":
            accept_event(event)
    *chunks, done = decoded(events)
    assert done == "[DONE]"
    for chunk in chunks:
        accept_chunk(chunk)
    streamed = assembled(chunks)
    if completion["choices"][0]["message"]["content"] is None:
        completion["choices"][0]["message"]["content"] = ""  # as a stream says it
    assert streamed == completion
    (only,) = completion["choices"]
    assert isinstance(only, dict)
    return only


# --- whole and streamed -----------------------------------------------------------------------------------------------


def test_a_text_is_the_content_and_all_else_has_its_place() -> None:
    whole = message(text("Hello "), text("there"), container={"id": "c", "expires_at": "2026-11-26T05:00:00Z"})
    assert completed(whole) == {
        "id": "msg_1",
        "created": 0,
        "model": "claude-x",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there"},
                "finish_reason": "stop",
                "stop_reason": "end_turn",
            }
        ],
        "usage": COUNTED,
        "container": {"id": "c", "expires_at": "2026-11-26T05:00:00Z"},
    }


def test_tool_calls_thinking_and_what_openai_has_nothing_like() -> None:
    caller = {"type": "direct"}
    blocks = [
        thinking("Hm, "),
        REDACTED,
        text("Let me see. "),
        thinking("so."),
        SEARCH,
        RESULTS,
        text("It says", citations=[CITATION]),
        tool_use(given={"city": "Paris"}, caller=caller),
        tool_use("now"),
    ]
    found = choice(*blocks, stop_reason="tool_use")
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert found["message"] == {
        "role": "assistant",
        "content": "Let me see. It says",
        "reasoning_content": "Hm, so.",
        "tool_calls": [
            {"id": "toolu_weather", "type": "function", "function": function, "caller": caller},
            {"id": "toolu_now", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ],
        "thinking_blocks": [thinking("Hm, "), REDACTED, thinking("so.")],
        "anthropic_blocks": blocks,
    }
    assert (found["finish_reason"], found["stop_reason"]) == ("tool_calls", "tool_use")


@pytest.mark.parametrize(
    "blocks",
    [
        [text("a"), text("b", citations=[CITATION])],
        [text("a"), tool_use(), RESULTS],
    ],
)
def test_the_blocks_stand_beside_as_they_came_where_one_says_more(blocks: list[Json]) -> None:
    assert choice(*blocks)["message"]["anthropic_blocks"] == blocks
    assert "anthropic_blocks" not in choice(text("a"), tool_use(), text("b", citations=None))["message"]


def test_an_answer_of_tools_alone_has_no_content() -> None:
    assert completed(message(tool_use()))["choices"][0]["message"]["content"] is None
    assert choice(tool_use(), stop_reason="tool_use")["finish_reason"] == "tool_calls"
    assert choice(stop_reason="end_turn")["message"] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "length"),
        ("model_context_window_exceeded", "length"),
    ],
)
def test_each_reason_to_stop_has_openais_word_and_stays_beside_it(stop_reason: str, finish_reason: str) -> None:
    found = choice(text("x"), stop_reason=stop_reason)
    assert (found["finish_reason"], found["stop_reason"]) == (finish_reason, stop_reason)


def test_a_turn_that_was_compacted_goes_on() -> None:
    """A beta, so that the oracle does not know it."""
    assert completed(message(text("x"), stop_reason="compaction"))["choices"][0]["finish_reason"] == "length"


def test_a_reason_that_nobody_knows_yet_is_an_end() -> None:
    assert completed(message(text("x"), stop_reason="brand_new"))["choices"][0]["finish_reason"] == "stop"
    assert completed(message(text("x"), stop_reason=None))["choices"][0]["finish_reason"] is None


def test_the_sequence_that_stopped_it_and_a_refusals_explanation_are_told() -> None:
    assert choice(text("x"), stop_reason="stop_sequence", stop_sequence="END")["stop_sequence"] == "END"
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    refused = choice(stop_reason="refusal", stop_details=details)
    assert refused["message"] == {"role": "assistant", "content": "", "refusal": "Not this."}
    assert refused["stop_details"] == details
    silent = {"type": "refusal", "category": None, "explanation": None}
    assert "refusal" not in choice(stop_reason="refusal", stop_details=silent)["message"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}',
        b'{"type":"message","content":null}',
        b'{"object":"list"}',
        b"[1]",
        b'"x"',
    ],
)
def test_what_is_no_message_stays_as_it_is(body: bytes) -> None:
    assert ANTHROPIC.answer(body) == body


def test_a_block_that_nobody_knows_yet_is_kept() -> None:
    new = {"type": "brand_new", "x": {"y": 1}}
    assert completed(message(new))["choices"][0]["message"]["anthropic_blocks"] == [new]
    (*_, said, _last, _usage, _done) = decoded(list(events_of(message(new))))
    assert said["choices"][0]["delta"] == {"anthropic_blocks": [{**new, "index": 0}]}


def test_odd_members_do_no_harm() -> None:
    odd = {"type": "message", "content": ["x", {"type": "text", "text": 5}, {"type": "tool_use", "input": None}, {}]}
    completion = completed(odd)
    assert completion["choices"][0]["message"]["content"] == ""
    assert completion["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "", "arguments": "{}"}
    assert "usage" not in completion
    counted = completed({**odd, "usage": {"input_tokens": True, "output_tokens": -1, "output_tokens_details": 5}})
    assert counted["usage"]["total_tokens"] == 0


def test_a_listed_model_has_openais_time() -> None:
    entry = {"type": "model", "id": "claude-x", "display_name": "X", "created_at": "2026-06-01T00:00:00Z"}
    assert ANTHROPIC.listed(entry) == {**entry, "created": 1_780_272_000, "owned_by": "anthropic"}
    assert ANTHROPIC.listed({"id": "m"})["created"] == 0
    assert ANTHROPIC.listed({"id": "m", "created_at": "0001-01-01T00:00:00Z"})["created"] == 0
    assert ANTHROPIC.listed({"id": "m", "created": 5, "owned_by": "llama"})["created"] == 5


# --- streams ----------------------------------------------------------------------------------------------------------


def in_halves(said: str) -> list[str]:
    return [said[: len(said) // 2], said[len(said) // 2 :]]


WHOLE = message(thinking("Hm."), text("Hello"), tool_use(given={"city": "Paris"}), stop_reason="tool_use")


def test_a_stream_is_told_as_it_comes_with_the_usage_once_and_last() -> None:
    chunks = decoded(list(events_of(WHOLE, in_halves)))
    deltas = [one["choices"][0]["delta"] for one in chunks[:-2]]
    assert [{name: delta[name] for name in delta if name != "tool_calls"} for delta in deltas] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "H"},
        {"reasoning_content": "m."},
        {"thinking_blocks": [{**thinking("Hm."), "index": 0}]},
        {"anthropic_blocks": [{**thinking("Hm."), "index": 0}]},
        {"content": "He"},
        {"content": "llo"},
        {"anthropic_blocks": [{**text("Hello"), "index": 1}]},
        {},
        {},
        {},
        {"anthropic_blocks": [{**tool_use(given={"city": "Paris"}), "index": 2}]},
        {},
    ]
    assert [delta["tool_calls"][0]["index"] for delta in deltas if "tool_calls" in delta] == [0, 0, 0]
    assert [has_content(one) for one in chunks[:2]] == [False, True]
    assert chunks[-3]["choices"][0]["finish_reason"] == "tool_calls"
    assert [one.get("usage") for one in chunks[:-2]] == [None] * len(deltas)
    assert (chunks[-2]["choices"], chunks[-2]["usage"]) == ([], COUNTED)
    assert chunks[-1] == "[DONE]"


def read(events: list[Json], *, at_end: bytes = b"") -> tuple[Reading, list[Json]]:
    reading = Reading(target=there(), redactor=REDACTOR, decode=ANTHROPIC.events(), show_usage=False)
    passed = reading.feed(on_the_wire(events) + at_end)
    if not reading.done and reading.failure is None:
        passed += reading.feed(b"")
    return reading, [part.json for part in passed]


def there() -> Target:
    return target("anthropic", "claude", kind="anthropic")


def test_the_reader_of_streams_learns_all_it_wants() -> None:
    reading, passed = read(list(events_of(WHOLE)))
    assert (reading.done, reading.failure, reading.malformed) == (True, None, 0)
    assert (reading.model, reading.finish_reason) == ("claude-x", "tool_calls")
    assert reading.usage == Usage(input=18, output=7, cached_input=5, reasoning=2)
    assert assembled(passed)["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("left", range(1, 14))
def test_a_stream_cut_before_its_stop_looks_cut(left: int) -> None:
    events = [event for event in events_of(message(text("Hello"), text("!"), thinking("x"))) if event["type"] != "ping"]
    assert len(events) == 13
    reading, passed = read(events[: left - 1])
    told = left > 12  # message_delta with the stop_reason: all of the answer is there
    assert (reading.done, reading.failure is None) == (told, told)
    assert [one["choices"][0]["finish_reason"] for one in passed if one["choices"]][-1:] in ([], [None], ["stop"])
    assert ("stop" in str(passed)) is told


def test_what_is_not_known_is_passed_over_and_what_cannot_be_read_is_counted() -> None:
    odd = [{"type": "brand_new", "x": 1}, {"type": "ping"}, {"type": "content_block_stop", "index": 9}]
    begin, *rest = events_of(message(text("Hello")))
    reading, passed = read([begin, *odd, *rest], at_end=b"")
    assert (reading.done, reading.malformed) == (True, 0)
    assert assembled(passed)["choices"][0]["message"]["content"] == "Hello"
    decode = ANTHROPIC.events()
    assert decode(sse.Event(data=b"nonsense")) == (b"nonsense",)
    assert decode(sse.Event(data=b"[1]")) == (b"[1]",)


def test_a_block_that_is_begun_by_no_event_and_one_that_ends_by_none_are_told_all_the_same() -> None:
    begun, _, called, *_ = [one for one in events_of(message(tool_use(), text("x"))) if one["type"] != "ping"]
    unopened = {"type": "content_block_delta", "index": 5, "delta": {"type": "text_delta", "text": "Hi"}}
    assert called["type"] == "content_block_delta"
    start = {"type": "content_block_start", "index": 0, "content_block": tool_use(given={"a": 1})}
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}
    *chunks, _done = decoded([begun, unopened, start, end, end | {"delta": {}}, {"type": "message_stop"}])
    said = assembled(chunks)["choices"][0]["message"]
    assert (said["content"], said["tool_calls"][0]["function"]["arguments"]) == ("Hi", '{"a":1}')


def test_the_first_piece_may_come_with_the_beginning_of_a_block() -> None:
    begun, *_, last, stop = events_of(message(text("Hello")))
    start = {"type": "content_block_start", "index": 0, "content_block": text("Hello", citations=[CITATION])}
    *chunks, _done = decoded([begun, start, last, stop])
    said = assembled(chunks)["choices"][0]["message"]
    assert (said["content"], said["anthropic_blocks"]) == ("Hello", [text("Hello", citations=[CITATION])])


def test_a_servers_tool_whose_input_is_no_json_keeps_its_words() -> None:
    begun, *_, last, stop = events_of(message())
    start = {"type": "content_block_start", "index": 0, "content_block": {**SEARCH, "input": {}}}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"q'}}
    *chunks, _done = decoded([begun, start, piece, {"type": "content_block_stop", "index": 0}, last, stop])
    assert assembled(chunks)["choices"][0]["message"]["anthropic_blocks"] == [{**SEARCH, "input": '{"q'}]


def test_citations_without_end_are_put_together_once() -> None:
    """What copies all that came for each that comes is at it for hours."""
    begun, *_, last, stop = events_of(message())
    start = {"type": "content_block_start", "index": 0, "content_block": text("", citations=[0] * 1_000_000)}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": 0}}
    *chunks, _done = decoded([begun, start, *[piece] * 50_000, {"type": "content_block_stop", "index": 0}, last, stop])
    (block,) = assembled(chunks)["choices"][0]["message"]["anthropic_blocks"]
    assert len(block["citations"]) == 1_050_000


def test_citations_that_are_no_list_make_way() -> None:
    begun, *_, last, stop = events_of(message())
    start = {"type": "content_block_start", "index": 0, "content_block": {**text("x"), "citations": 5}}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": CITATION}}
    *chunks, _done = decoded([begun, start, piece, {"type": "content_block_stop", "index": 0}, last, stop])
    (block,) = assembled(chunks)["choices"][0]["message"]["anthropic_blocks"]
    assert block["citations"] == [CITATION]


def test_a_count_of_four_thousand_digits_is_no_count() -> None:
    """Python reads such a number, and writes none that has one digit more, as the sum of two may have."""
    many = 10**4300 - 1
    usage = {"input_tokens": many, "cache_read_input_tokens": 1, "output_tokens": 2}
    said = completed(message(text("x"), usage=usage))["usage"]
    assert (said["prompt_tokens"], said["total_tokens"]) == (1, 3)


def test_a_message_without_usage_has_no_chunk_of_it() -> None:
    events = list(events_of(message(text("x"))))
    events[0]["message"]["usage"] = None
    events[-2]["usage"] = None
    assert [one for one in decoded(events) if isinstance(one, dict) and "usage" in one] == []


# --- errors -----------------------------------------------------------------------------------------------------------


def error(kind: str, said: str, **more: Json) -> Json:
    return {"type": "error", "error": {"type": kind, "message": said, **more}, "request_id": "req_1"}


LIMITED = {"details": {"error_code": "contract_spend_limit_reached"}}


@pytest.mark.parametrize(
    ("status", "body", "cause", "param"),
    [
        (400, error("invalid_request_error", "max_tokens: 99 > 9, which is the maximum"), Cause.REFUSED, "max_tokens"),
        (
            400,
            error("invalid_request_error", "messages.0.content: Field required"),
            Cause.REFUSED,
            "messages.0.content",
        ),
        (400, error("invalid_request_error", "min_p: Extra inputs are not permitted"), Cause.REFUSED, "min_p"),
        (400, error("invalid_request_error", "`temperature` is deprecated for this model."), Cause.REPAIRABLE, None),
        (
            400,
            error("invalid_request_error", "`temperature` and `top_p` cannot both be specified for this model."),
            Cause.REPAIRABLE,
            None,
        ),
        (400, error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), Cause.CONTEXT_LENGTH, None),
        (
            400,
            error("invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 9 > 8"),
            Cause.CONTEXT_LENGTH,
            None,
        ),
        (
            400,
            error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            Cause.QUOTA,
            None,
        ),
        (
            400,
            error("invalid_request_error", "You have reached your specified API usage limits."),
            Cause.QUOTA,
            None,
        ),
        (401, error("authentication_error", "invalid x-api-key"), Cause.CREDENTIALS, None),
        (402, error("billing_error", "Check your payment details."), Cause.CREDENTIALS, None),
        (403, error("permission_error", "Your API key does not have permission."), Cause.CREDENTIALS, None),
        (404, error("not_found_error", "model: claude-x"), Cause.MODEL_NOT_FOUND, "model"),
        (404, error("not_found_error", "Not Found"), Cause.REFUSED, None),
        (
            400,
            error("invalid_request_error", "anthropic_messages: Invalid model name passed in model=x."),
            Cause.MODEL_NOT_FOUND,
            None,
        ),
        (413, error("request_too_large", "Request exceeds the maximum size"), Cause.REFUSED, None),
        (429, error("rate_limit_error", "This request would exceed your rate limit"), Cause.RATE_LIMITED, None),
        (429, error("rate_limit_error", "The organization has reached it.", **LIMITED), Cause.QUOTA, None),
        (500, error("api_error", "Internal server error"), Cause.SERVER_ERROR, None),
        (504, error("timeout_error", "Timed out"), Cause.SERVER_ERROR, None),
        (529, error("overloaded_error", "Overloaded"), Cause.SERVER_ERROR, None),
    ],
    ids=str,
)
def test_its_errors_have_their_cause(status: int, body: Json, cause: Cause, param: str | None) -> None:
    headers = {"retry-after": "7"} if status == 429 else {}
    raw = json.dumps(body).encode()
    failure = classify_response(status, headers, raw, target=there(), redactor=REDACTOR, wall=0)
    assert failure.cause is cause
    assert body["error"]["message"] in failure.error.message
    assert failure.retry_after == (7 if status == 429 else None)
    if cause is not Cause.CREDENTIALS:
        assert (failure.error.status, failure.error.param) == (status, param)


def test_a_repair_names_what_openai_calls_it() -> None:
    both = error("invalid_request_error", "`temperature` and `top_p` cannot both be specified for this model.")
    failure = classify_response(400, {}, json.dumps(both).encode(), target=there(), redactor=REDACTOR, wall=0)
    assert failure.repair == "temperature"


@pytest.mark.parametrize(
    ("kind", "status", "cause", "of"),
    [
        ("overloaded_error", 529, Cause.SERVER_ERROR, Kind.UPSTREAM),
        ("rate_limit_error", 429, Cause.RATE_LIMITED, Kind.RATE_LIMITED),
        ("api_error", 500, Cause.SERVER_ERROR, Kind.UPSTREAM),
        ("timeout_error", 500, Cause.SERVER_ERROR, Kind.UPSTREAM),
        ("invalid_request_error", 400, Cause.REFUSED, Kind.INVALID_REQUEST),
        ("request_too_large", 413, Cause.REFUSED, Kind.TOO_LARGE),
        ("not_found_error", 404, Cause.REFUSED, Kind.INVALID_REQUEST),
        ("authentication_error", 502, Cause.CREDENTIALS, Kind.CREDENTIALS_REJECTED),
        ("billing_error", 502, Cause.CREDENTIALS, Kind.CREDENTIALS_REJECTED),
    ],
)
def test_an_error_within_a_stream_is_one_for_its_reader(kind: str, status: int, cause: Cause, of: Kind) -> None:
    begun, start, _, delta, *_ = events_of(message(text("Hello")))
    reading, passed = read([begun, start, delta, error(kind, "Oh."), {"type": "message_stop"}])
    assert reading.failure is not None
    assert (reading.failure.cause, reading.failure.after_content, reading.done) == (cause, True, False)
    assert (reading.failure.error.status, reading.failure.error.kind) == (status, of)
    assert len(passed) == 2
    assert classify_event(error(kind, "Oh."), target=there(), redactor=REDACTOR).cause is cause


def test_an_error_without_words_is_still_one() -> None:
    reading, _ = read([{"type": "error"}])
    assert reading.failure is not None
    assert reading.failure.cause is Cause.SERVER_ERROR
