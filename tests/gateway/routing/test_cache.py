"""Answers kept for an exact repeat: never for another call, never another's, and no more of them than allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from openai_gateway.routing.cache import AnswerCache, Entry, Recording, cache_key, whole_entry
from openai_gateway.routing.calls import Call, Chunk, Served
from openai_gateway.routing.dialects.openai_body import body_of
from openai_gateway.routing.settings import Cache
from openai_gateway.wire.strict import dumps, loads

COLD: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
SERVED = Served(model="m", target="a/m", attempts=1)


def key(
    body: dict[str, Any] | None = None,
    *,
    tenant: str = "t",
    stream: bool = False,
    opted: bool | None = None,
    **fields: Any,
) -> bytes | None:
    call = Call(**{"model": "m", "body": COLD if body is None else body, **fields})
    return cache_key(call, tenant=tenant, stream=stream, opted=opted)


# --- which calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 0.001}, False),
        ({"temperature": False}, False),
        ({"temperature": None}, False),
        ({"temperature": "0"}, False),
        ({"n": 1}, True),
        ({"n": None}, True),
        ({"n": 2}, False),
        ({"n": True}, False),
        ({"tools": []}, True),
        ({"tools": [{"type": "function"}]}, False),
        ({"functions": [{"name": "f"}]}, False),
        ({"web_search_options": {"user_location": None}}, False),
        ({"store": False}, True),
        ({"store": True}, False),
    ],
)
def test_a_call_is_kept_if_its_answer_is_the_same_each_time_and_does_nothing(more: dict[str, Any], kept: bool) -> None:
    assert (key({**COLD, **more}) is not None) is kept


@pytest.mark.parametrize("more", [{"temperature": 1}, {"n": 2}, {"tools": [{"type": "function"}]}])
def test_the_callers_own_word_goes_before(more: dict[str, Any]) -> None:
    assert key({**COLD, **more}, opted=True) is not None
    assert key(opted=False) is None


def test_what_the_provider_is_to_store_is_asked_each_time() -> None:
    assert key({**COLD, "store": True}, opted=True) is None
    assert key(endpoint="responses", opted=True) is None
    assert key(endpoint="images/generations", opted=True) is None


def test_embeddings_are_kept_for_those_who_ask_for_it() -> None:
    assert key({"input": "Hi"}, endpoint="embeddings") is None
    assert key({"input": "Hi"}, endpoint="embeddings", opted=True) is not None


def test_what_is_no_json_has_no_key() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value in (float("nan"), object(), circle, 10**5000):
        assert key({**COLD, "x": value}) is None
    mixed: dict[Any, Any] = {"role": "user", 5: 1}
    assert key({**COLD, "messages": [mixed]}) is None


# --- under which key ------------------------------------------------------------------------------------------------


def test_the_routers_own_members_make_no_difference() -> None:
    assert key({**COLD, "model": "x", "stream": True}) == key()
    assert key({**COLD, "stream_options": {"include_usage": True}}) == key()
    shown = key({**COLD, "stream_options": {"include_usage": True}}, stream=True)
    assert shown != key(stream=True)  # whose caller sees one event more


def test_the_order_of_members_makes_none_in_the_body_and_in_a_message() -> None:
    assert key({"temperature": 0, "messages": [{"content": "Hi", "role": "user"}]}) == key()


def test_the_order_in_a_schema_does() -> None:
    def schema(*names: str) -> dict[str, Any]:
        return {**COLD, "response_format": {"schema": {"properties": {name: {} for name in names}}}}

    assert key(schema("reasoning", "answer")) != key(schema("answer", "reasoning"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"top_p": 1}, {"top_p": 1.0}),
        ({"top_p": 1}, {"top_p": True}),
        ({"top_p": 0.0}, {"top_p": -0.0}),
        ({"seed": None}, {}),
        ({"user": "a"}, {"user": "b"}),
        ({"safety_identifier": "a"}, {}),
        ({"stop": "\u00e9"}, {"stop": "e\u0301"}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"x": 2**60}, {"x": 2**60 + 1}),
        ({"messages": "Hi"}, {"messages": ["Hi"]}),
    ],
)
def test_requests_that_differ_are_not_merged(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key({**COLD, **one}) != key({**COLD, **other})


def test_each_fact_beside_the_body_is_part_of_the_key() -> None:
    keys = [
        key(),
        key(tenant="u"),
        key(stream=True),
        key(model="n"),
        key(endpoint="completions"),
        key(repair=True),
    ]
    assert len(set(keys)) == len(keys)
    odd = [key(tenant=tenant) for tenant in ("\ud83d\ude00", "\N{GRINNING FACE}", "\ud83d", "\ud83e", "?")]
    assert len(set(odd)) == len(odd)  # the first two are one text in JSON, the last three one in a lax encoding


_TEXTS = st.text(alphabet='ab"\\,[]{}\x00\ud83d\ude00\N{GRINNING FACE}', max_size=4)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -0.0]) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)
_BODIES = st.dictionaries(st.sampled_from(["messages", "user", "stop", "stream", "model", "x"]), _VALUES, max_size=4)


@attrs.frozen
class Asked:
    """All that tells one call from another."""

    tenant: str
    endpoint: str
    model: str
    stream: bool
    body: dict[str, Any]

    def key(self) -> bytes:
        made = cache_key(self.call(), tenant=self.tenant, stream=self.stream, opted=True)
        assert made is not None
        return made

    def call(self) -> Call:
        return Call(endpoint=self.endpoint, model=self.model, body=self.body)

    def on_the_wire(self) -> tuple[object, ...]:
        """What goes upstream, the order of members aside; and for whom."""
        sent = loads(body_of(self.call(), self.model, stream=self.stream, changes=()))
        return self.tenant, self.endpoint, self.stream, dumps(_by_name(sent))


def _by_name(value: Any) -> Any:
    """A JSON value with all members in order: coarser than any key may be."""
    if isinstance(value, dict):
        return {name: _by_name(value[name]) for name in sorted(value)}
    return [_by_name(item) for item in value] if isinstance(value, list) else value


_ASKED = st.builds(Asked, _TEXTS, st.sampled_from(["completions", "embeddings"]), _TEXTS, st.booleans(), _BODIES)


@given(_ASKED, _ASKED, st.sampled_from(["tenant", "endpoint", "model", "stream", "body"]))
def test_two_calls_that_differ_never_share_a_key(one: Asked, another: Asked, field: str) -> None:
    other = attrs.evolve(one, **{field: getattr(another, field)})
    assume(one.on_the_wire() != other.on_the_wire())
    assert one.key() != other.key()


@given(_ASKED, _TEXTS)
@example(Asked("\ud83d\ude00", "embeddings", "m", False, {}), "\N{GRINNING FACE}")
@example(Asked("ab", "embeddings", "c", False, {}), "a")
def test_two_tenants_never_share_a_key(asked: Asked, tenant: str) -> None:
    assume(asked.tenant != tenant)
    assert asked.key() != attrs.evolve(asked, tenant=tenant).key()


@given(_ASKED, st.randoms(use_true_random=False))
def test_the_same_call_always_has_the_same_key(asked: Asked, random: Any) -> None:
    members = list(asked.body.items())
    random.shuffle(members)
    assert attrs.evolve(asked, body=dict(members)).key() == asked.key()


# --- which answers --------------------------------------------------------------------------------------------------


def answer(*reasons: str | None) -> dict[str, Any]:
    return {"choices": [{"index": at, "finish_reason": reason} for at, reason in enumerate(reasons)]}


@pytest.mark.parametrize(
    ("json", "kept"),
    [
        (answer("stop"), True),
        (answer("stop", "tool_calls"), True),
        (answer("length"), False),
        (answer("content_filter"), False),
        (answer("stop", "length"), False),
        (answer(None), False),
        (answer(), False),
        ({"data": [{"embedding": [0.5]}]}, True),
        ({"data": []}, False),
        ({"error": {"message": "no"}}, False),
    ],
)
def test_an_answer_is_kept_if_the_model_ended_it(json: dict[str, Any], kept: bool) -> None:
    entry = whole_entry(b"{}", json, SERVED)
    assert entry == (Entry(pieces=(b"{}",), served=SERVED) if kept else None)


def chunk(text: bytes, reason: str | None = None, index: int = 0) -> Chunk:
    return Chunk(data=text, json={"choices": [{"index": index, "finish_reason": reason}]})


USAGE = Chunk(data=b"usage", json={"choices": [], "usage": {}})


def recorded(*chunks: Chunk, most: int = 10_000) -> Recording:
    recording = Recording(most)
    for one in chunks:
        recording.add(one)
    return recording


def test_a_stream_is_kept_event_by_event_as_its_caller_saw_it() -> None:
    entry = recorded(chunk(b"a"), chunk(b"b", "stop"), chunk(b"c"), USAGE).entry(SERVED)
    assert entry == Entry(pieces=(b"a", b"b", b"c", b"usage"), served=SERVED)


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (USAGE,),
        (chunk(b"a"),),
        (chunk(b"a", "length"),),
        (chunk(b"a", "stop"), chunk(b"b", index=1)),
        (chunk(b"a", "stop"), chunk(b"b", "content_filter", index=1)),
    ],
)
def test_a_stream_that_the_model_did_not_end_is_not_kept(chunks: Sequence[Chunk]) -> None:
    assert recorded(*chunks).entry(SERVED) is None


def test_a_stream_that_began_again_is_kept_from_there() -> None:
    recording = recorded(chunk(b"a"), chunk(b"b", "length", index=1))
    recording.restart()
    recording.add(chunk(b"c", "stop"))
    assert recording.entry(SERVED) == Entry(pieces=(b"c",), served=SERVED)


def test_a_stream_too_long_is_let_go_at_once() -> None:
    recording = recorded(chunk(b"a" * 60), chunk(b"b" * 60), chunk(b"c", "stop"), most=150)
    assert recording.entry(SERVED) is None
    assert recording._pieces == []


# --- for how long, and how many -------------------------------------------------------------------------------------


def entry(size: int = 0) -> Entry:
    """An entry of that size in all."""
    made = Entry(pieces=(b"",), served=SERVED)
    return attrs.evolve(made, pieces=(b"x" * max(0, size - made.size),))


def cache(max_bytes: int = 80_000, ttl: float = 300.0) -> AnswerCache:
    return AnswerCache(Cache(enabled=True, ttl=ttl, max_bytes=max_bytes))


def test_an_entry_lives_for_its_time_and_a_hit_does_not_prolong_it() -> None:
    kept = cache(ttl=10)
    kept.put(b"k", entry(), 0.0)
    assert kept.get(b"k", 9.9) == entry()
    assert kept.get(b"k", 10.0) is None
    assert (len(kept), kept.size) == (0, 0)
    assert kept.get(b"other", 0.0) is None


def test_what_was_not_asked_for_longest_goes_first() -> None:
    kept = cache(max_bytes=80_000)
    for number in range(8):
        kept.put(b"%d" % number, entry(10_000), 0.0)
    kept.get(b"0", 1.0)
    kept.put(b"new", entry(10_000), 1.0)
    assert kept.get(b"1", 1.0) is None
    assert kept.get(b"0", 1.0) is not None
    assert kept.get(b"new", 1.0) is not None
    assert kept.size == 80_000


def test_an_entry_that_would_drive_out_the_others_is_not_kept_nor_is_the_one_it_replaces() -> None:
    kept = cache(max_bytes=80_000)
    kept.put(b"k", entry(kept.largest), 0.0)
    kept.put(b"k", entry(kept.largest + 1), 0.0)
    assert kept.get(b"k", 0.0) is None


def test_the_repr_of_an_entry_shows_no_answer() -> None:
    assert "secret" not in repr(Entry(pieces=(b"secret",), served=SERVED))


_USE = st.lists(
    st.tuples(st.sampled_from("pg"), st.binary(max_size=1), st.integers(600, 12_000), st.floats(0, 20)), max_size=60
)


@given(_USE)
def test_a_cache_gives_back_the_last_that_was_put_or_nothing_and_stays_in_its_bounds(
    steps: Sequence[tuple[str, bytes, int, float]],
) -> None:
    kept, now, last = cache(max_bytes=40_000, ttl=30), 0.0, dict[bytes, tuple[float, Entry]]()
    for name, at, size, wait in steps:
        now += wait
        if name == "p":
            last[at] = now, entry(size)
            kept.put(at, entry(size), now)
        elif (found := kept.get(at, now)) is not None:
            put, expected = last[at]
            assert found == expected
            assert now - put < 30
            event("hit")
        assert kept.size <= 40_000
        assert kept.size == sum(one.size for _, one in kept._entries.values())
