"""What calls share beyond one configuration snapshot: limits and budgets, and for a service its keys and its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import attrs

from openai_gateway.routing.ledger import Row, Sum
from openai_gateway.routing.limits import Closing, Demand, Limits, Refusal, Reservation
from openai_gateway.routing.virtual_keys import VirtualKey

__all__ = ["By", "Owned", "Records", "ServiceStore", "Store"]

By = Literal["day", "model", "key"]


class Store(Protocol):
    """Where limits are kept. `hold.holding` is the way to use one.

    All that passes is made of texts and whole numbers, so that it can be kept outside this process; no moment does,
    because a store that several processes share counts by its own clock. Such a store is opened by an `async with`, in
    which it renews the leases of what its process has reserved: nobody who reserves needs to know.
    """

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Reservation | Refusal:
        """Let a call in by all its limits at once, or by none.

        With `wait` a call that lacks nothing but a place (max_parallel) stands in line for it; requests and tokens are
        charged when its turn comes, and may then be refused. Whoever is cancelled has reserved nothing.
        Raises GatewayError where the store itself cannot be asked: a limit that nobody checks lets nobody through.
        """
        ...

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        """The call is over and used so many tokens and nanodollars. The first settle or refund of a reservation counts,
        no other."""
        ...

    async def refund(self, reservation: Reservation) -> None:
        """The call never reached its upstream: nothing is charged."""
        ...

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        """The end of a call: close its reservations and write its row of the ledger, all or nothing, for good.

        When it returns, the row outlives this process. A store without a ledger closes the reservations.
        Raises GatewayError where the store cannot be asked; then neither is done.
        """
        ...


@attrs.frozen(kw_only=True)
class Owned:
    """A file or a batch at a provider, and the key that made it. `kind` is "file" or "batch", `made` Unix seconds."""

    id: str
    kind: str
    key: str
    provider: str
    made: int


class Records(Protocol):
    """What a service keeps beside the limits. Each method raises GatewayError where the store cannot be asked."""

    async def check(self) -> None:
        """Whether it can be asked now: for readiness."""
        ...

    async def key_of(self, digest: str) -> VirtualKey | None:
        """The key with this digest, revoked and expired ones too."""
        ...

    async def keys(self) -> tuple[VirtualKey, ...]:
        """All keys, oldest first, revoked and expired ones too."""
        ...

    async def put_key(self, key: VirtualKey) -> None:
        """Create it, or put it in the place of the one with its id."""
        ...

    async def spent(self, limits: Sequence[Limits]) -> Mapping[str, int]:
        """Nanodollars that count against each budget in its current period, by the limits' key; reserved ones too."""
        ...

    async def rows(self, *, since: int, until: int, limit: int, key: str | None = None) -> tuple[Row, ...]:
        """The newest rows from `since` (included) to `until` (not), Unix milliseconds; newest first."""
        ...

    async def sums(self, by: By, *, since: int, until: int, key: str | None = None) -> tuple[Sum, ...]:
        """The same, summed, sorted by name."""
        ...

    async def own(self, owned: Owned) -> None:
        """Note who made a thing; the first word on an id stands."""
        ...

    async def owner_of(self, kind: str, id: str) -> Owned | None: ...  # noqa: A002 - the field's name

    async def owned(self, kind: str, key: str | None) -> tuple[Owned, ...]:
        """What a key made, or with None everybody, newest first."""
        ...

    async def disown(self, kind: str, id: str) -> None: ...  # noqa: A002 - the field's name

    async def prune(self, *, before: int, most: int) -> int:
        """Drop rows of the ledger older than `before` (Unix milliseconds) and those past the `most` newest; how many.

        What budgets have spent is kept apart, and not forgotten with them.
        """
        ...


class ServiceStore(Store, Records, Protocol):
    """What a service needs: both in one."""
