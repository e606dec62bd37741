"""What is in use, and who may go on: the arithmetic of limits over sliding windows, places and budgets."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from openai_gateway.routing.limits import (
    Called,
    Demand,
    Left,
    Limits,
    Measure,
    Outcome,
    Period,
    Refusal,
    Reservation,
    Ticket,
    Used,
    hardest,
)
from openai_gateway.routing.window import Window

_IDLE_KEYS: Final = 1024  # kept before those without any use are looked for
_DAY: Final = 86_400  # seconds; Unix time has no leap seconds
_PERIODS: Final = 2  # of a key's budget that are remembered: the current one, and the one whose calls are ending


def period_of(wall: float, period: Period) -> str:
    """The day or the month of UTC, as its budget is kept under."""
    return _period_of_day(int(wall // _DAY), period)


@functools.lru_cache(maxsize=4)  # each call asks for it twice, and a date takes longer to write than to reserve
def _period_of_day(day: int, period: Period) -> str:
    return datetime.fromtimestamp(day * _DAY, UTC).strftime("%Y-%m-%d" if period == "day" else "%Y-%m")


def seconds_left(wall: float, period: Period) -> int:
    """Whole seconds, at least 1, until it is over."""
    now = datetime.fromtimestamp(wall, UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    end = day + timedelta(days=1) if period == "day" else (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return max(1, -(-(end - now) // timedelta(seconds=1)))


@attrs.define
class Spending:
    """Nanodollars of one budget in one period: what calls in work may still cost, and what those that ended did."""

    reserved: int = 0
    spent: int = 0


@attrs.frozen(kw_only=True)
class Held:
    """What one reservation holds of one key: the charges it stands for, None where there is no such limit."""

    key: str
    request: float | None
    tokens: float | None
    asked: int
    has_place: bool
    money: int | None
    period: str


@attrs.define
class Use:
    """What is in use of one key. `line` holds those who wait for a place, first come first."""

    requests: Window = attrs.field(factory=Window)
    tokens: Window = attrs.field(factory=Window)
    running: int = 0
    spending: dict[str, Spending] = attrs.field(factory=dict)
    line: OrderedDict[str, Ticket] = attrs.field(factory=OrderedDict)

    def is_idle(self, now: float) -> bool:
        return not (self.running or self.line or self.spending or self.requests.used(now) or self.tokens.used(now))

    def refusals(self, limits: Limits, demand: Demand, now: float, wall: float, *, first: bool) -> Iterator[Refusal]:
        """Each limit that is met. `first`: the one at the head of the line asks; all others stand behind it."""
        rpm = None if demand.is_more else limits.rpm
        windows = ((Measure.RPM, rpm, self.requests, 1), (Measure.TPM, limits.tpm, self.tokens, demand.tokens))
        for measure, most, window, asked in windows:
            if most is not None and (excess := window.used(now) + asked - most) > 0:
                seconds = None if asked > most else window.frees_in(excess, now)
                yield Refusal(limits=limits, measure=measure, most=most, asked=asked, seconds=seconds)
        most = None if demand.is_more else limits.max_parallel
        if most is not None and (self.running >= most or (self.line and not first)):
            seconds = 1 if most else None
            yield Refusal(limits=limits, measure=Measure.MAX_PARALLEL, most=most, asked=1, seconds=seconds)
        most = limits.budget
        if most is not None and self.against(limits, wall) + demand.money > most:
            seconds = None if demand.money > most else seconds_left(wall, limits.period)
            yield Refusal(limits=limits, measure=Measure.BUDGET, most=most, asked=demand.money, seconds=seconds)

    def against(self, limits: Limits, wall: float) -> int:
        """What counts against the budget now: what is spent, and what calls in work may still cost."""
        found = self.spending.get(period_of(wall, limits.period))
        return 0 if found is None else found.reserved + found.spent

    def take(self, limits: Limits, demand: Demand, now: float, wall: float) -> Held:
        has_place = limits.max_parallel is not None and not demand.is_more
        self.running += has_place
        held = Held(
            key=limits.key,
            request=None if limits.rpm is None or demand.is_more else self.requests.charge(1, now),
            tokens=None if limits.tpm is None else self.tokens.charge(demand.tokens, now),
            asked=demand.tokens,
            has_place=has_place,
            money=None if limits.budget is None else demand.money,
            period="" if limits.budget is None else period_of(wall, limits.period),
        )
        if held.money is not None:
            self._spending(held.period).reserved += held.money
        return held

    def give_back(self, held: Held, used: Used | None, now: float) -> None:
        """Free the place, and let what was used take the place of what was reserved; None: nothing was."""
        self.running -= held.has_place
        if held.request is not None and used is None:
            self.requests.change(held.request, -1, now)
        if held.tokens is not None:
            self.tokens.change(held.tokens, (0 if used is None else used.tokens) - held.asked, now)
        if held.money is not None:
            spending = self._spending(held.period)
            spending.reserved -= held.money
            spending.spent += 0 if used is None else used.money

    def left(self, limits: Limits, now: float) -> Iterator[Left]:
        """How the windows stand."""
        for measure, most, window in (
            (Measure.RPM, limits.rpm, self.requests),
            (Measure.TPM, limits.tpm, self.tokens),
        ):
            if most is not None:
                left = max(0, most - window.used(now))
                yield Left(key=limits.key, measure=measure, most=most, left=left, seconds=window.empties_in(now))

    def _spending(self, period: str) -> Spending:
        found = self.spending.get(period)
        if found is None:
            found = self.spending[period] = Spending()
            for old in sorted(self.spending)[:-_PERIODS]:
                if not self.spending[old].reserved and old != period:
                    del self.spending[old]
        return found


@attrs.define
class Limiter:
    """All that is in use, by key; `now` is in seconds and never goes back, `wall` is Unix time, for budgets.

    A call is let in by all of its limits or by none, and a refused one uses nothing. Requests and tokens belong to the
    moment at which the call was let in, as providers count them; tokens beyond what was reserved are charged in full at
    the moment they became known, and the window then refuses until they fit.
    """

    _uses: dict[str, Use] = attrs.field(factory=dict, init=False)
    _open: dict[str, tuple[Held, ...]] = attrs.field(factory=dict, init=False)
    _count: int = attrs.field(default=0, init=False)
    _sweep_at: int = attrs.field(default=_IDLE_KEYS, init=False)

    def reserve(self, demand: Demand, now: float, *, wall: float = 0.0, id: str = "") -> Outcome:  # noqa: A002
        """Let the call in, or say which limit it meets. `id` is the reservation's, if it is not to be a new one."""
        self._sweep(now)
        refusals = self._refusals(demand, now, wall)
        return hardest(refusals) if refusals else self._let_in(id or self._next_id(), demand, now, wall)

    def stand_in_line(self, demand: Demand, now: float, *, wall: float = 0.0) -> Outcome | Ticket:
        """As `reserve`; where nothing but a place is missing the call waits for its turn."""
        outcome = self.reserve(demand, now, wall=wall)
        if not _is_worth_waiting(outcome):
            return outcome
        ticket = Ticket(id=self._next_id(), demand=demand)
        for line in self._lines(ticket):
            line[ticket.id] = ticket
        return ticket

    def leave_line(self, ticket: Ticket, now: float, *, wall: float = 0.0) -> Called:
        """The ticket is no longer wanted. If it was called in the meantime, the next in line gets what it held."""
        for line in self._lines(ticket):
            line.pop(ticket.id, None)
        called = self._call_next(ticket.demand, now, wall)
        return called + self.refund(Reservation(id=ticket.id, demand=ticket.demand), now, wall=wall)

    def settle(self, reservation: Reservation, tokens: int, now: float, *, money: int = 0, wall: float = 0.0) -> Called:
        """The call is over and used so much. A reservation that is closed already stays as it is."""
        return self._close(reservation, Used(tokens=max(0, tokens), money=money), now, wall)

    def refund(self, reservation: Reservation, now: float, *, wall: float = 0.0) -> Called:
        """The call never reached its upstream: it is as if it had not been. Once only, as `settle`."""
        return self._close(reservation, None, now, wall)

    def _close(self, reservation: Reservation, used: Used | None, now: float, wall: float) -> Called:
        for held in (all_held := self._open.pop(reservation.id, ())):
            self._use(held.key).give_back(held, used, now)
        return self._call_next(reservation.demand, now, wall) if all_held else ()

    def _refusals(self, demand: Demand, now: float, wall: float, *, first: bool = False) -> list[Refusal]:
        return [
            refusal
            for limits in demand.limits
            for refusal in self._use(limits.key).refusals(limits, demand, now, wall, first=first)
        ]

    def _let_in(self, id_: str, demand: Demand, now: float, wall: float) -> Reservation:
        held = tuple(self._use(limits.key).take(limits, demand, now, wall) for limits in demand.limits)
        if held:
            self._open[id_] = held
        left = tuple(one for limits in demand.limits for one in self._use(limits.key).left(limits, now))
        return Reservation(id=id_, demand=demand, left=left)

    def _call_next(self, demand: Demand, now: float, wall: float) -> Called:
        """Those in the lines of `demand` who can go now, and whoever can go because they left other lines."""
        called: list[tuple[Ticket, Outcome]] = []
        keys = [limits.key for limits in demand.limits]
        while keys:
            line = self._use(keys[-1]).line
            ticket = next(iter(line.values()), None)
            outcome = None if ticket is None else self._turn(ticket, now, wall)
            if ticket is None or outcome is None:
                keys.pop()
                continue
            called.append((ticket, outcome))
            keys += [limits.key for limits in ticket.demand.limits if limits.key not in keys]
        return tuple(called)

    def _turn(self, ticket: Ticket, now: float, wall: float) -> Outcome | None:
        """What the ticket becomes, taken out of its lines; None while it must wait.

        All its lines have it in the same order among the others, so that the one who waits longest is the first in each
        of its lines and no two can wait for each other.
        """
        lines = self._lines(ticket)
        if any(next(iter(line)) != ticket.id for line in lines):
            return None
        refusals = self._refusals(ticket.demand, now, wall, first=True)
        if any(map(_is_worth_waiting, refusals)):  # whatever else is refused now may have passed by then
            return None
        for line in lines:
            del line[ticket.id]
        return hardest(refusals) if refusals else self._let_in(ticket.id, ticket.demand, now, wall)

    def _lines(self, ticket: Ticket) -> list[OrderedDict[str, Ticket]]:
        limited = (limits for limits in ticket.demand.limits if limits.max_parallel is not None)
        return [self._use(limits.key).line for limits in limited]

    def _use(self, key: str) -> Use:
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = Use()
        return use

    def _next_id(self) -> str:
        self._count += 1
        return str(self._count)

    def _sweep(self, now: float) -> None:
        """Forget keys without any use. As the bound doubles with what is left, a call pays for a step or two."""
        if len(self._uses) >= self._sweep_at:
            self._uses = {key: use for key, use in self._uses.items() if not use.is_idle(now)}
            self._sweep_at = max(_IDLE_KEYS, 2 * len(self._uses))


def _is_worth_waiting(outcome: Outcome) -> bool:
    return isinstance(outcome, Refusal) and outcome.measure is Measure.MAX_PARALLEL and outcome.seconds is not None
