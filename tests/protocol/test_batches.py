"""Batches: an array is answered with an array in 2025-03-26, and refused everywhere else."""

from __future__ import annotations

import pytest
from tests.playbook import (
    EOF,
    Json,
    Playbook,
    Remarked,
    Withdrawn,
    cancel,
    failure,
    handed,
    initialize,
    modern,
    notification,
    request,
    response,
)
from tests.protocol.offering import HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.connection import MAX_BATCH
from openai_gateway_mcp.protocol.errors import Fault
from openai_gateway_mcp.protocol.events import Level, ToolCalled


@pytest.fixture
def batching(play: Playbook) -> Playbook:
    """A conversation in the one revision that has batches."""
    play >> initialize(0, "2025-03-26")
    play.result(0)
    return play


def call(id_: Json, **more: Json) -> Json:
    return request(id_, "tools/call", name="chat", **more)


def pong(id_: Json) -> Json:
    return response(id_, {})


def hello(id_: Json) -> Json:
    return response(id_, HELLO_LEGACY)


# --- where there are batches ----------------------------------------------------------------------------------------


@pytest.mark.requirement("stdio/one-message")
@pytest.mark.requirement("legacy/one-message")
@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
@pytest.mark.parametrize("batch", [[], [request(1, "ping")], [notification("notifications/initialized")], [1]])
def test_other_revisions_refuse_an_array(play: Playbook, version: str, batch: list[Json]) -> None:
    play >> initialize(0, version)
    play.result(0)
    play >> batch << failure(None, -32600, version)


@pytest.mark.requirement("stdio/one-message")
def test_an_array_before_any_initialize_is_refused(play: Playbook) -> None:
    play >> [request(1, "ping")] << failure(None, -32600)
    play >> [modern(1, "tools/list")] << failure(None, -32600)


@pytest.mark.requirement("batches/received")
def test_a_batch_of_requests_is_answered_with_an_array(batching: Playbook) -> None:
    batching >> [request(1, "ping"), request("2", "ping")] << [pong(1), pong("2")]


def test_a_batch_of_one_is_answered_with_an_array_of_one(batching: Playbook) -> None:
    batching >> [request(1, "ping")] << [pong(1)]


def test_notifications_have_no_entry_in_the_answer(batching: Playbook) -> None:
    batching >> [notification("notifications/initialized"), request(1, "ping"), notification("no/such")]
    batching << Remarked(Level.DEBUG, "no/such") << [pong(1)]


def test_a_batch_of_notifications_alone_is_not_answered_at_all(batching: Playbook) -> None:
    batching >> [notification("notifications/initialized"), notification("notifications/initialized")]


def test_responses_in_a_batch_are_ignored(batching: Playbook) -> None:
    batching >> [{"jsonrpc": "2.0", "id": 9, "result": {}}] << Remarked(Level.DEBUG, "nobody asked for")
    batching >> [{"jsonrpc": "2.0", "id": 9, "result": {}}, request(1, "ping")]
    batching << Remarked(Level.DEBUG, "nobody asked for") << [pong(1)]


def test_an_empty_batch_is_an_invalid_request(batching: Playbook) -> None:
    batching >> [] << failure(None, -32600, "at least one")


def test_a_batch_has_a_limit(batching: Playbook) -> None:
    batching >> [request(n, "ping") for n in range(MAX_BATCH)] << [pong(n) for n in range(MAX_BATCH)]
    batching >> [request(n, "ping") for n in range(MAX_BATCH + 1)] << failure(None, -32600, f"{MAX_BATCH}")


def codes(replies: list[Json]) -> list[tuple[Json, int]]:
    return [(reply["id"], reply["error"]["code"]) for reply in replies]


def test_each_wrong_entry_has_its_own_error(batching: Playbook) -> None:
    batching >> [
        1,
        None,
        "x",
        [],
        [request(1, "ping")],
        {},
        {"id": 5},
        request(6, "no/such"),
        request(7, "tools/call", name="nope"),
    ]
    assert codes(batching.line()) == [
        *[(None, -32600)] * 6,
        (5, -32600),
        (6, -32601),
        (7, -32602),
    ]


@pytest.mark.requirement("batches/no-initialize")
def test_an_initialize_in_a_batch_is_refused_and_settles_nothing(batching: Playbook) -> None:
    batching >> [initialize(1, "2024-11-05"), request(2, "ping")]
    replies = batching.line()
    assert codes(replies[:1]) == [(1, -32600)]
    assert replies[1] == pong(2)
    batching >> [request(3, "ping")] << [pong(3)]


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "server/discover", "subscriptions/listen", "no/such"])
def test_a_modern_request_in_a_batch_is_refused(batching: Playbook, method: str) -> None:
    batching >> [modern(1, method, name="chat", notifications={})]
    assert codes(batching.line()) == [(1, -32600)]
    assert batching.connection.calls_in_flight == 0


# --- calls in a batch -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("batches/received")
def test_the_array_waits_for_its_last_call_and_has_the_answers_in_the_order_they_came(batching: Playbook) -> None:
    batching >> [call(1), request(2, "ping"), call(3)] << handed(ToolCalled, 1) << handed(ToolCalled, 3)
    batching.answer(3, HELLO)
    batching.answer(1, HELLO) << [pong(2), hello(3), hello(1)]


def test_other_messages_pass_a_batch_that_waits(batching: Playbook) -> None:
    batching >> [call(1)] << handed(ToolCalled, 1)
    batching >> request(2, "ping") << pong(2)
    batching >> call(3) << handed(ToolCalled, 3)
    batching.answer(3, HELLO) << hello(3)
    batching.answer(1, HELLO) << [hello(1)]


def test_two_batches_are_answered_each_by_its_own_array(batching: Playbook) -> None:
    batching >> [call(1), call(2)] << handed(ToolCalled, 1) << handed(ToolCalled, 2)
    batching >> [call(3), request(4, "ping")] << handed(ToolCalled, 3)
    batching.answer(2, HELLO)
    batching.answer(3, HELLO) << [pong(4), hello(3)]
    batching.answer(1, HELLO) << [hello(2), hello(1)]


def test_a_call_of_a_batch_may_fail(batching: Playbook) -> None:
    batching >> [call(1), call(2)] << handed(ToolCalled, 1) << handed(ToolCalled, 2)
    batching.fail(1, Fault(1234, "no"))
    batching.answer(2, HELLO)
    batching << [{"jsonrpc": "2.0", "id": 1, "error": {"code": 1234, "message": "no"}}, hello(2)]


def test_a_call_of_a_batch_that_ends_without_an_answer_is_an_internal_error(batching: Playbook) -> None:
    batching >> [call(1)] << handed(ToolCalled, 1)
    batching.finish(1)
    assert codes(batching.line()) == [(1, -32603)]


def test_progress_of_a_batched_call_goes_out_as_a_line_of_its_own(batching: Playbook) -> None:
    batching >> [call(1, _meta={"progressToken": "t"})] << handed(ToolCalled, 1)
    batching.progress(1, 1, message="half")
    batching << notification("notifications/progress", progressToken="t", progress=1, message="half")
    batching.answer(1, HELLO) << [hello(1)]


# --- cancellation ---------------------------------------------------------------------------------------------------


def test_a_cancelled_call_is_left_out_of_the_array(batching: Playbook) -> None:
    batching >> [call(1), call(2)] << handed(ToolCalled, 1) << handed(ToolCalled, 2)
    batching >> cancel(1) << Withdrawn(1)
    batching.answer(1, HELLO)
    batching.answer(2, HELLO) << [hello(2)]


def test_the_cancellation_of_the_last_call_sends_the_array(batching: Playbook) -> None:
    batching >> [call(1), request(2, "ping")] << handed(ToolCalled, 1)
    batching >> cancel(1) << Withdrawn(1) << [pong(2)]
    batching.finish(1)


def test_a_batch_whose_calls_are_all_cancelled_is_not_answered_at_all(batching: Playbook) -> None:
    batching >> [call(1), call(2)] << handed(ToolCalled, 1) << handed(ToolCalled, 2)
    batching >> cancel(1) << Withdrawn(1)
    batching >> cancel(2) << Withdrawn(2)
    batching.answer(1, HELLO)
    batching.finish(2)


def test_a_call_can_be_cancelled_by_the_batch_it_came_in(batching: Playbook) -> None:
    batching >> [call(1), cancel(1), request(2, "ping")] << [pong(2)]
    batching >> [request(2, "ping"), call(1), cancel(1), request(3, "ping")] << [pong(2), pong(3)]
    batching >> [call(1), cancel(1)]
    assert batching.connection.calls_in_flight == 0


def test_a_batch_may_cancel_a_call_outside_of_it(batching: Playbook) -> None:
    batching >> call(1) << handed(ToolCalled, 1)
    batching >> [cancel(1), request(2, "ping")] << Withdrawn(1) << [pong(2)]


def test_a_cancelled_id_may_be_used_again_while_its_batch_still_waits(batching: Playbook) -> None:
    batching >> [call(1), call(2)] << handed(ToolCalled, 1) << handed(ToolCalled, 2)
    batching >> cancel(1) << Withdrawn(1)
    batching.finish(1)
    batching >> call(1) << handed(ToolCalled, 1)
    batching.answer(1, HELLO) << hello(1)
    batching.answer(2, HELLO) << [hello(2)]


# --- ids ------------------------------------------------------------------------------------------------------------


def test_an_id_twice_in_a_batch_is_refused_the_second_time(batching: Playbook) -> None:
    batching >> [request(1, "ping"), request(1, "ping"), call(2), call(2)] << handed(ToolCalled, 2)
    batching.answer(2, HELLO)
    replies = batching.line()
    assert codes(replies[1:3]) == [(1, -32600), (2, -32600)]
    assert [replies[0], replies[3]] == [pong(1), hello(2)]


def test_an_id_is_taken_until_its_array_is_out(batching: Playbook) -> None:
    batching >> [request(1, "ping"), request(2, "no/such"), call(3), call(4)]
    batching << handed(ToolCalled, 3) << handed(ToolCalled, 4)
    batching.answer(3, HELLO)
    for id_ in (1, 2, 3, 4):
        batching >> request(id_, "ping") << failure(id_, -32600, "in flight")
    batching.answer(4, HELLO)
    assert [reply["id"] for reply in batching.line()] == [1, 2, 3, 4]
    for id_ in (1, 2, 3, 4):
        batching >> request(id_, "ping") << pong(id_)


def test_an_answered_entry_whose_array_still_waits_cannot_be_cancelled(batching: Playbook) -> None:
    batching >> [request(1, "ping"), call(2)] << handed(ToolCalled, 2)
    batching >> cancel(1) << Remarked(Level.DEBUG, "not in flight")
    batching.answer(2, HELLO) << [pong(1), hello(2)]


def test_an_id_in_flight_outside_the_batch_is_refused_inside(batching: Playbook) -> None:
    batching >> call(1) << handed(ToolCalled, 1)
    batching >> [call(1), request(2, "ping")]
    replies = batching.line()
    assert codes(replies[:1]) == [(1, -32600)]
    assert replies[1:] == [pong(2)]
    batching.answer(1, HELLO) << hello(1)


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_batch_read_before_the_end_is_still_answered_whole(batching: Playbook) -> None:
    batching >> [call(1), request(2, "ping")] << handed(ToolCalled, 1)
    batching >> EOF
    batching.answer(1, HELLO) << [pong(2), hello(1)]


def test_a_batch_that_waits_when_we_close_is_not_answered(batching: Playbook) -> None:
    batching >> [call(1), request(2, "ping")] << handed(ToolCalled, 1)
    batching.close()
    batching.answer(1, HELLO)


def test_a_batch_keeps_its_array_when_another_revision_is_negotiated_meanwhile(batching: Playbook) -> None:
    batching >> [call(1)] << handed(ToolCalled, 1)
    batching >> initialize(0, "2025-11-25")
    batching.result(0)
    batching.answer(1, HELLO) << [hello(1)]
    batching >> [request(2, "ping")] << failure(None, -32600)
