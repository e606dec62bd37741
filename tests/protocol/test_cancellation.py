"""Cancellation: at once, for good, and harmless when it comes too late."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.playbook import (
    Json,
    Playbook,
    Remarked,
    Withdrawn,
    cancel,
    handed,
    initialize,
    meta,
    modern,
    playbook,
    request,
    response,
)
from tests.protocol.offering import FULL, HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import Level, ToolCalled

IGNORED = Remarked(Level.DEBUG, "ignored a cancellation")


def call(id_: Json, **more: Json) -> Json:
    return request(id_, "tools/call", name="chat", **more)


@pytest.mark.requirement("cancellation/nothing-more")
@pytest.mark.requirement("cancellation/legacy-nothing-more")
@pytest.mark.parametrize("build", [request, modern])
def test_a_cancelled_call_is_never_answered(play: Playbook, build: Callable[..., Json]) -> None:
    play >> build(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> cancel(1) << Withdrawn(1)
    play.answer(1, HELLO)
    assert play.connection.calls_in_flight == 0


@pytest.mark.requirement("cancellation/nothing-more")
@pytest.mark.parametrize("error", [Fault(-32603, "late"), ResourceNotFound("x")])
def test_a_cancelled_call_is_never_failed(play: Playbook, error: Fault | ResourceNotFound) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    play >> cancel(1) << Withdrawn(1)
    play.fail(1, error)


@pytest.mark.requirement("cancellation/nothing-more")
def test_a_cancelled_call_reports_no_progress(play: Playbook) -> None:
    play >> call(1, _meta={"progressToken": "t"}) << handed(ToolCalled, 1)
    play >> cancel(1) << Withdrawn(1)
    play.progress(1, 1)
    play.finish(1)


def test_a_cancelled_call_that_ends_without_an_answer_sends_nothing(play: Playbook) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    play >> cancel(1) << Withdrawn(1)
    play.finish(1)


@pytest.mark.requirement("cancellation/reason")
@pytest.mark.parametrize(
    ("more", "reason"), [({"reason": "user"}, "user"), ({"reason": None}, ""), ({"reason": 7}, ""), ({}, "")]
)
def test_the_reason_is_handed_on_if_it_is_a_text(play: Playbook, more: dict[str, Json], reason: str) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    play >> cancel(1, **more) << Withdrawn(1, reason)


def test_a_cancellation_may_carry_modern_meta(play: Playbook) -> None:
    play >> modern("a", "tools/call", name="chat") << handed(ToolCalled, "a")
    play >> cancel("a", _meta=meta()) << Withdrawn("a")


def test_a_call_that_waits_is_cancelled_without_the_application_knowing_of_it() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> call(1) << handed(ToolCalled, 1)
        play >> call(2)
        play >> call(3)
        play >> cancel(2)
        play.answer(1, HELLO) << response(1, HELLO_LEGACY) << handed(ToolCalled, 3)
        assert 2 not in play.calls


def test_a_call_cancelled_before_the_application_took_it_is_never_handed_over(play: Playbook) -> None:
    with playbook(FULL, max_in_flight=1) as narrow:
        narrow >> call(1) << handed(ToolCalled, 1)
        narrow >> call(2)
        narrow >> cancel(2)
        narrow.answer(1, HELLO) << response(1, HELLO_LEGACY)
        assert narrow.connection.calls_in_flight == 0


def test_a_cancelled_id_may_be_used_again_at_once(play: Playbook) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    first = play.calls[1]
    play >> cancel(1) << Withdrawn(1)
    play >> call(1) << handed(ToolCalled, 1)
    assert play.calls[1] is not first
    play.connection.answer(first, HELLO)
    play.connection.finished(first)
    play.pump()
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)


def test_the_same_id_can_be_cancelled_time_and_again(play: Playbook) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    for _ in range(3):
        play >> cancel(1) << Withdrawn(1)
        play >> cancel(1) << IGNORED
        play >> call(1) << handed(ToolCalled, 1)
    assert play.connection.calls_in_flight == 4


@pytest.mark.requirement("cancellation/invalid-ignored")
@pytest.mark.requirement("cancellation/races")
@pytest.mark.requirement("cancellation/legacy-races")
@pytest.mark.parametrize("id_", [1, "1", 99, None, 1.5, True, [], {}])
def test_a_cancellation_of_what_is_not_in_flight_is_ignored(play: Playbook, id_: Json) -> None:
    play >> cancel(id_) << IGNORED
    play >> request(1, "ping") << response(1, {})
    play >> cancel(id_) << IGNORED


@pytest.mark.requirement("cancellation/races")
def test_a_cancellation_that_comes_after_the_answer_is_ignored(play: Playbook) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    play.connection.answer(play.calls[1], HELLO)
    play.pump() << response(1, HELLO_LEGACY)
    play >> cancel(1) << IGNORED
    play.finish(1)
    play >> cancel(1) << IGNORED


def test_a_cancellation_names_the_id_in_its_own_type(play: Playbook) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    play >> cancel("1") << IGNORED
    play >> cancel(1.0) << Withdrawn(1)


def test_only_the_named_call_is_cancelled(play: Playbook) -> None:
    play >> call(1) << handed(ToolCalled, 1)
    play >> call(2) << handed(ToolCalled, 2)
    play >> cancel(2) << Withdrawn(2)
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)


@pytest.mark.requirement("cancellation/initialize")
def test_an_initialize_cannot_be_cancelled(play: Playbook) -> None:
    play >> initialize("i", "2025-06-18")
    assert play.result("i")["protocolVersion"] == "2025-06-18"
    play >> cancel("i") << IGNORED


@pytest.mark.requirement("cancellation/server-sent")
def test_a_cancelled_call_gets_no_cancellation_back(play: Playbook) -> None:
    play >> modern(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> cancel(1) << Withdrawn(1)
    play.finish(1)
