"""The ledger's rows: one a call, what it used and cost, never what was asked or answered."""

from __future__ import annotations

import operator
from typing import Final

import attrs

from openai_gateway.routing.accounts import Account, Outcome
from openai_gateway.routing.money import NANO

_LEFT: Final = 499  # what nginx writes for a client that went away before its answer was whole


@attrs.frozen(kw_only=True)
class Row:
    """One call. `id` is its request id, `key` the id of the virtual key ("" for none), `money` is in nanodollars.

    `at` is Unix time in milliseconds, at the call's end; a store that has a clock of its own writes that. `status` is
    the HTTP status that its caller got, 499 for one who left. Times are in milliseconds, `first_byte` None where
    nothing came. `target` is the last that was asked.
    """

    id: str
    at: int = 0
    key: str = ""
    endpoint: str
    model: str
    target: str = ""
    status: int
    error: str = ""
    attempts: int = 0
    input: int = 0
    output: int = 0
    cached_input: int = 0
    reasoning: int = 0
    estimated: bool = False
    cached: bool = False
    money: int = 0
    elapsed: int = 0
    first_byte: int | None = None


def row_of(account: Account, *, id: str, at: int, money: int) -> Row:  # noqa: A002 - the field's name
    """The row of an account. `money` is what its attempts cost, counted by whoever knows their prices."""
    usage, error = account.usage, account.error
    status = 200 if account.outcome is Outcome.ANSWERED else _LEFT if error is None else error.status
    return Row(
        id=id,
        at=at,
        key=account.tenant or "",
        endpoint=account.endpoint,
        model=account.model,
        target=account.asked[-1] if account.asked else "",
        status=status,
        error="" if error is None else error.code or error.type,
        attempts=len(account.asked),
        input=0 if usage is None else usage.input,
        output=0 if usage is None else usage.output,
        cached_input=0 if usage is None else usage.cached_input,
        reasoning=0 if usage is None else usage.reasoning,
        estimated=usage is not None and usage.estimated,
        cached=account.cached,
        money=money,
        elapsed=round(account.elapsed * 1000),
        first_byte=None if account.first_byte is None else round(account.first_byte * 1000),
    )


@attrs.frozen(kw_only=True)
class Sum:
    """What the calls of one day, model or key come to. `name` is the day (2026-11-26, UTC), the model or the key's id.

    `calls` counts all rows, `failed` those of status 400 and more but not 499, `money` is in nanodollars.
    """

    name: str
    calls: int
    failed: int
    input: int
    output: int
    cached_input: int
    reasoning: int
    money: int


SUMMED: Final = tuple(field.name for field in attrs.fields(Sum) if field.name != "name")
"""What a `Sum` sums."""


_COUNTED: Final = operator.attrgetter(*SUMMED[2:])


def summed(row: Row) -> tuple[int, ...]:
    """What a row adds to the sums that it is part of, in the order of SUMMED."""
    return (1, int(row.status >= 400 and row.status != _LEFT), *_COUNTED(row))


def dollars(money: int) -> float:
    """For people to read; nothing is counted with it."""
    return money / NANO
