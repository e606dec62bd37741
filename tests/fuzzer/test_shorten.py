"""What is left of a conversation shows the same, and nothing of it could go."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.conversation import Await, Finish, Say, Step
from openai_gateway_mcp.fuzz.shorten import shorten

HANDSHAKE: list[Step] = [
    Say(b'{"jsonrpc":"2.0","id":"initialize","method":"initialize","params":{"protocolVersion":"2025-06-18"}}\n'),
    Await("initialize"),
    Say(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'),
]


def said(steps: Sequence[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Say))


@given(st.lists(st.sampled_from(b"abcdefgh"), max_size=30), st.sets(st.sampled_from(b"abc"), max_size=3))
def test_what_shows_it_is_kept_and_no_more(letters: list[int], needed: set[int]) -> None:
    steps = [Say(bytes([letter]) + b"\n") for letter in letters]

    def shows(some: Sequence[Step]) -> bool:
        return needed <= set(said(some))

    if shows(steps):
        short = shorten(steps, shows, lambda: True)
        assert sorted(said(short).replace(b"\n", b"")) == sorted(needed)


def test_lines_of_a_step_and_members_of_a_message_go_too() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"a": {"b": {"c": 1}, "bad": 1}, "e": 1}}
    steps: list[Step] = [Say(b"one\n" + json.dumps(message).encode() + b"\nthree\n"), Await(1), Finish()]
    short = shorten(steps, lambda some: b'"bad"' in said(some), lambda: True)
    assert short == [Say(b'{"params":{"a":{"bad":1}}}\n')]


def test_the_handshake_stays_whole_where_it_is_needed_and_goes_as_a_whole_where_not() -> None:
    steps: list[Step] = [*HANDSHAKE, Say(b"x\n"), Say(b"y\n")]
    needs_it = shorten(steps, lambda some: b"initialize" in said(some) and b"y" in said(some[-1:]), lambda: True)
    assert needs_it == [*HANDSHAKE, Say(b"y\n")]
    assert shorten(steps, lambda some: b"y\n" in said(some), lambda: True) == [Say(b"y\n")]


def test_what_was_said_in_pieces_is_said_in_lines() -> None:
    steps: list[Step] = [Say(b"a"), Say(b"b\nc"), Say(b"d\nx"), Await(1)]
    short = shorten(steps, lambda some: b"cd\n" in said(some), lambda: True)
    assert short == [Say(b"cd\n")]


def test_it_stops_when_it_may_not_go_on() -> None:
    tries = itertools.count()
    steps = [Say(b"x\n") for _ in range(64)]
    short = shorten(steps, bool, lambda: next(tries) < 1)
    assert len(short) == 32
