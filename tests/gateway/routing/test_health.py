"""The breakers: when they open, who may probe, and how long a target rests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.health import PROBE_LEASE, Breakers, BreakerState
from openai_gateway.routing.settings import MAX_REST, Breaking

RULES = Breaking(failures=3, rate=0.5, least=10, window=30, rest=10)


def broken(*, now: float = 0.0, rules: Breaking = RULES) -> Breakers:
    """Breakers of which that of `t` has just opened."""
    breakers = Breakers(rules)
    for _ in range(rules.failures):
        breakers.failed("t", now)
    return breakers


def state(breakers: Breakers, now: float) -> BreakerState:
    return breakers.states(["t"], now)["t"]


def test_a_target_nobody_has_complained_of_is_well() -> None:
    breakers = Breakers()
    breakers.began("t", 0)
    breakers.worked("t", 0)
    breakers.unknown("t")
    assert breakers.allows("t", 0)
    assert state(breakers, 0) is BreakerState.CLOSED


def test_failures_in_a_row_open_it_and_one_success_between_them_does_not() -> None:
    breakers = Breakers(RULES)
    for told in (breakers.failed, breakers.failed, breakers.worked, breakers.failed, breakers.failed):
        told("t", 0)
    assert breakers.allows("t", 0)
    breakers.failed("t", 0)
    assert not breakers.allows("t", 0)
    assert state(breakers, 9.9) is BreakerState.OPEN
    assert breakers.allows("other", 0)


def test_a_share_of_failures_in_the_window_opens_it_too() -> None:
    breakers = Breakers(RULES)
    for _ in range(5):
        breakers.failed("t", 1)
        breakers.worked("t", 1)
    assert not breakers.allows("t", 1)


def test_failures_that_are_past_the_window_no_longer_count() -> None:
    breakers = Breakers(RULES)
    for _ in range(4):
        breakers.failed("t", 1)
        breakers.worked("t", 1)
    for _ in range(2):
        breakers.failed("t", 31.1)
    assert breakers.allows("t", 31.1)


def test_when_its_rest_is_over_one_call_probes_and_the_others_go_elsewhere() -> None:
    breakers = broken()
    assert not breakers.allows("t", 9)
    assert breakers.allows("t", 10)
    assert state(breakers, 10) is BreakerState.HALF_OPEN
    breakers.began("t", 10)
    assert not breakers.allows("t", 10)
    breakers.worked("t", 12)
    assert breakers.allows("t", 12)
    assert state(breakers, 12) is BreakerState.CLOSED


def test_after_an_outage_what_was_before_it_counts_no_more() -> None:
    breakers = broken()
    breakers.worked("t", 10)
    for _ in range(2):
        breakers.failed("t", 11)
    assert breakers.allows("t", 11)


def test_a_probe_that_fails_doubles_the_rest_up_to_a_bound() -> None:
    breakers, now, rests = broken(), 0.0, []
    for _ in range(30):
        opened = now
        while not breakers.allows("t", now):
            now += 1
        rests.append(now - opened)
        breakers.began("t", now)
        breakers.failed("t", now)
    assert rests[:5] == [10, 20, 40, 80, MAX_REST]
    assert set(rests[5:]) == {MAX_REST}


def test_a_probe_that_was_given_up_may_be_made_again_at_once() -> None:
    breakers = broken()
    breakers.began("t", 10)
    breakers.unknown("t")
    assert breakers.allows("t", 10)


def test_a_probe_that_nobody_reported_on_is_taken_for_lost() -> None:
    breakers = broken()
    breakers.began("t", 10)
    assert not breakers.allows("t", 10 + PROBE_LEASE - 1)
    assert breakers.allows("t", 10 + PROBE_LEASE)


@pytest.mark.parametrize("outcome", ["failed", "worked"])
def test_what_a_last_resort_brings_neither_lengthens_nor_ends_the_rest(outcome: str) -> None:
    breakers = broken()
    getattr(breakers, outcome)("t", 5)
    assert not breakers.allows("t", 9)
    assert breakers.allows("t", 10)


def test_a_target_that_wants_to_be_left_alone_is_for_that_long() -> None:
    breakers = Breakers(RULES)
    breakers.rest("t", 17, 0)
    assert not breakers.allows("t", 16.9)
    assert breakers.allows("t", 17)
    assert state(breakers, 5) is BreakerState.CLOSED
    breakers.rest("t", 1e9, 20)
    assert not breakers.allows("t", 20 + MAX_REST - 1)
    assert breakers.allows("t", 20 + MAX_REST)


def test_of_several_wishes_to_be_left_alone_the_longest_holds() -> None:
    breakers = Breakers(RULES)
    breakers.rest("t", 60, 0)
    breakers.rest("t", 1, 1)
    assert not breakers.allows("t", 59)


def test_a_probe_that_is_told_to_wait_has_found_a_target_that_works() -> None:
    breakers = broken()
    assert breakers.began("t", 10)
    breakers.rest("t", 12, 11)
    assert not breakers.allows("t", 11.9)
    assert breakers.allows("t", 12)
    assert state(breakers, 12) is BreakerState.CLOSED


def test_a_last_resort_beside_a_probe_is_no_second_probe() -> None:
    breakers = broken()
    assert breakers.began("t", 10)
    assert not breakers.began("t", 30)
    assert breakers.allows("t", 10 + PROBE_LEASE)


def test_no_more_breakers_are_kept_than_a_bound() -> None:
    breakers = Breakers(RULES)
    for _ in range(RULES.failures):
        breakers.failed("first", 0)
    for number in range(10_000):
        breakers.failed(f"made up {number}", 0)
    assert breakers.allows("first", 0)


def test_a_busy_target_does_not_keep_all_its_outcomes() -> None:
    breakers = Breakers(Breaking(window=1e9, failures=10**9))
    breakers.failed("t", 0)
    for _ in range(1999):
        breakers.worked("t", 0)
    for _ in range(500):  # half of the last thousand
        assert breakers.allows("t", 0)
        breakers.failed("t", 0)
    assert not breakers.allows("t", 0)


_REPORTS = st.sampled_from(["failed", "worked", "began", "unknown", "rest"])


@given(st.lists(st.tuples(_REPORTS, st.floats(0, 50)), max_size=60))
def test_whatever_was_reported_a_target_is_let_in_again_in_the_end(told: list[tuple[str, float]]) -> None:
    breakers, now = Breakers(RULES), 0.0
    for what, gap in told:
        now += gap
        match what:
            case "rest":
                breakers.rest("t", now + 2 * gap, now)
            case "unknown":
                breakers.unknown("t")
            case _:
                getattr(breakers, what)("t", now)
    assert breakers.allows("t", now + MAX_REST + PROBE_LEASE)


@pytest.mark.parametrize("callers", [2, 7])
def test_of_many_that_come_at_once_to_a_half_open_target_one_is_let_in(callers: int) -> None:
    breakers = broken()
    let_in = 0
    for _ in range(callers):
        if breakers.allows("t", 11):
            breakers.began("t", 11)
            let_in += 1
    assert let_in == 1
