"""The connections to one origin: how many there may be, and who gets the next one."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs
import trio

from openai_gateway.net.connection import Connection, Watch

_MARGIN: Final = 1.0
"""Seconds by which a connection is given up before its server said it would: one way, and the server's own timer."""


@attrs.frozen(kw_only=True)
class Limits:
    """Of one origin. `connections` at once, `idle` of them kept, each for `keep_idle` seconds at most."""

    connections: int = 256
    idle: int = 64
    keep_idle: float = 55.0  # load balancers close theirs after 60 (AWS), 75 (nginx) or more; a server may say less


@attrs.define(eq=False)
class Pool:
    """Places for connections. Whoever takes one gives it back, by `keep` or `drop`, whatever happens.

    A place is handed to those who wait in their order, and a waiter that is cancelled takes none: both are promises of
    trio's semaphore. While someone waits there is no idle connection (all places are taken), so that nothing is ever
    searched: taking and giving back cost the same however many connections there are.
    """

    limits: Limits
    _places: trio.Semaphore = attrs.field(init=False)
    _idle: deque[tuple[Connection, float]] = attrs.field(factory=deque, init=False)  # with the end of its time
    _busy: set[Connection] = attrs.field(factory=set, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @_places.default
    def _all_free(self) -> trio.Semaphore:
        return trio.Semaphore(self.limits.connections, max_value=self.limits.connections)

    @property
    def free(self) -> int:
        """How many more connections may be taken now."""
        return self._places.value

    @property
    def idle(self) -> int:
        """How many connections wait for their next use."""
        return len(self._idle)

    async def take(self, watch: Watch, *, fresh: bool = False) -> Connection | None:
        """A place, and with it the connection that was used last, or None where one has to be opened.

        `fresh`: a kept connection has just proved dead, and so will those that are as old: they are closed. Raises
        trio.ClosedResourceError after `aclose`.
        """
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            watch.connecting()
            await self._places.acquire()
        try:
            if self._closed:
                raise trio.ClosedResourceError("the connections were closed while a place was waited for")
            if fresh:
                await self._close_idle()
            return await self._last_alive()
        except BaseException:
            self._places.release()
            raise

    def hold(self, connection: Connection) -> None:
        """A connection was opened for the place."""
        self._busy.add(connection)

    async def keep(self, connection: Connection) -> None:
        """Give the place back, and the connection with it if it can be used again."""
        if self._closed or not connection.renew():
            await self.drop(connection)
            return
        self._busy.discard(connection)
        limit = math.inf if connection.idle_limit is None else connection.idle_limit - _MARGIN
        self._idle.append((connection, trio.current_time() + min(self.limits.keep_idle, limit)))
        self._places.release()
        while len(self._idle) > self.limits.idle or self._idle[0][1] <= trio.current_time():
            await self._idle.popleft()[0].aclose()
            if not self._idle:
                break

    async def drop(self, connection: Connection | None) -> None:
        """Give the place back; the connection is closed first, so that there are never more than are allowed."""
        try:
            if connection is not None:
                self._busy.discard(connection)
                await connection.aclose()
        finally:
            self._places.release()

    async def aclose(self) -> None:
        """Close all, those in use as well."""
        self._closed = True
        await self._close_idle()
        for connection in tuple(self._busy):
            await connection.aclose()

    async def _last_alive(self) -> Connection | None:
        while self._idle:
            connection, until = self._idle.pop()
            self._busy.add(connection)
            if await self._is_alive(connection, until):
                return connection
            self._busy.discard(connection)
            await connection.aclose()
        return None

    async def _is_alive(self, connection: Connection, until: float) -> bool:
        if trio.current_time() >= until:
            return False
        try:
            return not await connection.has_input()
        except BaseException:
            self._busy.discard(connection)
            await connection.aclose()
            raise

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.popleft()[0].aclose()
