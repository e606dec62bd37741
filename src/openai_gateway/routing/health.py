"""Which targets are thought to work: a circuit breaker for each, pure, with every moment handed in."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import attrs

from openai_gateway.routing.settings import MAX_REST, Breaking

PROBE_LEASE: Final = 60.0
"""Seconds after which a probe that nobody reported on is taken for lost, so that the next may be made."""


class Health(Protocol):
    """What the plan asks. A target that is not allowed goes to the end of the plan; it is never left out."""

    def allows(self, target_name: str, now: float) -> bool:
        """Whether `target_name` (`Target.name`) may be tried like any other at `now` (seconds, trio's clock)."""
        ...


class BreakerState(enum.Enum):
    """CLOSED: calls pass. OPEN: the target rests. HALF_OPEN: its rest is over, and one call is to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@attrs.define
class _Breaker:
    rules: Breaking
    in_a_row: int = 0
    outcomes: deque[tuple[float, bool]] = attrs.field(factory=deque)
    failed: int = 0  # of the outcomes
    trips: int = 0
    open_until: float | None = None
    probe_until: float = 0.0
    rests_until: float = 0.0

    def state(self, now: float) -> BreakerState:
        if self.open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    def allows(self, now: float) -> bool:
        if now < self.rests_until:
            return False
        state = self.state(now)
        return state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and now >= self.probe_until)

    def began(self, now: float) -> bool:
        # One that comes as a last resort while another probes is none: it must not lengthen or end the other's lease.
        is_probe = self.state(now) is BreakerState.HALF_OPEN and now >= self.probe_until
        if is_probe:
            self.probe_until = now + PROBE_LEASE
        return is_probe

    def report(self, now: float, *, worked: bool) -> None:
        state = self.state(now)
        if state is BreakerState.OPEN:
            return  # of a call that began before, or of a last resort: the probe is to tell
        if state is BreakerState.HALF_OPEN:
            self._close() if worked else self._open(now)
            return
        self._remember(now, worked)
        if self._is_broken():
            self._open(now)

    def _remember(self, now: float, worked: bool) -> None:  # noqa: FBT001 - the outcome itself
        self.in_a_row = 0 if worked else self.in_a_row + 1
        self.outcomes.append((now, worked))
        self.failed += not worked
        while self.outcomes[0][0] <= now - self.rules.window or len(self.outcomes) > _MAX_OUTCOMES:
            self.failed -= not self.outcomes.popleft()[1]

    def _is_broken(self) -> bool:
        too_many = len(self.outcomes) >= self.rules.least and self.failed >= self.rules.rate * len(self.outcomes)
        return self.in_a_row >= self.rules.failures or too_many

    def _open(self, now: float) -> None:
        self.open_until = now + min(MAX_REST, self.rules.rest * 2.0**self.trips)
        self.probe_until = 0.0
        self.trips = min(self.trips + 1, 16)  # far past MAX_REST; a power of a larger number would overflow one day

    def _close(self) -> None:
        self.in_a_row, self.trips, self.open_until = 0, 0, None
        self.failed = 0
        self.outcomes.clear()  # what was before the outage says nothing about the time after it


_MAX_OUTCOMES: Final = 1_000
"""Enough to tell a share; a busy target must not keep its whole window."""


class Breakers:
    """The breakers of one configuration snapshot, by target name; it answers the plan and hears every outcome."""

    def __init__(self, rules: Breaking | None = None) -> None:
        self._rules = rules or Breaking()
        self._breakers: dict[str, _Breaker] = {}

    def allows(self, target_name: str, now: float) -> bool:
        """Whether the target may be tried like any other; in the half-open state that is so for one call at a time."""
        breaker = self._breakers.get(target_name)
        return breaker is None or breaker.allows(now)

    def began(self, target_name: str, now: float) -> bool:
        """An attempt begins; whether it is the probe of a half-open target, which `unknown` is to be told of."""
        breaker = self._breakers.get(target_name)
        return breaker is not None and breaker.began(now)

    def worked(self, target_name: str, now: float) -> None:
        """It answered, if only to refuse this very request."""
        if (breaker := self._breakers.get(target_name)) is not None:
            breaker.report(now, worked=True)

    def failed(self, target_name: str, now: float) -> None:
        """It did not answer as a server does that is well."""
        self._of(target_name).report(now, worked=False)

    def rest(self, target_name: str, until: float, now: float) -> None:
        """It asked to be left alone (429 with Retry-After): not broken, but better asked last, at most for MAX_REST.

        As an answer it ends an outage. Of several such words the longest holds.
        """
        breaker = self._of(target_name)
        breaker.report(now, worked=True)
        breaker.rests_until = max(breaker.rests_until, min(until, now + MAX_REST))

    def unknown(self, target_name: str) -> None:
        """The probe was given up by us: it says nothing, and may be made again."""
        if (breaker := self._breakers.get(target_name)) is not None:
            breaker.probe_until = 0.0

    def states(self, target_names: Iterable[str], now: float) -> Mapping[str, BreakerState]:
        """The state of each of the targets, for people."""
        found = ((name, self._breakers.get(name)) for name in target_names)
        return {name: BreakerState.CLOSED if one is None else one.state(now) for name, one in found}

    def _of(self, target_name: str) -> _Breaker:
        # A wildcard row makes a target of any name a caller thinks of, so only those that failed have a breaker, and
        # the oldest makes room for the next.
        if target_name not in self._breakers and len(self._breakers) >= _MAX_BREAKERS:
            del self._breakers[next(iter(self._breakers))]
        return self._breakers.setdefault(target_name, _Breaker(self._rules))


_MAX_BREAKERS: Final = 10_000
