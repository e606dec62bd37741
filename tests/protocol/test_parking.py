"""How many calls run and wait, and that a full house still hears a cancellation, a cheap method and the end."""

from __future__ import annotations

import json

import pytest
from tests.playbook import (
    EOF,
    Playbook,
    Withdrawn,
    cancel,
    failure,
    handed,
    initialize,
    playbook,
    request,
    response,
)
from tests.protocol.offering import FULL, HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.errors import OVERLOADED
from openai_gateway_mcp.protocol.events import ToolCalled


def call(id_: int | str, text: str = "") -> object:
    return request(id_, "tools/call", name="chat", arguments={"prompt": text})


def answered(play: Playbook, id_: int) -> Playbook:
    play.answer(id_, HELLO) << response(id_, HELLO_LEGACY)
    return play


def test_calls_run_at_once_and_are_answered_in_the_order_they_complete(play: Playbook) -> None:
    for id_ in (1, 2, 3):
        play >> call(id_) << handed(ToolCalled, id_)
    assert play.connection.calls_in_flight == 3
    for id_ in (2, 3, 1):
        answered(play, id_)
    assert play.connection.calls_in_flight == 0


@pytest.mark.requirement("tools/rate-limited")
def test_the_usual_limit_is_256_calls_at_once(play: Playbook) -> None:
    for id_ in range(256):
        play >> call(id_) << handed(ToolCalled, id_)
    play >> call(256)
    play.assert_finished()
    assert play.connection.calls_in_flight == 257
    answered(play, 7) << handed(ToolCalled, 256)


def test_the_usual_waiting_room_has_4096_places() -> None:
    with playbook(FULL, max_in_flight=0) as play:
        for id_ in range(4_096):
            play >> call(id_)
        play >> call(4_096) << failure(4_096, OVERLOADED)
        assert play.connection.calls_in_flight == 4_096


def test_calls_over_the_limit_wait_in_order() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> call(3)
        answered(play, 1) << handed(ToolCalled, 2)
        answered(play, 2) << handed(ToolCalled, 3)
        answered(play, 3)


def test_a_slot_is_free_when_the_task_is_gone_and_not_before() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play.connection.answer(play.calls[1], HELLO)
        play.pump() << response(1, HELLO_LEGACY)
        play.finish(1) << handed(ToolCalled, 2)


def test_a_cancelled_call_keeps_its_slot_until_its_task_is_gone() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> cancel(1) << Withdrawn(1)
        play.finish(1) << handed(ToolCalled, 2)


def test_with_every_slot_taken_cheap_methods_are_answered_and_calls_can_be_cancelled() -> None:
    with playbook(FULL, max_in_flight=1, max_parked=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> call(3) << failure(3, OVERLOADED, "Too many")
        play >> request(4, "ping") << response(4, {})
        play >> request(5, "no/such") << failure(5, -32601)
        play >> cancel(2)
        play >> cancel(1) << Withdrawn(1)
        assert play.connection.calls_in_flight == 1
        play.finish(1)


@pytest.mark.requirement("tools/rate-limited")
@pytest.mark.requirement("completion/rate-limited")
@pytest.mark.requirement("tools/legacy-security")
def test_past_the_waiting_room_a_call_is_refused_at_once_and_may_come_again() -> None:
    with playbook(FULL, max_in_flight=1, max_parked=2) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> call(3)
        play >> call(4) << failure(4, OVERLOADED)
        answered(play, 1) << handed(ToolCalled, 2)
        play >> call(4)
        play >> call(5) << failure(5, OVERLOADED)
        play >> cancel(3)
        play >> call(5)
        answered(play, 2) << handed(ToolCalled, 4)
        answered(play, 4) << handed(ToolCalled, 5)


@pytest.mark.requirement("base/new-codes")
def test_the_error_for_overload_lies_outside_the_reserved_range() -> None:
    assert not -32768 <= OVERLOADED <= -32000


def test_waiting_calls_are_limited_in_bytes_too() -> None:
    with playbook(FULL, max_in_flight=1, max_parked_bytes=1_000) as play:
        play >> call(1, "x" * 5_000) << handed(ToolCalled, 1)
        play >> call(2, "x" * 500)
        play >> call(3, "x" * 500) << failure(3, OVERLOADED)
        play >> call(4, "x" * 100)
        play >> cancel(2)
        play >> call(3, "x" * 500)
        answered(play, 1) << handed(ToolCalled, 4)


def test_the_bytes_of_all_that_wait_are_counted_to_the_last() -> None:
    size = len(json.dumps(call(2, "x" * 400)))
    for limit, fits in ((3 * size, True), (3 * size - 1, False)):
        with playbook(FULL, max_in_flight=1, max_parked_bytes=limit) as play:
            play >> call(1) << handed(ToolCalled, 1)
            play >> call(2, "x" * 400)
            play >> call(3, "x" * 400)
            play >> call(4, "x" * 400)
            if not fits:
                play << failure(4, OVERLOADED)


def test_each_call_of_a_batch_counts_for_its_share_of_the_bytes() -> None:
    batch = [call(1, "x"), call(2), call(3)]
    share, rest = divmod(len(json.dumps(batch)), 3)
    assert rest, "the share is rounded down"
    with playbook(FULL, max_in_flight=1, max_parked_bytes=3 * share) as play:
        play >> initialize(0, "2025-03-26")
        play.result(0)
        play >> batch << handed(ToolCalled, 1)
        assert play.connection.calls_in_flight == 3


def test_a_batch_does_not_overshoot_what_may_wait() -> None:
    with playbook(FULL, max_in_flight=1, max_parked=2) as play:
        play >> initialize(0, "2025-03-26")
        play.result(0)
        play >> [call(id_) for id_ in range(1, 6)] << handed(ToolCalled, 1)
        assert play.connection.calls_in_flight == 3
        for id_ in (1, 2):
            play.answer(id_, HELLO) << handed(ToolCalled, id_ + 1)
        play.answer(3, HELLO)
        replies = play.line()
        assert [reply["id"] for reply in replies] == [4, 5, 1, 2, 3]
        assert [reply["error"]["code"] for reply in replies[:2]] == [OVERLOADED, OVERLOADED]


def test_the_end_is_heard_with_every_slot_taken_and_what_was_read_is_still_done() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> EOF
        answered(play, 1) << handed(ToolCalled, 2)
        answered(play, 2)
        assert play.connection.calls_in_flight == 0


def test_a_waiting_call_takes_its_id() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> call(2) << failure(2, -32600, "in flight")
        answered(play, 1) << handed(ToolCalled, 2)
