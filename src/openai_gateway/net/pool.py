"""The connections to one origin: how many there may be, and who gets the next one."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs
import trio

from openai_gateway.net.connection import Connection, Gone, Watch

_MARGIN: Final = 1.0
"""Seconds by which a connection is given up before its server said it would: one way, and the server's own timer."""


@attrs.frozen(kw_only=True)
class Limits:
    """Of one origin. `connections` at once, `idle` of them kept, each for `keep_idle` seconds at most.

    There are as many connections as calls at once, and those are bounded where they come in (MAX_IN_FLIGHT, the
    listener's connections): this bound is the listener's, so that no call waits here for another to end.
    """

    connections: int = 10_000
    idle: int = 64
    keep_idle: float = 55.0  # load balancers close theirs after 60 (AWS), 75 (nginx) or more; a server may say less


@attrs.define(eq=False)
class Pool:
    """Hands out places for connections, and the idle connections with them.

    A place goes to those who wait in their order, and a waiter that is cancelled takes none: both are promises of
    trio's semaphore. While someone waits there is no idle connection (all places are taken), so that nothing is ever
    searched: taking and giving back cost the same however many connections there are.
    """

    limits: Limits
    _places: trio.Semaphore = attrs.field(init=False)
    _idle: deque[tuple[Connection, float]] = attrs.field(factory=deque, init=False)  # with the end of its time
    _taken: set[Place] = attrs.field(factory=set, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @_places.default
    def _all_free(self) -> trio.Semaphore:
        return trio.Semaphore(self.limits.connections, max_value=self.limits.connections)

    @property
    def free(self) -> int:
        """How many more places may be taken now."""
        return self._places.value

    @property
    def idle(self) -> int:
        """How many connections wait for their next use."""
        return len(self._idle)

    async def take(self, watch: Watch, *, fresh: bool = False) -> Place:
        """A place, and in it the connection that was used last, or none where one has to be opened.

        `fresh`: a kept connection has just proved dead, and so will those that are as old: they are closed. Raises
        Gone after `aclose`.
        """
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            watch.connecting()
            await self._places.acquire()
        place = Place(self)
        self._taken.add(place)
        try:
            self.refuse_if_closed()
            if fresh:
                await self._close_idle()
            await self._fill(place)
        except BaseException:
            await place.aclose()
            raise
        return place

    async def aclose(self) -> None:
        """Close all connections, those in use as well; whoever waits for a place is told so."""
        self._closed = True
        await self._close_idle()
        for place in tuple(self._taken):
            if place.connection is not None:
                await place.connection.aclose()

    def refuse_if_closed(self) -> None:
        """After each wait that this pool may have been closed in. Raises Gone."""
        if self._closed:
            raise Gone("the connections were closed meanwhile")

    def give_back(self, place: Place) -> None:
        """For the place itself."""
        self._taken.discard(place)
        self._places.release()

    def keep(self, connection: Connection) -> bool:
        """Whether the connection is kept for another use, after an exchange that ended well. For its place."""
        if self._closed or not connection.renew():
            return False
        limit = math.inf if connection.idle_limit is None else connection.idle_limit - _MARGIN
        self._idle.append((connection, trio.current_time() + min(self.limits.keep_idle, limit)))
        return True

    async def trim(self) -> None:
        """Close those that were idle for too long, and the oldest of too many."""
        while self._idle and (len(self._idle) > self.limits.idle or self._idle[0][1] <= trio.current_time()):
            await self._idle.popleft()[0].aclose()

    async def _fill(self, place: Place) -> None:
        while self._idle:
            place.connection, until = self._idle.pop()
            if trio.current_time() < until and not await place.connection.has_input():
                return
            await place.connection.aclose()
            place.connection = None

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.popleft()[0].aclose()


@attrs.define(eq=False)
class Place:
    """One of a pool's places. Whoever took it closes it or keeps its connection, whatever happens."""

    _pool: Pool
    connection: Connection | None = attrs.field(default=None, init=False)
    _given_back: bool = attrs.field(default=False, init=False)

    async def keep(self) -> None:
        """Give the place back and the connection with it, for another use if that is possible."""
        if self.connection is not None and self._pool.keep(self.connection):
            self.connection = None
        await self.aclose()
        await self._pool.trim()

    async def aclose(self) -> None:
        """Give the place back; its connection is closed first, at once, so that there are never more than allowed."""
        if self._given_back:
            return
        self._given_back = True
        try:
            if self.connection is not None:
                await self.connection.aclose()
        finally:
            self._pool.give_back(self)
