"""How much of a thing may be used: reserve → settle → refund, as arithmetic over sliding windows and places."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Literal

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.plan import ModelRow
from openai_gateway.wire.strict import dumps


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
        if len(limits) > 1 and len({one.key for one in limits}) != len(limits):
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
