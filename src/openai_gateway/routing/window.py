"""What was used within the last minute."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from itertools import accumulate
from typing import Final

import attrs

WINDOW: Final = 60.0  # seconds: the minute of rpm and tpm
EXACT: Final = 600
"""Charges that a window tells apart, so that a limit up to this is kept to the moment and a larger one in bounded
memory."""
RESOLUTION: Final = 0.1  # seconds


@attrs.define
class _Charge:
    until: float
    amount: int


@attrs.define
class Window:
    """What was used within the last 60 s, each charge at its moment. `now` is in seconds and never goes back.

    A charge of the moment t counts until t + 60, so that no half-open interval of 60 s holds more than what was let in.
    Past `exact` entries those that begin within `resolution` seconds share one, and count as long as the last of them
    does: too long by so much at most, never too short.
    """

    exact: int = EXACT
    resolution: float = RESOLUTION
    _charges: OrderedDict[float, _Charge] = attrs.field(factory=OrderedDict, init=False)
    _used: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._charges)

    def used(self, now: float) -> int:
        """The sum of what counts at `now`."""
        while self._charges:
            began = next(iter(self._charges))
            if self._charges[began].until > now:
                break
            self._used -= self._charges.pop(began).amount
        return self._used

    def charge(self, amount: int, now: float) -> float:
        """Count `amount` (0 or more) from `now` on; what comes back stands for it in `change`."""
        self.used(now)
        if not amount:
            return now
        began = next(reversed(self._charges), -math.inf)
        if now - began > (self.resolution if len(self._charges) >= self.exact else 0):
            began = now
            self._charges[began] = _Charge(until=now, amount=0)
        charge = self._charges[began]
        charge.until = now + WINDOW
        charge.amount += amount
        self._used += amount
        return began

    def change(self, began: float, difference: int, now: float) -> None:
        """Correct a charge: what is taken off no longer counts, what is added counts from `now`, when it was found."""
        self.used(now)
        if difference >= 0:
            self.charge(difference, now)
        elif (charge := self._charges.get(began)) is not None:  # else its minute is over
            charge.amount += difference
            self._used += difference
            if not charge.amount:
                del self._charges[began]

    def empties_in(self, now: float) -> int:
        """Whole seconds until nothing counts any more."""
        last = next(reversed(self._charges.values()), None)
        return 0 if last is None else max(0, math.ceil(last.until - now))

    def pack(self) -> bytes:
        """All charges, for `unpack`, in the machine's own doubles: whole numbers up to 2^53 are exact."""
        flat = [number for began, one in self._charges.items() for number in (began, one.until, one.amount)]
        return array("d", flat).tobytes()

    @classmethod
    def unpack(cls, data: bytes, *, exact: int = EXACT, resolution: float = RESOLUTION) -> Window:
        """What `pack` made."""
        window, flat = cls(exact=exact, resolution=resolution), array("d", data)
        for began, until, amount in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            window._charges[began] = _Charge(until=until, amount=int(amount))
        window._used = sum(one.amount for one in window._charges.values())
        return window

    def frees_in(self, amount: int, now: float) -> int:
        """Whole seconds, at least 1, until so much of what counts now counts no more; `amount` is at most all of it."""
        charges = self._charges.values()
        freed = accumulate(charge.amount for charge in charges)
        until = next(charge.until for charge, so_far in zip(charges, freed, strict=True) if so_far >= amount)
        seconds = max(1, math.floor(until - now))
        return seconds + (now + seconds < until)  # so, and not by ceil: the difference may be rounded either way
