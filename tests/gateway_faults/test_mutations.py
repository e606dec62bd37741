"""Answers that were right once, with something in them changed: whatever it is, a call ends once, in one of two ways.

Bytes of the wire, and values of the JSON, of every dialect that speaks over HTTP. What is asserted is only that the
engine keeps its footing: an answer or a GatewayError, no other exception, one record, nothing left open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
import trio
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway import Account, Call, Settings, Usage, open_gateway
from openai_gateway.routing import reading
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable
from openai_gateway.routing.settings import Retries
from openai_gateway.secret import Secret
from tests.gateway_faults.answers import HEALTHY, SSE, body, completion, framed, head
from tests.gateway_faults.seen import Way, tell
from tests.gateway_faults.transports import of_ours
from tests.gateway_faults.upstream import FOREVER, Act, Answer, End, Host, in_memory

Json = Any

# --- the answers, as JSON --------------------------------------------------------------------------------------------

_HEAD: Final = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
_TOOL: Final = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def _delta(delta: Mapping[str, Json], finish: str | None = None) -> Json:
    return {**_HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


_USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
OPENAI_EVENTS: Final[tuple[Json, ...]] = (
    _delta({"role": "assistant", "content": ""}),
    _delta({"content": "Hello", "reasoning_content": "hm"}),
    _delta({"tool_calls": [_TOOL]}),
    _delta({}, "stop"),
    {
        **_HEAD,
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
    },
)
OPENAI_WHOLE: Final = json.loads(completion("Hello"))

_MESSAGE: Final[dict[str, Json]] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
    "stop_reason": None, "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 2},
}  # fmt: skip
ANTHROPIC_EVENTS: Final[tuple[Json, ...]] = (
    {"type": "message_start", "message": _MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 9},
    },
    {"type": "message_stop"},
)
ANTHROPIC_WHOLE: Final[Json] = {
    **_MESSAGE,
    "content": [
        {"type": "text", "text": "Hello", "citations": None},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
    ],
    "stop_reason": "end_turn",
}
ERROR: Final[Json] = {
    "type": "error", "request_id": "r",
    "error": {
        "type": "invalid_request_error", "message": "max_tokens: too large", "param": "x", "code": "c",
        "details": {"error_code": "x"},
    },
}  # fmt: skip

DIALECTS: Final[Mapping[str, tuple[tuple[Json, ...], Json]]] = {
    "openai": (OPENAI_EVENTS, OPENAI_WHOLE),
    "azure": (OPENAI_EVENTS, OPENAI_WHOLE),
    "anthropic": (ANTHROPIC_EVENTS, ANTHROPIC_WHOLE),
}


# --- what is changed -------------------------------------------------------------------------------------------------

_ODD: Final[st.SearchStrategy[Json]] = st.sampled_from([
    None, True, False, 0, -1, 1.5, 2**70, "", "x", "error", "\ud800", [], {}, [None], [[]], [{}], {"": None},
    {"type": "x"}, {"error": {"message": "no"}}, {"index": -1}, {"index": 10**9}, [1, "x"], "tool_use", "stop",
    {"message": []},
])  # fmt: skip
_DELETED: Final = object()


@st.composite
def mutated(draw: st.DrawFn, value: Json) -> Json:
    """The value with up to three places in it replaced, deleted, or put where another one was."""
    for _ in range(draw(st.integers(0, 3))):
        places = _places(value)
        at = places[draw(st.integers(0, len(places) - 1))]
        elsewhere = [_at(value, place) for place in places]
        value = _replaced(value, at, draw(_ODD | st.just(_DELETED) | st.sampled_from(elsewhere)))
    return value


def _places(value: Json, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(place for name, member in members for place in _places(member, (*before, name)))]


def _at(value: Json, place: Sequence[Any]) -> Json:
    for name in place:
        value = value[name]
    return value


def _replaced(value: Json, place: Sequence[Any], new: Json) -> Json:
    if not place:
        return None if new is _DELETED else new
    name, *rest = place
    if isinstance(value, list):
        inner = [(index, _replaced(item, rest, new) if index == name else item) for index, item in enumerate(value)]
        return [item for index, item in inner if not (index == name and not rest and new is _DELETED)]
    return {
        key: _replaced(item, rest, new) if key == name else item
        for key, item in value.items()
        if not (key == name and not rest and new is _DELETED)
    }


def _sse(events: Sequence[Json], *, done: bool) -> bytes:
    return b"".join(map(_event, events)) + (b"data: [DONE]\n\n" if done else b"")


def _event(value: Json) -> bytes:
    """With its type as its name, as Anthropic writes it."""
    name = value.get("type") if isinstance(value, dict) else None
    named = f"event: {name}\n".encode() if isinstance(name, str) and name.isascii() else b""
    return named + b"data: " + json.dumps(value).encode() + b"\n\n"


@st.composite
def answers(draw: st.DrawFn, kind: str) -> Answer:
    """An answer of this dialect whose JSON was changed somewhere."""
    events, whole = DIALECTS[kind]
    changed = [draw(mutated(one)) if draw(st.integers(0, 3)) == 0 else one for one in events]
    order = draw(st.just(changed) | st.permutations(changed))
    data = _sse(order, done=kind != "anthropic" and draw(st.booleans()))
    stream: list[Act] = [head(200, {"content-type": SSE, "transfer-encoding": "chunked"}), framed(data), b"0\r\n\r\n"]
    status = draw(st.sampled_from([200, 200, 200, 400, 429, 500]))
    said = draw(mutated(whole if status == 200 else ERROR))
    return Answer(stream, body(json.dumps(said).encode(), status=status))


@st.composite
def wires(draw: st.DrawFn) -> Answer:
    """The healthy answer with some of its bytes changed."""

    def changed(acts: Sequence[Act]) -> list[Act]:
        wire = bytearray(b"".join(act for act in acts if isinstance(act, bytes)))
        for _ in range(draw(st.integers(1, 4))):
            at, size = draw(st.integers(0, len(wire))), draw(st.integers(0, 40))
            wire[at : at + size] = draw(
                st.binary(max_size=6) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\n\n", bytes(wire[:60])])
            )
        ends: list[Act] = [End.CLOSE, End.RESET, FOREVER]
        return [bytes(wire), draw(st.sampled_from(ends))]

    return Answer(changed(HEALTHY.stream), changed(HEALTHY.whole))


# --- the law ---------------------------------------------------------------------------------------------------------


def configured(kind: str) -> Settings:
    key = Secret("a-key-of-twenty-five-letters", name="K")
    more: dict[str, Any] = {"api_version": "2024-10-21"} if kind == "azure" else {}
    provider = Provider(name="one", kind=kind, base_url="http://one.example/v1", api_key=key, **more)
    row = ModelRow(name="m", provider="one", model="m")
    return Settings(table=RouteTable(providers={"one": provider}, rows=(row,)), retries=Retries(max_retries=1))


async def run(kind: str, answer: Answer, way: Way) -> str:
    accounts: list[Account] = []
    async with in_memory({"one": Host(answers=[answer])}) as upstream:
        transport = of_ours(upstream)
        async with open_gateway(configured(kind), transport=transport, record=accounts.append) as gateway:
            call = Call.chat(
                model="m", messages=[{"role": "user", "content": "Hi"}], stream_options={"include_usage": True}
            )
            told = await tell(gateway, way, call)
        await transport.aclose()
        assert not upstream.open_wires
    assert len(accounts) == 1
    assert (told.served is None) is not (told.error is None)
    if told.error is not None:
        json.dumps(told.error.to_openai())  # a face has to write it
        return told.error.kind.name
    return "answered"


def check(kind: str, answer: Answer, way: Way) -> None:
    ended = trio.run(run, kind, answer, way, clock=MockClock(autojump_threshold=0))
    event(f"{kind} {way.name} {ended}")


@settings(max_examples=min(3 * settings().max_examples, 10_000))
@given(
    st.sampled_from(sorted(DIALECTS)).flatmap(lambda kind: st.tuples(st.just(kind), answers(kind))),
    st.sampled_from(Way),
)
def test_json_that_was_changed_somewhere_ends_a_call_properly(made: tuple[str, Answer], way: Way) -> None:
    check(*made, way)


@settings(max_examples=min(3 * settings().max_examples, 10_000))
@given(wires(), st.sampled_from(Way))
def test_bytes_that_were_changed_somewhere_end_a_call_properly(answer: Answer, way: Way) -> None:
    check("openai", answer, way)


@pytest.mark.parametrize("way", Way)
def test_a_block_whose_type_is_a_list_is_no_thinking(way: Way) -> None:
    block = {"type": ["thinking"], "text": "x"}
    events = ({"type": "content_block_start", "index": 0, "content_block": block}, *ANTHROPIC_EVENTS[4:])
    answer = Answer(
        [head(200, {"content-type": SSE}), _sse(events, done=False), End.CLOSE],
        body(json.dumps({**ANTHROPIC_WHOLE, "content": [block]}).encode()),
    )
    assert trio.run(run, "anthropic", answer, way, clock=MockClock(autojump_threshold=0)) == "answered"


def trusting(chunk: Json) -> Usage | None:
    """A reader of usage that takes every server at its word."""
    usage = chunk.get("usage")
    return usage and Usage(input=usage["prompt_tokens"], output=usage["completion_tokens"])


def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "usage_of", trusting)

    @settings(max_examples=500, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(answers("openai"))
    def search(answer: Answer) -> None:
        check("openai", answer, Way.STREAM)

    found = False
    try:
        search()
    except* (TypeError, KeyError, AttributeError):
        found = True
    assert found
