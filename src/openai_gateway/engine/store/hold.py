"""A reservation that cannot be lost: it is closed whatever becomes of its call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from openai_gateway.engine.store import Store
from openai_gateway.routing.limits import Demand, Refusal, Reservation, error_of

_CLOSES_IN: Final = 5.0
"""Seconds that a store may take to hear of an end that nobody waits for; after them its lease settles the matter."""


@attrs.define(eq=False)
class Hold:
    """What became of one reservation, told as it happens; `aclose` passes it on.

    Nothing told: the call never reached the upstream, and is not charged. Sent: it is charged with all it reserved, and
    once it is known with what it `used`.
    """

    _store: Store
    _reservation: Reservation
    _tokens: int | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def sent(self) -> None:
        """The request may have reached the upstream."""
        self._tokens = self._reservation.demand.tokens if self._tokens is None else self._tokens

    def used(self, tokens: int) -> None:
        """The upstream counted so many tokens; of a stream cut short, those that came."""
        self._tokens = tokens

    async def aclose(self) -> None:
        """Settle or refund, once, also for a call that is cancelled."""
        if self._closed:
            return
        self._closed = True
        with trio.move_on_after(_CLOSES_IN, shield=True):
            if self._tokens is None:
                await self._store.refund(self._reservation)
            else:
                await self._store.settle(self._reservation, self._tokens)


async def take(store: Store, demand: Demand, *, wait: bool = False) -> Hold:
    """Reserve, for a caller whose end is not that of a block; it must `aclose`. Raises GatewayError for a refusal."""
    outcome = await store.reserve(demand, wait=wait)
    if isinstance(outcome, Refusal):
        raise error_of(outcome)
    return Hold(store, outcome)


@asynccontextmanager
async def holding(store: Store, demand: Demand, *, wait: bool = False) -> AsyncIterator[Hold]:
    """A reservation for the length of a block. Raises GatewayError for a refusal."""
    hold = await take(store, demand, wait=wait)
    try:
        yield hold
    finally:
        await hold.aclose()
