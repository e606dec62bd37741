"""Budgets: a period's money is never overdrawn by what was reserved, and begins anew with the next period."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import Kind
from openai_gateway.routing.limiter import Limiter, period_of, seconds_left
from openai_gateway.routing.limits import Demand, Left, Limits, Measure, Refusal, Reservation, error_of
from openai_gateway.routing.window import Window

NOON = datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()
DAY = 86_400


def of(budget: int, **fields: int) -> Limits:
    return Limits(key="k", title="key ci", budget=budget, period="day", **fields)


def asks(limits: Limits, money: int, is_more: bool = False) -> Demand:
    return Demand(limits=(limits,), money=money, is_more=is_more)


def test_what_is_reserved_counts_until_what_was_spent_takes_its_place() -> None:
    limiter, limits = Limiter(), of(10)
    first = limiter.reserve(asks(limits, 7), 0, wall=NOON)
    assert isinstance(first, Reservation)
    assert isinstance(limiter.reserve(asks(limits, 4), 0, wall=NOON), Refusal)
    limiter.settle(first, 0, 1, money=2, wall=NOON)
    second = limiter.reserve(asks(limits, 8), 1, wall=NOON)
    assert isinstance(second, Reservation)
    limiter.refund(second, 1, wall=NOON)
    assert isinstance(limiter.reserve(asks(limits, 8), 1, wall=NOON), Reservation)


def test_a_budget_begins_anew_with_its_period_and_an_old_call_is_charged_to_its_own() -> None:
    limiter, limits = Limiter(), of(10)
    old = limiter.reserve(asks(limits, 10), 0, wall=NOON)
    refusal = limiter.reserve(asks(limits, 1), 0, wall=NOON)
    assert isinstance(old, Reservation)
    assert isinstance(refusal, Refusal)
    assert refusal.seconds == DAY // 2
    new = limiter.reserve(asks(limits, 10), 0, wall=NOON + DAY)
    assert isinstance(new, Reservation)
    limiter.settle(old, 0, 0, money=10, wall=NOON + DAY)
    limiter.refund(new, 0, wall=NOON + DAY)
    assert isinstance(limiter.reserve(asks(limits, 10), 0, wall=NOON + DAY), Reservation)
    assert isinstance(limiter.reserve(asks(limits, 10), 0, wall=NOON + 5 * DAY), Reservation)


def test_a_period_is_remembered_for_as_long_as_a_call_of_it_is_in_work() -> None:
    limiter, limits = Limiter(), of(10)
    first, second, *_ = (limiter.reserve(asks(limits, 4), 0, wall=NOON + day * DAY) for day in range(2))
    assert isinstance(first, Reservation)
    assert isinstance(second, Reservation)
    limiter.settle(second, 0, 0, money=4, wall=NOON + DAY)
    for day in (2, 3):
        limiter.reserve(asks(limits, 1), 0, wall=NOON + day * DAY)
    limiter.settle(first, 0, 0, money=3, wall=NOON + 3 * DAY)
    spending = limiter._use("k").spending
    assert sorted(spending) == ["2026-02-28", "2026-03-02", "2026-03-03"]
    assert (spending["2026-02-28"].reserved, spending["2026-02-28"].spent) == (0, 3)


def test_more_for_a_call_is_no_request_and_takes_no_place() -> None:
    limiter, limits = Limiter(), of(10, rpm=1, max_parallel=1)
    first = limiter.reserve(asks(limits, 3), 0, wall=NOON)
    more = limiter.reserve(asks(limits, 7, is_more=True), 0, wall=NOON)
    assert isinstance(first, Reservation)
    assert isinstance(more, Reservation)
    for one in (first, more):
        limiter.settle(one, 0, 0, money=1, wall=NOON)
    assert isinstance(limiter.reserve(asks(limits, 1), 61, wall=NOON), Reservation)


def test_a_call_that_is_let_in_is_told_how_its_windows_stand() -> None:
    limits = Limits(key="k", title="key ci", rpm=3, tpm=100)
    found = Limiter().reserve(Demand(limits=(limits,), tokens=40), 0)
    assert isinstance(found, Reservation)
    assert found.left == (
        Left(key="k", measure=Measure.RPM, most=3, left=2, seconds=60),
        Left(key="k", measure=Measure.TPM, most=100, left=60, seconds=60),
    )
    assert Window().empties_in(5) == 0


@pytest.mark.parametrize(("refused", "words", "wait"), [
    (asks(of(5 * 10**9), 6 * 10**9), r"\$5\.00 a day of the key ci can never pay for this call.*\$6\.00", None),
    (asks(of(5 * 10**9), 5 * 10**9), r"\$5\.00 a day of the key ci is spent.*in 43,200 s", 43_200),
    (asks(of(2 * 10**6), 2 * 10**6), r"\$0\.002 a day", 43_200),
])  # fmt: skip
def test_a_spent_budget_is_said_in_dollars_with_the_time_until_it_begins_anew(
    refused: Demand, words: str, wait: int | None
) -> None:
    limiter = Limiter()
    limiter.reserve(asks(refused.limits[0], 1), 0, wall=NOON)
    outcome = limiter.reserve(refused, 0, wall=NOON)
    assert isinstance(outcome, Refusal)
    error = error_of(outcome)
    assert (error.kind, error.status, error.code, error.retry_after) == (Kind.QUOTA, 429, "insufficient_quota", wait)
    assert error.is_own

    assert re.search(words, str(error)) is not None


def test_days_and_months_are_those_of_utc() -> None:
    assert (period_of(NOON, "day"), period_of(NOON, "month")) == ("2026-02-28", "2026-02")
    assert (seconds_left(NOON, "day"), seconds_left(NOON, "month")) == (DAY // 2, DAY // 2)
    assert seconds_left(NOON - 27 * DAY, "month") == DAY // 2 + 27 * DAY
    assert seconds_left(NOON + DAY / 2 - 0.001, "day") == 1


@given(st.integers(0, 100), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=30))
def test_spent_never_exceeds_the_budget_while_nobody_lies(budget: int, calls: list[tuple[int, int, bool]]) -> None:
    limiter, limits, spent = Limiter(), of(budget), 0
    waiting: list[tuple[Reservation, int]] = []
    for bound, used, ends in calls:
        outcome = limiter.reserve(asks(limits, bound), 0, wall=NOON)
        if isinstance(outcome, Reservation):
            waiting.append((outcome, min(used, bound)))
        if ends and waiting:
            reservation, money = waiting.pop(0)
            limiter.settle(reservation, 0, 0, money=money, wall=NOON)
            spent += money
        assert spent + sum(one.demand.money for one, _ in waiting) <= budget


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2**53 - 1)), max_size=30))
def test_a_window_that_was_packed_is_the_same(charges: list[tuple[float, int]]) -> None:
    window, now = Window(), 0.0
    for pause, amount in charges:
        now += pause
        window.charge(amount % 2**40, now)
    again = Window.unpack(window.pack())
    for moment in (now, now + 30, now + 61):
        assert again.used(moment) == window.used(moment)
        assert len(again) == len(window)
