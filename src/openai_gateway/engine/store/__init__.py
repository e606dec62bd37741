"""What calls share beyond one configuration snapshot; so far the limits, and where they are kept."""

from __future__ import annotations

from typing import Protocol

from openai_gateway.routing.limits import Demand, Refusal, Reservation

__all__ = ["Store"]


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

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """The call is over and used so many tokens. The first settle or refund of a reservation counts, no other."""
        ...

    async def refund(self, reservation: Reservation) -> None:
        """The call never reached its upstream: nothing is charged."""
        ...
