"""What one call owes the limits of its caller: reserved before each attempt, closed once, with the call's row."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from openai_gateway.engine.store import Store
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Closing, Demand, Left, Limits, Refusal, Reservation, Used, error_of

_CLOSES_IN: Final = 5.0
"""Seconds that a store may take to hear of the end of a call; after them its lease settles the matter."""

_NOTHING: Final = Used(tokens=0)
_LOG: Final = logging.getLogger(__name__)


@attrs.define(eq=False)
class Tab:
    """The account of one call with its caller's limits.

    Before each attempt at least what was owed so far and the most that the attempt may use is reserved, so that no
    limit is ever overdrawn. `owes` is told as it becomes known, the last word on an attempt counts.
    """

    _store: Store
    _limits: Limits | None
    _reserved: list[Reservation] = attrs.field(factory=list, init=False)
    _past: Used = attrs.field(default=_NOTHING, init=False)
    _now: Used | Callable[[], Used] = attrs.field(default=_NOTHING, init=False)
    _was_sent: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @property
    def has_limits(self) -> bool:
        return self._limits is not None

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def left(self) -> tuple[Left, ...]:
        """How the limits stood when the call was let in."""
        return self._reserved[0].left if self._reserved else ()

    @property
    def total(self) -> Used:
        """What is owed for all attempts so far."""
        if not isinstance(self._now, Used):
            self._now = self._now()
        if self._past is _NOTHING:
            return self._now
        return Used(tokens=self._past.tokens + self._now.tokens, money=self._past.money + self._now.money)

    async def cover(self, most: Used) -> None:
        """Reserve what the next attempt may use at most. Raises GatewayError where a limit does not allow it."""
        self._past, self._now = self.total, _NOTHING
        if self._limits is None:
            return
        tokens, money = self._past.tokens + most.tokens, self._past.money + most.money
        for one in self._reserved:
            tokens, money = tokens - one.demand.tokens, money - one.demand.money
        is_more = bool(self._reserved)
        if is_more and tokens <= 0 and money <= 0:
            return
        demand = Demand(limits=(self._limits,), tokens=max(0, tokens), money=max(0, money), is_more=is_more)
        outcome = await self._store.reserve(demand)
        if isinstance(outcome, Refusal):
            raise error_of(outcome)
        self._reserved.append(outcome)

    def owes(self, tokens: int, money: int) -> None:
        """What the attempt under way is to be charged with, as far as is known now."""
        self._was_sent = True
        self._now = Used(tokens=tokens, money=money)

    def owes_uncounted(self, count: Callable[[], Used]) -> None:
        """The same, of what is counted only if no later word comes: to count a prompt takes a look at all of it."""
        self._was_sent = True
        self._now = count

    async def close(self, row: Row | None) -> None:
        """The call is over: settle, and write its row. Once; whoever is cancelled meanwhile still has it done.

        Raises GatewayError where the store cannot be asked: then nobody knows that the call was made.
        """
        if self._closed:
            return
        self._closed = True
        if row is None and not self._reserved:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSES_IN) as scope:
            await self._store.conclude(self._closings(), row)
        if scope.cancelled_caught:
            raise GatewayError(kind=Kind.STORE, message="The call could not be recorded in time.", retry_after=1)

    async def close_quietly(self, row: Row | None) -> None:
        """As `close`, for a call that has its error already; the log says what else went wrong."""
        try:
            await self.close(row)
        except GatewayError as error:
            _LOG.error("A call that failed could not be recorded: %s", error)

    def _closings(self) -> tuple[Closing, ...]:
        if not self._was_sent:
            return tuple(Closing(reservation=one, used=None) for one in self._reserved)
        total = self.total
        tokens, money = total.tokens, total.money
        closings: list[Closing] = []
        for one in self._reserved:
            is_last = one is self._reserved[-1]  # it takes what nobody had expected
            used = Used(
                tokens=tokens if is_last else min(tokens, one.demand.tokens),
                money=money if is_last else min(money, one.demand.money),
            )
            tokens, money = tokens - used.tokens, money - used.money
            closings.append(Closing(reservation=one, used=used))
        return tuple(closings)
