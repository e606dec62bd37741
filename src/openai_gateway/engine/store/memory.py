"""The store of one process: limits in memory, on trio's clock."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs
import trio

from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limiter import Limiter
from openai_gateway.routing.limits import Called, Closing, Demand, Outcome, Reservation, Ticket


@attrs.define(eq=False)
class MemoryStore:
    """A `Store` that ends with its process. Only waiting in line awaits: between its steps no other task comes in."""

    _limiter: Limiter = attrs.field(factory=Limiter, init=False)
    _called: dict[str, trio.Event] = attrs.field(factory=dict, init=False)
    _outcomes: dict[str, Outcome] = attrs.field(factory=dict, init=False)

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Outcome:
        await trio.lowlevel.checkpoint_if_cancelled()  # before it, so that no reservation is lost behind it
        if not wait:
            return self._limiter.reserve(demand, trio.current_time(), wall=time.time())
        outcome = self._limiter.stand_in_line(demand, trio.current_time(), wall=time.time())
        return await self._turn_of(outcome) if isinstance(outcome, Ticket) else outcome

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        now, wall = trio.current_time(), time.time()
        self._call(self._limiter.settle(reservation, tokens, now, money=money, wall=wall))

    async def refund(self, reservation: Reservation) -> None:
        self._call(self._limiter.refund(reservation, trio.current_time(), wall=time.time()))

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        """Nothing outlives this process: the row is not kept."""
        del row
        for closing in closings:
            if closing.used is None:
                await self.refund(closing.reservation)
            else:
                await self.settle(closing.reservation, closing.used.tokens, closing.used.money)

    async def _turn_of(self, ticket: Ticket) -> Outcome:
        called = self._called[ticket.id] = trio.Event()
        try:
            await called.wait()
            return self._outcomes[ticket.id]
        except BaseException:
            self._call(self._limiter.leave_line(ticket, trio.current_time(), wall=time.time()))
            raise
        finally:
            del self._called[ticket.id]
            self._outcomes.pop(ticket.id, None)

    def _call(self, called: Called) -> None:
        for ticket, outcome in called:
            self._outcomes[ticket.id] = outcome
            self._called[ticket.id].set()
