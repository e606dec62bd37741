"""For an operator who would rather answer without limits than not at all: on_store_failure = "allow"."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from openai_gateway.engine.store import Store
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Closing, Demand, Outcome, Reservation, Used
from openai_gateway.routing.service_settings import ServiceSettings

__all__ = ["LenientStore", "as_told"]

_LOG: Final = logging.getLogger(__name__)
_SAY_EVERY: Final = 60.0  # seconds
_UNLIMITED: Final = ""
"""The id of what was let through without asking. No store gives out such a one."""


def as_told(store: Store, settings: ServiceSettings) -> Store:
    """The store, as strict as the operator wants it."""
    return LenientStore(store) if settings.lenient else store


@attrs.define(eq=False)
class LenientStore:
    """A `Store` that lets calls through while the one beneath it cannot be asked, and says so once a minute.

    What ends meanwhile is told later, as far as the store beneath keeps it for that.
    """

    _store: Store
    _says_next: float = attrs.field(default=-_SAY_EVERY, init=False)

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Outcome:
        try:
            return await self._store.reserve(demand, wait=wait)
        except GatewayError as error:
            self._let_through(error)
            return Reservation(id=_UNLIMITED, demand=demand)

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        await self.conclude([Closing(reservation=reservation, used=Used(tokens=tokens, money=money))], None)

    async def refund(self, reservation: Reservation) -> None:
        await self.conclude([Closing(reservation=reservation, used=None)], None)

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        limited = [closing for closing in closings if closing.reservation.id != _UNLIMITED]
        if not limited and row is None:
            return
        try:
            await self._store.conclude(limited, row)
        except GatewayError as error:
            self._let_through(error)

    def _let_through(self, error: GatewayError) -> None:
        if error.kind is not Kind.STORE:
            raise error
        if trio.current_time() >= self._says_next:
            self._says_next = trio.current_time() + _SAY_EVERY
            _LOG.error("Calls are let through without any limit: %s", error)
