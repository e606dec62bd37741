"""What a caller may come back to: in memory, for its owner alone, for a while, and never more than so much."""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from typing import Final, Generic, TypeVar

import attrs
import trio

T = TypeVar("T")

MAX_OF_OWNER: Final = 64 * 2**20
MAX_OF_ALL: Final = 256 * 2**20
EACH: Final = 512
"""Bytes that the smallest thing takes with its handle and its place here. Not counted, a million of them were free."""


def new_handle() -> str:
    """One that nobody can guess: 144 bits of the system's randomness."""
    return secrets.token_urlsafe(18)


@attrs.frozen
class _Kept(Generic[T]):
    owner: str
    value: T
    size: int
    until: float


class Shelf(Generic[T]):
    """`seconds`: how long something stays after it was last put or taken.

    Sizes are whatever the user of it counts, and `each` is what a thing costs beyond its own.
    """

    def __init__(
        self, seconds: float, *, max_of_owner: int = MAX_OF_OWNER, max_of_all: int = MAX_OF_ALL, each: int = EACH
    ) -> None:
        self._seconds = seconds
        self._each = each
        self._max_of_owner = max_of_owner
        self._max_of_all = max_of_all
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()  # the one that was used last is at the end
        self._of: dict[str, OrderedDict[str, None]] = {}  # the handles of each owner, in the same order
        self._sizes: Counter[str] = Counter()
        self._size = 0  # of all: nobody adds them up, however many owners there are

    def put(self, owner: str, value: T, size: int, handle: str | None = None) -> str | None:
        """A handle that nobody can guess, or the given one with a new value; None for what is too large to be kept.

        The owner's oldest make way, and then the oldest of all.
        """
        handle = handle or new_handle()
        self._drop(handle)
        size += self._each
        if size > min(self._max_of_owner, self._max_of_all):
            return None
        self._kept[handle] = _Kept(owner, value, size, trio.current_time() + self._seconds)
        self._of.setdefault(owner, OrderedDict())[handle] = None
        self._sizes[owner] += size
        self._size += size
        self._make_way(owner)
        return handle

    def get(self, owner: str, handle: str) -> T | None:
        """None where there is no such handle, or not for this owner: nobody learns which."""
        kept = self._kept.get(handle)
        if kept is None or kept.owner != owner or kept.until <= trio.current_time():
            return None
        self._kept[handle] = attrs.evolve(kept, until=trio.current_time() + self._seconds)
        self._kept.move_to_end(handle)
        self._of[owner].move_to_end(handle)
        return kept.value

    def _make_way(self, owner: str) -> None:
        now = trio.current_time()
        while self._kept and next(iter(self._kept.values())).until <= now:  # what was used first expires first
            self._drop(next(iter(self._kept)))
        while self._sizes[owner] > self._max_of_owner:
            self._drop(next(iter(self._of[owner])))
        while self._size > self._max_of_all:
            self._drop(next(iter(self._kept)))

    def _drop(self, handle: str) -> None:
        kept = self._kept.pop(handle, None)
        if kept is None:
            return
        self._size -= kept.size
        self._sizes[kept.owner] -= kept.size
        del self._of[kept.owner][handle]
        if not self._of[kept.owner]:
            del self._of[kept.owner], self._sizes[kept.owner]
