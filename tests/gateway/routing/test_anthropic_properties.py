"""Whatever an OpenAI client asks and whatever the Messages API answers: nothing of it is lost without a word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Chunk
from openai_gateway.routing.dialects import UpstreamRequest, dialect_of
from openai_gateway.routing.reading import Reading
from openai_gateway.wire import sse
from tests.gateway.routing import messages_api as api
from tests.gateway.routing.oracles import (
    MEMBERS,
    accept_chunk,
    accept_completion,
    accept_event,
    accept_message,
    accept_request,
)
from tests.gateway.routing.samples import REDACTOR, call, target

Json = Any

ANTHROPIC = dialect_of("anthropic")
THERE = target("anthropic", "claude", kind="anthropic")

# --- requests ---------------------------------------------------------------------------------------------------------

WORDS = st.text(min_size=1, max_size=12)
OBJECTS = st.dictionaries(WORDS, st.none() | st.integers() | WORDS | st.lists(st.booleans(), max_size=2), max_size=3)
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
IDS = st.text(min_size=1, max_size=8)
MARK = {"type": "ephemeral"}


def extended(base: st.SearchStrategy[dict[str, Json]], **more: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """The objects of `base`, with any of the further members."""
    return st.tuples(base, st.fixed_dictionaries({}, optional=more)).map(lambda both: {**both[0], **both[1]})


TEXTS = extended(
    st.fixed_dictionaries({"type": st.just("text"), "text": WORDS}),
    cache_control=st.just(MARK),
    prompt_cache_breakpoint=st.just({"mode": "explicit"}),
)
IMAGES = st.fixed_dictionaries(
    {
        "type": st.just("image_url"),
        "image_url": st.fixed_dictionaries(
            {
                "url": st.sampled_from(
                    ["https://a.example/x.png", "data:image/png;base64,eA==", "data:image/jpg;base64,eA=="]
                )
            },
            optional={"detail": st.sampled_from(["auto", "low", "high"])},
        ),
    }
)
FILES = st.fixed_dictionaries(
    {
        "type": st.just("file"),
        "file": st.sampled_from(
            [
                {"file_data": "data:application/pdf;base64,eA==", "filename": "x.pdf"},
                {"file_data": "eA=="},
                {"file_data": "data:text/plain;base64,eA=="},
                {"file_id": "file_1"},
            ]
        ),
    }
)
CONTENTS = WORDS | st.lists(TEXTS | IMAGES | FILES, min_size=1, max_size=3)
CALLS = st.fixed_dictionaries(
    {
        "id": IDS,
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": NAMES, "arguments": OBJECTS.map(json.dumps) | st.just("") | st.just(" ")}
        ),
    }
)
SYSTEM = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer"]), "content": WORDS | st.lists(TEXTS, min_size=1, max_size=2)}
)
USERS = extended(st.fixed_dictionaries({"role": st.just("user"), "content": CONTENTS}), name=NAMES)
ASSISTANTS = extended(
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none() | WORDS | st.lists(TEXTS, max_size=2)}),
    tool_calls=st.lists(CALLS, max_size=2),
    refusal=st.none() | WORDS,
    reasoning_content=st.none() | WORDS,
    thinking_blocks=st.lists(
        st.fixed_dictionaries({"type": st.just("thinking"), "thinking": WORDS, "signature": st.just("s")}), max_size=2
    ),
)
TOOLS = st.fixed_dictionaries(
    {"role": st.just("tool"), "tool_call_id": IDS, "content": WORDS | st.lists(TEXTS, min_size=1, max_size=2)}
)
MESSAGES = st.lists(SYSTEM | USERS | ASSISTANTS | TOOLS, min_size=1, max_size=6)
FUNCTIONS = st.fixed_dictionaries(
    {
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": NAMES},
            optional={
                "description": WORDS,
                "parameters": st.just({"type": "object", "properties": {"x": {"type": "string"}}}),
                "strict": st.booleans(),
            },
        ),
    }
)
FORMATS = st.just({"type": "text"}) | st.fixed_dictionaries(
    {
        "type": st.just("json_schema"),
        "json_schema": st.fixed_dictionaries(
            {"name": NAMES, "schema": st.just({"type": "object", "properties": {}, "additionalProperties": False})},
            optional={"description": WORDS, "strict": st.booleans()},
        ),
    }
)
OPTIONAL: dict[str, st.SearchStrategy[Json]] = {
    "max_tokens": st.integers(1, 9),
    "max_completion_tokens": st.integers(1, 9),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1),
    "stop": st.none() | st.just("END") | st.lists(st.sampled_from(["a", "b "]), max_size=2),
    "tools": st.lists(FUNCTIONS, max_size=2),
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]),
    "parallel_tool_calls": st.booleans(),
    "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
    "response_format": FORMATS,
    "user": WORDS,
    "safety_identifier": WORDS,
    "metadata": st.dictionaries(NAMES, WORDS, max_size=2),
    "service_tier": st.sampled_from(["auto", "default", "flex", "priority", None]),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    "seed": st.integers(),
    "n": st.integers(1, 2),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 2),
    "logit_bias": st.dictionaries(st.just("5"), st.integers(-1, 1)),
    "presence_penalty": st.floats(-1, 1),
    "frequency_penalty": st.floats(-1, 1),
    "store": st.booleans(),
    "verbosity": st.sampled_from(["low", "medium", "high"]),
    "prediction": st.just({"type": "content", "content": "x"}),
    "prompt_cache_key": WORDS,
    "modalities": st.sampled_from([["text"], ["text", "audio"]]),
    "audio": st.just({"voice": "alloy", "format": "mp3"}),
    "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}]),
    "top_k": st.integers(1, 5),
    "cache_control": st.just(MARK),
    "anthropic_beta": st.lists(st.sampled_from(["a-1", "b-2"]), max_size=2),
}
REQUESTS = st.tuples(
    MESSAGES, st.lists(st.sampled_from(sorted(OPTIONAL)), max_size=6, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: OPTIONAL[name] for name in names})
    )
).map(lambda both: {"model": "x", "messages": both[0], **both[1]})  # fmt: skip

SAYS_WHAT_IS_SO: Mapping[str, tuple[Json, ...]] = {
    "stop": (None, []),
    "tools": ([],),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "metadata": ({},),
    "service_tier": (None,),
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "store": (False,),
    "verbosity": ("medium",),
    "modalities": (["text"],),
    "anthropic_beta": ([],),
}
"""What a member may say without asking for anything."""

OLD_MEMBERS = frozenset({"temperature", "top_p", "top_k"})
"""What version 2023-06-01 takes and the package's types, which are those of 2026-10-21, do not hold any more."""


def encode(body: Mapping[str, Json], *, stream: bool = False) -> UpstreamRequest:
    return ANTHROPIC.encode(call(body=body), THERE, stream=stream)


def outcome(body: Mapping[str, Json], *, stream: bool = False) -> UpstreamRequest | GatewayError:
    """The request, or the refusal."""
    try:
        return encode(body, stream=stream)
    except GatewayError as error:
        return error


@given(REQUESTS, st.booleans())
def test_a_request_is_one_that_the_official_types_take_or_is_refused_by_name(
    body: dict[str, Json], stream: bool
) -> None:
    found = outcome(body, stream=stream)
    if isinstance(found, GatewayError):
        assert (found.kind, found.param in body) == (Kind.INVALID_REQUEST, True)
        return
    sent = json.loads(found.body)
    accept_request(sent)
    assert sent.keys() <= MEMBERS | OLD_MEMBERS
    roles = [turn["role"] for turn in sent["messages"]]
    assert all(one != other for one, other in pairwise(roles))


@given(REQUESTS)
def test_each_member_makes_a_difference_or_is_named_or_asks_for_nothing(body: dict[str, Json]) -> None:
    whole = outcome(body)
    if isinstance(whole, GatewayError):
        assert whole.param in body
        return
    for name, value in body.items():
        if name in {"model", "messages", "stream_options"} or value in SAYS_WHAT_IS_SO.get(name, ()):
            continue
        without = encode({other: body[other] for other in body if other != name})
        changed = (whole.body, whole.headers) != (without.body, without.headers)
        assert changed or name in " ".join(whole.warnings) or _is_said_otherwise(name, body)


def _is_said_otherwise(name: str, body: Mapping[str, Json]) -> bool:
    """Whether another member asks for the very same, or for more than this one."""
    match name:
        case "max_tokens" | "max_completion_tokens":
            return body.get("max_tokens") == body.get("max_completion_tokens")
        case "user" | "safety_identifier":
            return body.get("user") == body.get("safety_identifier")
        case "tool_choice":
            return body[name] == "auto" and body.get("parallel_tool_calls") is False
        case "parallel_tool_calls":
            return body.get("tool_choice") == "none"
        case "reasoning_effort":
            return body[name] == "none" and "thinking" in body
        case _:
            return False


@given(MESSAGES)
def test_every_word_of_a_conversation_arrives(messages: list[Json]) -> None:
    sent = json.loads(encode({"messages": messages}).body)
    arrived = set(texts_in(sent))
    for message in messages:
        said = {name: message[name] for name in ("content", "refusal", "thinking_blocks") if name in message}
        for words in texts_in(said):
            if words.strip():
                assert words in arrived or words.rstrip() in arrived
        for called in message.get("tool_calls") or ():
            assert json.loads(called["function"]["arguments"].strip() or "{}") in inputs_in(sent)


def texts_in(value: Json) -> Iterator[str]:
    """All that is said as text in a request of either kind."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in {
                "text",
                "content",
                "system",
                "messages",
                "thinking",
                "refusal",
                "thinking_blocks",
                "data",
                "url",
            }:
                yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)


def inputs_in(sent: Mapping[str, Json]) -> list[Json]:
    return [block["input"] for turn in sent["messages"] for block in turn["content"] if block["type"] == "tool_use"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.sampled_from(
        ["type", "role", "content", "text", "image_url", "url", "file", "function", "tool_calls", "id", "input"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
MEMBER_NAMES = st.sampled_from(sorted({*OPTIONAL, "messages", "system", "output_config", "stop_sequences", "betas"}))
KINDS = st.sampled_from(["text", "image_url", "file", "refusal", "input_audio", "image", "function", "custom"])
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "function", 5])
ODD_PARTS = st.fixed_dictionaries(
    {"type": KINDS}, optional={"text": ANY, "image_url": ANY, "file": ANY, "refusal": ANY, "cache_control": ANY}
)
ODD_MESSAGES = st.lists(
    ANY | st.fixed_dictionaries(
        {"role": ROLES},
        optional={"content": ANY | st.lists(ODD_PARTS, max_size=2), "tool_calls": ANY, "tool_call_id": ANY, "x": ANY},
    ),
    max_size=3,
)  # fmt: skip


@given(st.dictionaries(MEMBER_NAMES, ANY, max_size=4), ANY | ODD_MESSAGES)
def test_what_is_no_request_is_refused_or_passed_on_and_breaks_nothing(body: dict[str, Json], messages: Json) -> None:
    found = outcome({**body, "messages": messages})
    if isinstance(found, GatewayError):
        assert (found.kind, bool(found.param)) == (Kind.INVALID_REQUEST, True)
    else:
        assert json.loads(found.body)["model"] == "claude"


# --- answers ----------------------------------------------------------------------------------------------------------

CITATIONS = st.builds(
    lambda cited: {
        "type": "char_location", "cited_text": cited, "document_index": 0, "document_title": None,
        "start_char_index": 0, "end_char_index": 1, "file_id": None,
    },
    WORDS,
)  # fmt: skip
SEARCHES = st.fixed_dictionaries(
    {"type": st.just("server_tool_use"), "id": st.just("srvtoolu_1"), "name": st.just("web_search"), "input": OBJECTS}
)
RESULTS = st.just({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
BLOCKS = (
    st.builds(api.text, st.text(max_size=12))
    | st.builds(lambda said, cited: api.text(said, citations=cited), WORDS, st.lists(CITATIONS, max_size=2))
    | st.builds(api.thinking, st.text(max_size=12), WORDS)
    | st.builds(lambda data: {"type": "redacted_thinking", "data": data}, WORDS)
    | st.builds(api.tool_use, NAMES, OBJECTS)
    | SEARCHES
    | RESULTS
)
COUNTS = st.integers(0, 2**31)
USAGES = extended(
    st.fixed_dictionaries({"input_tokens": COUNTS, "output_tokens": COUNTS}),
    cache_creation_input_tokens=st.none() | COUNTS,
    cache_read_input_tokens=st.none() | COUNTS,
    output_tokens_details=st.fixed_dictionaries({"thinking_tokens": COUNTS}),
    service_tier=st.sampled_from(["standard", "priority"]),
)
STOPS = st.sampled_from(
    [
        {"stop_reason": "end_turn"},
        {"stop_reason": "max_tokens"},
        {"stop_reason": "tool_use"},
        {"stop_reason": "pause_turn"},
        {"stop_reason": "model_context_window_exceeded"},
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio", "explanation": "No."}},
        {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": None, "explanation": None}},
    ]
)
WHOLE = st.builds(
    lambda blocks, usage, stop: api.message(*blocks, usage=usage, **stop),
    st.lists(BLOCKS, max_size=5),
    USAGES,
    STOPS,
)


@attrs.frozen
class Cuts:
    """Cuts a text into pieces of these lengths, again and again."""

    lengths: Sequence[int]

    def __call__(self, said: str) -> list[str]:
        pieces: list[str] = []
        at = 0
        while at < len(said):
            length = self.lengths[len(pieces) % len(self.lengths)]
            pieces.append(said[at : at + length])
            at += length
        return pieces


CUTS = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(Cuts)


@given(WHOLE, CUTS)
def test_a_stream_put_together_says_what_the_whole_answer_says(whole: dict[str, Json], cut: Cuts) -> None:
    accept_message(whole)
    completion = api.completed(whole)
    accept_completion(completion)
    events = list(api.events_of(whole, cut))
    for event in events:
        if event["type"] != "ping":
            accept_event(event)
    *chunks, done = api.decoded(events)
    assert done == "[DONE]"
    for chunk in chunks:
        accept_chunk(chunk)
    assert sum("usage" in chunk for chunk in chunks) == 1
    completion["choices"][0]["message"]["content"] = completion["choices"][0]["message"]["content"] or ""
    assert api.assembled(chunks) == completion


@given(WHOLE, CUTS)
def test_an_answer_sent_back_is_the_turn_that_it_was(whole: dict[str, Json], cut: Cuts) -> None:
    """A tool loop: to the letter where there is more to it than texts and calls, else but for the cuts of its texts."""
    came = whole["content"]
    for one in (api.completed(whole), api.assembled(api.decoded(list(api.events_of(whole, cut)))[:-1])):
        said = one["choices"][0]["message"]
        body = {"messages": [{"role": "user", "content": "x"}, said, {"role": "user", "content": "y"}]}
        sent = json.loads(encode(body).body)["messages"]
        turn = sent[1]["content"] if len(sent) == 3 else []
        if "anthropic_blocks" in said:
            assert turn == came
            continue
        assert [block for block in turn if block["type"] != "text"] == [one for one in came if one["type"] != "text"]
        texts = [*(block["text"] for block in came if block["type"] == "text"), said.get("refusal") or ""]
        assert "".join(block["text"] for block in turn if block["type"] == "text").strip() == "".join(texts).strip()


@given(WHOLE, CUTS, st.lists(st.integers(1, 400), max_size=20), st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_chunks(
    whole: dict[str, Json], cut: Cuts, lengths: list[int], show_usage: bool
) -> None:
    wire = api.on_the_wire(list(api.events_of(whole, cut)))

    def read(pieces: Sequence[bytes]) -> tuple[list[Chunk], Json]:
        reading = Reading(target=THERE, redactor=REDACTOR, decode=ANTHROPIC.events(), show_usage=show_usage)
        passed = [chunk for piece in pieces for chunk in reading.feed(piece)]
        return passed, (reading.done, reading.usage, reading.finish_reason, reading.model, reading.malformed)

    pieces: list[bytes] = []
    at = 0
    for length in lengths:
        pieces.append(wire[at : at + length])
        at += length
    pieces = [piece for piece in (*pieces, wire[at:]) if piece]
    assert read(pieces) == read([wire])
    assert read([wire])[1][0]


@given(st.lists(ANY.map(lambda value: value if isinstance(value, dict) else {"type": value}), max_size=4), WHOLE)
def test_odd_events_break_nothing(odd: list[Json], whole: dict[str, Json]) -> None:
    """Each event of a sound stream with odd members in the place of its own, one after the other."""
    decode = ANTHROPIC.events()
    for at, event in enumerate(api.events_of(whole)):
        mixed = {**event, **(odd[at % len(odd)] if odd else {}), "type": event["type"]}
        for data in decode(sse.Event(data=json.dumps(mixed).encode())):
            assert data == b"[DONE]" or isinstance(json.loads(data), dict)
