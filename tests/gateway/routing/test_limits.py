"""The arithmetic of limits: nobody ever gets more than allowed, and nobody is told to wait in vain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from openai_gateway.errors import Kind
from openai_gateway.routing.limiter import Limiter
from openai_gateway.routing.limits import (
    Called,
    Demand,
    Limits,
    Measure,
    Outcome,
    Refusal,
    Reservation,
    Ticket,
    error_of,
    limits_of,
)
from openai_gateway.routing.window import WINDOW, Window
from tests.gateway.routing.samples import row


def limits(key: str = "a", rpm: int | None = None, tpm: int | None = None, max_parallel: int | None = None) -> Limits:
    return Limits(key=key, title=f"model row {key}", rpm=rpm, tpm=tpm, max_parallel=max_parallel)


def demand(*of: Limits, tokens: int = 0) -> Demand:
    return Demand(limits=of, tokens=tokens)


def let_in(outcome: Outcome | Ticket) -> Reservation:
    assert isinstance(outcome, Reservation)
    return outcome


def refused(outcome: Outcome | Ticket) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def waits(outcome: Outcome | Ticket) -> Ticket:
    assert isinstance(outcome, Ticket)
    return outcome


# --- one limit ------------------------------------------------------------------------------------------------------


def test_of_a_hundred_calls_at_once_against_ten_exactly_ten_pass() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=10))
    outcomes = [limiter.reserve(asked, 0.0) for _ in range(100)]
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 10
    assert isinstance(limiter.reserve(asked, 59.9), Refusal)
    assert isinstance(limiter.reserve(asked, 60.0), Reservation)


def test_a_refusal_names_the_limit_and_the_seconds_to_wait() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=2))
    limiter.reserve(asked, 0.0)
    limiter.reserve(asked, 10.0)
    refusal = refused(limiter.reserve(asked, 48.5))
    assert refusal == Refusal(limits=limits(rpm=2), measure=Measure.RPM, most=2, asked=1, seconds=12)
    error = error_of(refusal)
    assert error.message == (
        "The limit of 2 requests a minute (rpm) of the model row a is reached; it frees up in 12 s."
    )
    assert (error.kind, error.retry_after, error.is_own) == (Kind.RATE_LIMITED, 12, True)


def test_tokens_are_charged_as_reserved_until_they_are_known() -> None:
    limiter, asked = Limiter(), demand(limits(tpm=1000), tokens=600)
    first = let_in(limiter.reserve(asked, 0.0))
    assert refused(limiter.reserve(asked, 1.0)).seconds == 59
    limiter.settle(first, 400, 2.0)
    let_in(limiter.reserve(asked, 3.0))
    assert refused(limiter.reserve(demand(limits(tpm=1000), tokens=1), 4.0)).seconds == 56


def test_tokens_beyond_the_reserved_are_charged_in_full_and_the_window_refuses_until_it_fits() -> None:
    limiter, asked = Limiter(), demand(limits(tpm=1000), tokens=600)
    limiter.settle(let_in(limiter.reserve(asked, 0.0)), 1500, 30.0)
    refusal = refused(limiter.reserve(demand(limits(tpm=1000), tokens=101), 40.0))
    assert (refusal.measure, refusal.seconds) == (Measure.TPM, 50)
    let_in(limiter.reserve(demand(limits(tpm=1000), tokens=100), 60.0))  # the 900 found at 30 s, and no more
    assert refused(limiter.reserve(demand(limits(tpm=1000), tokens=1), 60.0)).seconds == 30


def test_tokens_found_when_their_minute_is_over_count_from_then_on() -> None:
    limiter, asked = Limiter(), demand(limits(tpm=1000), tokens=600)
    late, later = (let_in(limiter.reserve(asked, at)) for at in (0.0, 60.0))
    limiter.settle(late, 700, 200.0)
    limiter.settle(later, 0, 200.0)
    let_in(limiter.reserve(demand(limits(tpm=1000), tokens=900), 201.0))
    assert refused(limiter.reserve(demand(limits(tpm=1000), tokens=1), 201.0)).seconds == 59


def test_an_overdrawn_window_refuses_even_a_call_without_tokens() -> None:
    limiter, none = Limiter(), demand(limits(tpm=10))
    limiter.settle(let_in(limiter.reserve(none, 0.0)), 11, 0.0)
    assert refused(limiter.reserve(none, 0.0)).seconds == 60
    let_in(limiter.reserve(none, 60.0))


@pytest.mark.parametrize(
    ("asked", "measure", "most", "wants"),
    [
        (demand(limits(tpm=1000), tokens=5000), Measure.TPM, 1000, 5000),
        (demand(limits(rpm=0)), Measure.RPM, 0, 1),
        (demand(limits(max_parallel=0)), Measure.MAX_PARALLEL, 0, 1),
    ],
)
def test_a_call_larger_than_the_limit_is_told_so_and_no_time(
    asked: Demand, measure: Measure, most: int, wants: int
) -> None:
    limiter = Limiter()
    refusal = refused(limiter.stand_in_line(asked, 0.0))
    assert refusal == Refusal(limits=asked.limits[0], measure=measure, most=most, asked=wants, seconds=None)
    error = error_of(refusal)
    assert f"can never let this call in, which asks for up to {wants:,}." in error.message
    assert error.retry_after is None
    assert error.hint


def test_a_refund_is_as_if_the_call_had_not_been() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=1, tpm=10, max_parallel=1), tokens=10)
    for _ in range(5):
        limiter.refund(let_in(limiter.reserve(asked, 0.0)), 0.0)
    let_in(limiter.reserve(asked, 0.0))


def test_a_reservation_is_closed_once() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=9, tpm=10, max_parallel=2), tokens=4)
    first, second = (let_in(limiter.reserve(asked, 0.0)) for _ in range(2))
    limiter.settle(first, 4, 0.0)
    for _ in range(3):
        limiter.settle(first, 0, 0.0)
        limiter.refund(first, 0.0)
    assert refused(limiter.reserve(asked, 0.0)).measure is Measure.TPM
    limiter.settle(second, -1, 0.0)  # nobody uses less than nothing
    let_in(limiter.reserve(asked, 0.0))


def test_what_is_not_limited_is_not_counted() -> None:
    limiter = Limiter()
    for tokens in (1, 10**9):
        limiter.settle(let_in(limiter.reserve(demand(tokens=tokens), 0.0)), tokens, 0.0)
        limiter.settle(let_in(limiter.reserve(demand(limits(max_parallel=1), tokens=tokens), 0.0)), tokens, 0.0)


def test_a_limit_may_change_while_calls_are_under_way() -> None:
    limiter = Limiter()
    for _ in range(3):
        let_in(limiter.reserve(demand(limits(rpm=3)), 0.0))
    assert refused(limiter.reserve(demand(limits(rpm=2)), 0.0)).most == 2
    let_in(limiter.reserve(demand(limits(rpm=4)), 0.0))


# --- several limits -------------------------------------------------------------------------------------------------


def test_a_call_is_let_in_by_all_its_limits_or_uses_none_of_them() -> None:
    limiter = Limiter()
    wide, narrow = limits("wide", rpm=10, tpm=100, max_parallel=5), limits("narrow", rpm=1)
    let_in(limiter.reserve(demand(narrow), 0.0))
    for _ in range(20):
        assert refused(limiter.reserve(demand(wide, narrow, tokens=10), 0.0)).limits == narrow
    for _ in range(5):
        let_in(limiter.reserve(demand(wide, tokens=10), 0.0))


def test_of_several_refusals_the_one_that_holds_longest_is_told() -> None:
    limiter = Limiter()
    short, long = limits("short", rpm=1), limits("long", rpm=1)
    let_in(limiter.reserve(demand(short), 0.0))
    let_in(limiter.reserve(demand(long), 30.0))
    assert refused(limiter.reserve(demand(long, short), 31.0)).limits == long
    assert refused(limiter.reserve(demand(short, long), 31.0)).limits == long
    never = limits("never", tpm=1)
    assert refused(limiter.reserve(demand(long, never, tokens=2), 31.0)).limits == never


def test_a_demand_that_names_a_key_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="each key once"):
        demand(limits(rpm=1), limits(tpm=1))


# --- places ---------------------------------------------------------------------------------------------------------

ONE = demand(limits(max_parallel=1))


def test_a_place_is_held_until_the_call_is_closed() -> None:
    limiter = Limiter()
    first = let_in(limiter.reserve(ONE, 0.0))
    refusal = refused(limiter.reserve(ONE, 500.0))
    assert refusal.seconds == 1
    assert error_of(refusal).message == (
        "The limit of 1 call at once (max_parallel) of the model row a is reached; a place is free when one ends."
    )
    limiter.settle(first, 0, 500.0)
    let_in(limiter.reserve(ONE, 500.0))


def called_of(called: Called) -> list[tuple[str, type]]:
    return [(ticket.id, type(outcome)) for ticket, outcome in called]


def test_who_waits_is_called_in_the_order_of_coming() -> None:
    limiter = Limiter()
    running = let_in(limiter.stand_in_line(ONE, 0.0))
    line = [waits(limiter.stand_in_line(ONE, 0.0)) for _ in range(3)]
    for ticket in line:
        ((called, outcome),) = limiter.settle(running, 0, 1.0)
        assert called == ticket
        running = let_in(outcome)
    assert limiter.settle(running, 0, 1.0) == ()
    let_in(limiter.reserve(ONE, 1.0))


def test_nobody_passes_those_who_wait() -> None:
    limiter = Limiter()
    a, b = limits("a", max_parallel=1), limits("b", max_parallel=1)
    on_a = let_in(limiter.reserve(demand(a), 0.0))
    both = waits(limiter.stand_in_line(demand(b, a), 0.0))
    assert refused(limiter.reserve(demand(b), 0.0)).measure is Measure.MAX_PARALLEL  # free, but spoken for
    behind = waits(limiter.stand_in_line(demand(b), 0.0))
    ((first, outcome),) = limiter.settle(on_a, 0, 1.0)
    assert first == both
    ((second, _),) = limiter.settle(let_in(outcome), 0, 2.0)
    assert second == behind


def test_requests_and_tokens_are_charged_when_the_turn_comes_and_may_then_be_refused() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=2, max_parallel=1))
    running = let_in(limiter.stand_in_line(asked, 0.0))
    line = [waits(limiter.stand_in_line(asked, at)) for at in (1.0, 2.0, 3.0)]
    ((_, outcome),) = limiter.settle(running, 0, 59.0)
    called = limiter.settle(let_in(outcome), 0, 59.5)
    assert called_of(called) == [(line[1].id, Refusal), (line[2].id, Refusal)]
    assert refused(called[0][1]) == Refusal(limits=asked.limits[0], measure=Measure.RPM, most=2, asked=1, seconds=1)
    limiter.settle(let_in(limiter.reserve(asked, 60.0)), 0, 61.0)
    assert refused(limiter.reserve(asked, 118.0)).measure is Measure.RPM


def test_a_full_window_refuses_at_once_also_those_who_would_wait() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=1, max_parallel=1))
    let_in(limiter.reserve(asked, 0.0))
    assert refused(limiter.stand_in_line(asked, 0.0)).measure is Measure.RPM


def test_who_leaves_the_line_lets_the_others_move_up() -> None:
    limiter = Limiter()
    a, b = limits("a", max_parallel=1), limits("b", max_parallel=1)
    on_a = let_in(limiter.reserve(demand(a), 0.0))
    both = waits(limiter.stand_in_line(demand(a, b), 0.0))
    on_b = waits(limiter.stand_in_line(demand(b), 0.0))
    assert called_of(limiter.leave_line(both, 1.0)) == [(on_b.id, Reservation)]
    assert limiter.leave_line(both, 1.0) == ()
    assert limiter.settle(on_a, 0, 1.0) == ()


def test_who_leaves_after_having_been_called_gives_the_place_to_the_next() -> None:
    limiter = Limiter()
    running = let_in(limiter.reserve(ONE, 0.0))
    first, second = (waits(limiter.stand_in_line(ONE, 0.0)) for _ in range(2))
    assert called_of(limiter.settle(running, 0, 1.0)) == [(first.id, Reservation)]
    assert called_of(limiter.leave_line(first, 1.0)) == [(second.id, Reservation)]


# --- memory ---------------------------------------------------------------------------------------------------------


def test_a_window_takes_bounded_memory_at_any_rate() -> None:
    window, now = Window(), 0.0
    for _ in range(40_000):
        window.charge(1, now)
        now += 0.004
    assert len(window) <= 2 * 600 + 2
    assert window.used(now) >= 60 / 0.004  # more than there was, not less
    assert window.used(now) <= 60.2 / 0.004
    assert window.used(now + 61) == len(window) == 0


def test_what_was_refunded_takes_no_memory() -> None:
    limiter, asked = Limiter(), demand(limits(rpm=1, tpm=10), tokens=10)
    for at in range(50):
        limiter.refund(let_in(limiter.reserve(asked, float(at))), at + 0.5)
    assert len(limiter._uses["a"].requests) == len(limiter._uses["a"].tokens) == 0
    assert not limiter._open


def test_keys_that_nobody_uses_are_forgotten() -> None:
    limiter = Limiter()
    let_in(limiter.reserve(demand(limits("kept", max_parallel=1)), 0.0))
    for at in range(10_000):
        let_in(limiter.reserve(demand(limits(str(at), rpm=1)), float(at)))
    assert len(limiter._uses) <= 1024
    assert isinstance(limiter.reserve(demand(limits("kept", max_parallel=1)), 1e4), Refusal)


# --- properties -----------------------------------------------------------------------------------------------------


@attrs.define
class Naive:
    """The same promise, kept by adding up everything from the beginning."""

    requests: list[float] = attrs.field(factory=list)
    tokens: list[list[float]] = attrs.field(factory=list)

    def used(self, now: float) -> tuple[int, int]:
        recent = (int(amount) for at, amount in self.tokens if at + WINDOW > now)
        return sum(at + WINDOW > now for at in self.requests), sum(recent)


RPM, TPM = 4, 100
BOTH = limits(rpm=RPM, tpm=TPM)
_TOKENS = st.integers(0, TPM)
_STEPS = st.lists(
    st.tuples(st.just("wait"), st.floats(0, 70) | st.sampled_from([0.1, 59.9, 60.0]))
    | st.tuples(st.just("reserve"), _TOKENS)
    | st.tuples(st.just("settle"), st.integers(0, 2 * TPM))
    | st.tuples(st.just("refund"), st.just(0)),
    max_size=60,
)


@attrs.define
class Play:
    """Limiter and oracle side by side."""

    limiter: Limiter = attrs.field(factory=Limiter)
    naive: Naive = attrs.field(factory=Naive)
    running: list[tuple[Reservation, float, list[float]]] = attrs.field(factory=list)
    now: float = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def reserve(self, tokens: int) -> None:
        requests, used = self.naive.used(self.now)
        outcome = self.limiter.reserve(demand(BOTH, tokens=tokens), self.now)
        assert isinstance(outcome, Reservation) is (requests < RPM and used + tokens <= TPM)
        event(type(outcome).__name__)
        if isinstance(outcome, Reservation):
            charge = [self.now, tokens]
            self.naive.requests.append(self.now)
            self.naive.tokens.append(charge)
            self.running.append((outcome, self.now, charge))
        else:
            self.passes_then_and_no_second_earlier(tokens, outcome)

    def passes_then_and_no_second_earlier(self, tokens: int, refusal: Refusal) -> None:
        assert refusal.seconds is not None

        def fits(at: float) -> bool:
            requests, used = self.naive.used(at)
            return requests < RPM and used + tokens <= TPM

        assert refusal.seconds >= 1
        assert fits(self.now + refusal.seconds)
        assert not fits(self.now + refusal.seconds - 1)

    def settle(self, tokens: int) -> None:
        if self.running:
            reservation, _, charge = self.running.pop(0)
            self.limiter.settle(reservation, tokens, self.now)
            self.naive.tokens.append([self.now, max(0, tokens - charge[1])])
            charge[1] = min(tokens, charge[1])

    def refund(self, _: int) -> None:
        if self.running:
            reservation, at, charge = self.running.pop()
            self.limiter.refund(reservation, self.now)
            self.naive.requests.remove(at)
            charge[1] = 0


@given(_STEPS)
def test_a_call_is_let_in_exactly_when_all_of_the_last_minute_and_it_fit(steps: Sequence[tuple[str, Any]]) -> None:
    play = Play()
    for name, value in steps:
        getattr(play, name)(value)


def most_in_a_minute(charges: Sequence[tuple[float, int]]) -> int:
    return max((sum(n for at, n in charges if begin <= at < begin + WINDOW) for begin, _ in charges), default=0)


_WAITS = st.integers(0, 4) | st.sampled_from([26, 28, 29, 30, 31, 56, 58, 59, 60])


@given(st.lists(st.tuples(_WAITS, st.integers(1, 5)), max_size=80), st.integers(1, 8), st.integers(1, 5))
@example([(0, 5), (1, 5), (59, 5), (0, 5)], 1, 2)  # the second shares an entry that began before it
def test_no_minute_has_more_than_the_limit_however_coarse_the_window(
    steps: Sequence[tuple[int, int]], exact: int, resolution: int
) -> None:
    window, now = Window(exact=exact, resolution=resolution), 0.0
    let: list[tuple[float, int]] = []
    for wait, amount in steps:
        now += wait
        if window.used(now) + amount <= 10:
            window.charge(amount, now)
            let.append((now, amount))
        else:
            late = now - resolution
            assert sum(n for at, n in let if at + WINDOW > late) + amount > 10
    assert most_in_a_minute(let) <= 10
    assert len(window) <= exact + WINDOW / resolution + 2


PLACES = {"a": 1, "b": 2, "c": 1}
_KEYS = st.sampled_from("abc")
_LINE = st.lists(
    st.tuples(st.just("come"), st.sets(_KEYS, min_size=1).map(lambda keys: tuple(sorted(keys))))
    | st.tuples(st.sampled_from(["end", "leave"]), st.integers(0, 5)),
    max_size=60,
)


@attrs.define
class Line:
    """Those who run and those who wait, as their callers see it."""

    limiter: Limiter = attrs.field(factory=Limiter)
    running: dict[str, Reservation] = attrs.field(factory=dict)
    waiting: dict[str, Ticket] = attrs.field(factory=dict)

    def come(self, keys: tuple[str, ...]) -> None:
        asked = demand(*(limits(key, max_parallel=PLACES[key]) for key in keys))
        outcome = self.limiter.stand_in_line(asked, 0.0)
        if isinstance(outcome, Ticket):
            self.waiting[outcome.id] = outcome
        else:
            self.running[let_in(outcome).id] = let_in(outcome)

    def end(self, which: int) -> None:
        if self.running:
            self.called(self.limiter.settle(self.running.pop(list(self.running)[which % len(self.running)]), 0, 0.0))

    def leave(self, which: int) -> None:
        if self.waiting:
            ticket = self.waiting.pop(list(self.waiting)[which % len(self.waiting)])
            self.called(self.limiter.leave_line(ticket, 0.0))

    def called(self, called: Called) -> None:
        for ticket, outcome in called:
            before = [other for other in self.waiting.values() if int(other.id) < int(ticket.id)]
            assert not any(set(other.demand.limits) & set(ticket.demand.limits) for other in before)
            del self.waiting[ticket.id]
            self.running[ticket.id] = let_in(outcome)

    def in_use(self, key: str) -> int:
        return sum(key in {one.key for one in held.demand.limits} for held in self.running.values())


@given(_LINE)
def test_a_line_is_never_overtaken_overfilled_or_stuck_and_loses_no_place(steps: Sequence[tuple[str, Any]]) -> None:
    line = Line()
    for name, value in steps:
        getattr(line, name)(value)
        assert all(line.in_use(key) <= most for key, most in PLACES.items())
        longest = next(iter(line.waiting.values()), None)
        if longest is not None:
            assert any(line.in_use(one.key) == PLACES[one.key] for one in longest.demand.limits)
    while line.running:
        line.end(0)
    assert not line.waiting


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_row_without_limits_has_none_and_one_with_them_is_named() -> None:
    assert limits_of(row("gpt-5", "openai")) is None
    one = limits_of(row("gpt-5", "openai", rpm=60, max_parallel=2))
    assert one is not None
    assert one.title == "model row gpt-5 at openai"
    assert (one.rpm, one.tpm, one.max_parallel) == (60, None, 2)
    assert limits_of(row("gpt-5", "openai", tpm=1)) is not None


_NAMES = st.text(alphabet='a" ,[]\\\ud800', max_size=4)


@given(st.tuples(_NAMES, _NAMES, _NAMES), st.tuples(_NAMES, _NAMES, _NAMES))
def test_two_rows_share_a_key_only_if_they_say_the_same(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    keys = [limits_of(row(name, provider, model=model, rpm=1)) for name, provider, model in (one, other)]
    assert keys[0] is not None
    assert keys[1] is not None
    assert (keys[0].key == keys[1].key) is (one == other)
    assert json.loads(keys[0].key) == ["model row", *one]
