"""How much of a thing may be used: reserve → settle → refund, as arithmetic over sliding windows and places."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.plan import ModelRow
from openai_gateway.routing.window import Window
from openai_gateway.wire.strict import dumps

_IDLE_KEYS: Final = 1024  # kept before those without any use are looked for


class Measure(enum.Enum):
    """What is counted."""

    key: str
    """Its name in the configuration."""
    noun: str
    """What there is one of, in words."""
    per: str
    """Within what."""

    def __init__(self, key: str, noun: str, per: str) -> None:
        self.key = key
        self.noun = noun
        self.per = per

    RPM = ("rpm", "request", "a minute")
    TPM = ("tpm", "token", "a minute")
    MAX_PARALLEL = ("max_parallel", "call", "at once")
    BUDGET = ("budget", "nanodollar", "a period")


Period = Literal["day", "month"]


@attrs.frozen(kw_only=True)
class Limits:
    """What one thing may use; None is no limit. `key` tells it from all others, `title` names it to people.

    What has been used is counted by `key` alone, so that a limit may change while calls are under way. `budget` is in
    nanodollars a `period`, which is a day or a month of UTC by the store's clock.
    """

    key: str
    title: str
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    budget: int | None = None
    period: Period = "month"


@attrs.frozen(kw_only=True)
class Demand:
    """One call: all the limits it falls under, each key once; upper bounds of the tokens and nanodollars it may use.

    `is_more`: it belongs to a call that was let in already and needs more than it reserved, so it is no request of its
    own (rpm) and takes no place (max_parallel).
    """

    limits: tuple[Limits, ...] = attrs.field()
    tokens: int = 0
    money: int = 0
    is_more: bool = False

    @limits.validator
    def _each_key_once(self, _attribute: object, limits: tuple[Limits, ...]) -> None:
        if len({one.key for one in limits}) != len(limits):
            raise ValueError("a demand names each key once")


@attrs.frozen(kw_only=True)
class Left:
    """What is left of a limit just after a call was let in by it; `seconds`, at least 0, until all of it is there."""

    key: str
    measure: Measure
    most: int
    left: int
    seconds: int


@attrs.frozen(kw_only=True)
class Reservation:
    """A call that was let in; its `id` is the store's, and is good for one settle or refund.

    `left` says how the windows and budgets of its limits stand, for whoever asks; it takes no part in settling.
    """

    id: str
    demand: Demand
    left: tuple[Left, ...] = attrs.field(default=(), eq=False)


@attrs.frozen(kw_only=True)
class Closing:
    """How one reservation of a call ends: with what it used, or, `used` None, as if it had not been."""

    reservation: Reservation
    used: Used | None


@attrs.frozen(kw_only=True)
class Used:
    """What a call used: tokens, and nanodollars."""

    tokens: int
    money: int = 0


@attrs.frozen(kw_only=True)
class Ticket:
    """A place in the line for a place. The reservation it becomes has the same id."""

    id: str
    demand: Demand


@attrs.frozen(kw_only=True)
class Refusal:
    """Which limit a call met, `most` what it allows and `asked` what the call wanted of it.

    `seconds`, at least 1, is when the call could pass if nobody else came; of a place, which nobody can tell, it is 1.
    None: never, the call is larger than the limit itself.
    """

    limits: Limits
    measure: Measure
    most: int
    asked: int
    seconds: int | None


Outcome = Reservation | Refusal
Called = tuple[tuple[Ticket, Outcome], ...]
"""Whose turn came in the line, and what became of it."""


@attrs.define
class _Use:
    """What is in use of one key. `line` holds those who wait for a place, first come first."""

    requests: Window = attrs.field(factory=Window)
    tokens: Window = attrs.field(factory=Window)
    running: int = 0
    line: OrderedDict[str, Ticket] = attrs.field(factory=OrderedDict)

    def is_idle(self, now: float) -> bool:
        return not (self.running or self.line or self.requests.used(now) or self.tokens.used(now))

    def refusals(self, limits: Limits, tokens: int, now: float, *, first: bool) -> Iterator[Refusal]:
        """Each limit that is met. `first`: the one at the head of the line asks; all others stand behind it."""
        windows = ((Measure.RPM, limits.rpm, self.requests, 1), (Measure.TPM, limits.tpm, self.tokens, tokens))
        for measure, most, window, asked in windows:
            if most is not None and (excess := window.used(now) + asked - most) > 0:
                seconds = None if asked > most else window.frees_in(excess, now)
                yield Refusal(limits=limits, measure=measure, most=most, asked=asked, seconds=seconds)
        most = limits.max_parallel
        if most is not None and (self.running >= most or (self.line and not first)):
            seconds = 1 if most else None
            yield Refusal(limits=limits, measure=Measure.MAX_PARALLEL, most=most, asked=1, seconds=seconds)

    def take(self, limits: Limits, tokens: int, now: float) -> _Held:
        self.running += limits.max_parallel is not None
        return _Held(
            limits=limits,
            request=None if limits.rpm is None else self.requests.charge(1, now),
            tokens=None if limits.tpm is None else self.tokens.charge(tokens, now),
        )

    def give_back(self, held: _Held, now: float, *, requests: int, tokens: int) -> None:
        """Free the place, and correct the charges by these differences."""
        self.running -= held.limits.max_parallel is not None
        if held.request is not None:
            self.requests.change(held.request, requests, now)
        if held.tokens is not None:
            self.tokens.change(held.tokens, tokens, now)


@attrs.frozen(kw_only=True)
class _Held:
    """What one reservation holds of one key: the charges it stands for, None where there is no such limit."""

    limits: Limits
    request: float | None
    tokens: float | None


@attrs.define
class Limiter:
    """All that is in use, by key; `now` is in seconds and never goes back.

    A call is let in by all of its limits or by none, and a refused one uses nothing. Requests and tokens belong to the
    moment at which the call was let in, as providers count them; tokens beyond what was reserved are charged in full at
    the moment they became known, and the window then refuses until they fit.
    """

    _uses: dict[str, _Use] = attrs.field(factory=dict, init=False)
    _open: dict[str, tuple[_Held, ...]] = attrs.field(factory=dict, init=False)
    _count: int = attrs.field(default=0, init=False)
    _sweep_at: int = attrs.field(default=_IDLE_KEYS, init=False)

    def reserve(self, demand: Demand, now: float) -> Outcome:
        """Let the call in, or say which limit it meets."""
        self._sweep(now)
        refusals = self._refusals(demand, now)
        return hardest(refusals) if refusals else self._let_in(self._next_id(), demand, now)

    def stand_in_line(self, demand: Demand, now: float) -> Outcome | Ticket:
        """As `reserve`; where nothing but a place is missing the call waits for its turn."""
        outcome = self.reserve(demand, now)
        if not _is_worth_waiting(outcome):
            return outcome
        ticket = Ticket(id=self._next_id(), demand=demand)
        for line in self._lines(ticket):
            line[ticket.id] = ticket
        return ticket

    def leave_line(self, ticket: Ticket, now: float) -> Called:
        """The ticket is no longer wanted. If it was called in the meantime, the next in line gets what it held."""
        for line in self._lines(ticket):
            line.pop(ticket.id, None)
        called = self._call_next(ticket.demand, now)
        return called + self.refund(Reservation(id=ticket.id, demand=ticket.demand), now)

    def settle(self, reservation: Reservation, tokens: int, now: float) -> Called:
        """The call is over and used so many tokens. A reservation that is closed already stays as it is."""
        return self._close(reservation, now, requests=0, tokens=max(0, tokens) - reservation.demand.tokens)

    def refund(self, reservation: Reservation, now: float) -> Called:
        """The call never reached its upstream: it is as if it had not been. Once only, as `settle`."""
        return self._close(reservation, now, requests=-1, tokens=-reservation.demand.tokens)

    def _close(self, reservation: Reservation, now: float, *, requests: int, tokens: int) -> Called:
        for held in (all_held := self._open.pop(reservation.id, ())):
            self._use(held.limits.key).give_back(held, now, requests=requests, tokens=tokens)
        return self._call_next(reservation.demand, now) if all_held else ()

    def _refusals(self, demand: Demand, now: float, *, first: bool = False) -> list[Refusal]:
        return [
            refusal
            for limits in demand.limits
            for refusal in self._use(limits.key).refusals(limits, demand.tokens, now, first=first)
        ]

    def _let_in(self, id_: str, demand: Demand, now: float) -> Reservation:
        held = tuple(self._use(limits.key).take(limits, demand.tokens, now) for limits in demand.limits)
        if held:
            self._open[id_] = held
        return Reservation(id=id_, demand=demand)

    def _call_next(self, demand: Demand, now: float) -> Called:
        """Those in the lines of `demand` who can go now, and whoever can go because they left other lines."""
        called: list[tuple[Ticket, Outcome]] = []
        keys = [limits.key for limits in demand.limits]
        while keys:
            line = self._use(keys[-1]).line
            ticket = next(iter(line.values()), None)
            outcome = None if ticket is None else self._turn(ticket, now)
            if ticket is None or outcome is None:
                keys.pop()
                continue
            called.append((ticket, outcome))
            keys += [limits.key for limits in ticket.demand.limits if limits.key not in keys]
        return tuple(called)

    def _turn(self, ticket: Ticket, now: float) -> Outcome | None:
        """What the ticket becomes, taken out of its lines; None while it must wait.

        All its lines have it in the same order among the others, so that the one who waits longest is the first in each
        of its lines and no two can wait for each other.
        """
        lines = self._lines(ticket)
        if any(next(iter(line)) != ticket.id for line in lines):
            return None
        refusals = self._refusals(ticket.demand, now, first=True)
        if any(map(_is_worth_waiting, refusals)):  # whatever else is refused now may have passed by then
            return None
        for line in lines:
            del line[ticket.id]
        return hardest(refusals) if refusals else self._let_in(ticket.id, ticket.demand, now)

    def _lines(self, ticket: Ticket) -> list[OrderedDict[str, Ticket]]:
        limited = (limits for limits in ticket.demand.limits if limits.max_parallel is not None)
        return [self._use(limits.key).line for limits in limited]

    def _use(self, key: str) -> _Use:
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use()
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


def hardest(refusals: Sequence[Refusal]) -> Refusal:
    """The one that a refused call hears of: what never lets it pass, else what lasts longest."""
    return max(refusals, key=_how_long)


def _how_long(refusal: Refusal) -> tuple[bool, bool, int]:
    """The order of refusals: places, then windows by their time, then what can never pass."""
    return refusal.seconds is None, refusal.measure is not Measure.MAX_PARALLEL, refusal.seconds or 0


def limits_of(row: ModelRow) -> Limits | None:
    """The limits of a `[[models]]` row, None where it has none. Rows that say the same thing share what they use."""
    if row.rpm is None and row.tpm is None and row.max_parallel is None:
        return None
    return Limits(
        key=dumps(["model row", row.name, row.provider, row.model]).decode(),  # no two rows write the same
        title=f"model row {row.name} at {row.provider}",
        rpm=row.rpm,
        tpm=row.tpm,
        max_parallel=row.max_parallel,
    )


def error_of(refusal: Refusal) -> GatewayError:
    """The error of a refused call: it names the limit, and the seconds to wait where waiting helps."""
    measure, limits = refusal.measure, refusal.limits
    if measure is Measure.BUDGET:
        return _budget_error(refusal)
    nouns = measure.noun if refusal.most == 1 else f"{measure.noun}s"
    limit = f"The limit of {refusal.most:,} {nouns} {measure.per} ({measure.key}) of the {limits.title}"
    if refusal.seconds is None:
        message = f"{limit} can never let this call in, which asks for up to {refusal.asked:,}."
        return _rate_limited(message, hint="Ask for less (a lower max_tokens, a shorter prompt), or raise the limit.")
    if measure is Measure.MAX_PARALLEL:
        return _rate_limited(f"{limit} is reached; a place is free when one ends.", refusal.seconds)
    return _rate_limited(f"{limit} is reached; it frees up in {refusal.seconds} s.", refusal.seconds)


def _budget_error(refusal: Refusal) -> GatewayError:
    limits = refusal.limits
    budget = f"The budget of {_dollars(refusal.most)} a {limits.period} of the {limits.title}"
    if refusal.seconds is None:
        message = f"{budget} can never pay for this call, which may cost up to {_dollars(refusal.asked)}."
        hint = "Ask for less (a lower max_tokens, a shorter prompt), or have the budget raised."
    else:
        message = f"{budget} is spent, or kept for calls that are in work; it begins anew in {refusal.seconds:,} s."
        hint = "Have the budget raised, or wait."
    return GatewayError(kind=Kind.QUOTA, message=message, hint=hint, retry_after=refusal.seconds, is_own=True)


def _dollars(money: int) -> str:
    """To the cent, and of less as much as says anything."""
    dollars = money / 10**9
    return f"${dollars:,.2f}" if dollars >= 0.01 or not money else f"${dollars:.2g}"


def _rate_limited(message: str, seconds: int | None = None, hint: str = "") -> GatewayError:
    return GatewayError(kind=Kind.RATE_LIMITED, message=message, hint=hint, retry_after=seconds, is_own=True)
