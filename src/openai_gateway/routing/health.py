"""Which targets are thought to work; the seam for the circuit breakers."""

from __future__ import annotations

from typing import Protocol

import attrs


class Health(Protocol):
    """What the plan asks. A target that is not allowed goes to the end of the plan; it is never left out."""

    def allows(self, target_name: str, now: float) -> bool:
        """Whether `target_name` (`Target.name`) may be tried like any other at `now` (seconds, trio's clock)."""
        ...


@attrs.frozen
class AlwaysHealthy:
    """Every breaker closed."""

    def allows(self, target_name: str, now: float) -> bool:  # noqa: ARG002 - the names are the interface
        return True
