"""The four clocks of one attempt: connect, first byte, idle, total; each runs out as its own cause.

The clocks run on trio's, whatever the transport: a cancel scope stands around each single wait for it (never across a
yield to the caller), and the scope's deadline is that of the clock which runs at the moment. Which one that is, the
transport tells: ours as to any Watch (`net/connection.py`), httpx's by httpcore's `trace` extension. One that tells
nothing is taken as connected from the start, so that only first byte, idle and total run: that is right for everything
that answers from memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import attrs
import trio

from openai_gateway.routing.attempts import Cause

_CONNECTING: Final = (".connect_tcp.started", ".connect_unix_socket.started", ".start_tls.started")
_SENDING: Final = ".send_request_headers.started"


class Broke(Exception):
    """An exchange with an upstream ended badly: why, and what is known about it (not yet redacted)."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.detail = detail


@attrs.define(kw_only=True)
class Clocks:
    """Durations in seconds; `deadline` (the total clock) is a moment of trio's clock.

    What the transport told: `sent`, that the request is going out; `reused`, that its connection has served before;
    `answered`, that the answer has begun.
    """

    connect: float
    first_byte: float
    idle: float
    deadline: float = math.inf
    sent: bool = attrs.field(default=False, init=False)
    reused: bool = attrs.field(default=False, init=False)
    answered: bool = attrs.field(default=False, init=False)
    _connected_anew: bool = attrs.field(default=False, init=False)
    _began: float = attrs.field(factory=trio.current_time, init=False)
    _cause: Cause = attrs.field(default=Cause.FIRST_BYTE_CLOCK, init=False)
    _ends: float = attrs.field(init=False)
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    @_ends.default
    def _first_end(self) -> float:
        return self._began + self.first_byte

    def connecting(self) -> None:
        """The connect clock runs, from the beginning: a place in the pool, DNS, TCP and TLS are all connecting."""
        self._run(Cause.CONNECT_CLOCK, self._began + self.connect)

    def sending(self, *, reused: bool) -> None:
        """The first-byte clock runs, from now."""
        self.sent, self.reused = True, reused
        self._run(Cause.FIRST_BYTE_CLOCK, trio.current_time() + self.first_byte)

    def answering(self) -> None:
        """Something came: what is sent again now might be done twice."""
        self.answered = True

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """The same in httpcore's words. It says nothing of an answer before its head is whole."""
        if event.endswith(_CONNECTING):
            self._connected_anew = True
            self.connecting()
        elif event.endswith(_SENDING) and not _is_for_proxy(info):
            self.sending(reused=not self._connected_anew)

    def content_came(self) -> None:
        """The first byte that counts is here: from now on only the time between bytes is measured."""
        self._run(Cause.IDLE_CLOCK, math.inf)

    def wait(self) -> Self:
        """Around one await on the transport, and nothing else. Raises Broke when a clock runs out during it."""
        return self

    # Not by a generator: each piece of an answer has its wait, and a generator's block takes as long as the scope's own
    # work. The scope is entered and left by hand for that, here alone, and by nobody but a `with`.
    def __enter__(self) -> None:
        if self._cause is Cause.IDLE_CLOCK:  # between two waits the caller has the time: a slow reader is not idle
            self._ends = trio.current_time() + self.idle
        self._scope = trio.CancelScope(deadline=self._end())
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._scope is not None  # noqa: S101 - it was entered
        scope, self._scope = self._scope, None
        is_caught = scope.__exit__(kind, error, traceback)
        if scope.cancelled_caught:
            raise self._ran_out()
        return is_caught

    def _run(self, cause: Cause, ends: float) -> None:
        self._cause, self._ends = cause, ends
        if self._scope is not None:
            self._scope.deadline = self._end()

    def _end(self) -> float:
        return min(self._ends, self.deadline)

    def _ran_out(self) -> Broke:
        if self.deadline <= self._ends:
            return Broke(Cause.TOTAL_CLOCK)
        return Broke(self._cause, f"after {self._seconds[self._cause]:g} s")

    @property
    def _seconds(self) -> dict[Cause, float]:
        return {
            Cause.CONNECT_CLOCK: self.connect,
            Cause.FIRST_BYTE_CLOCK: self.first_byte,
            Cause.IDLE_CLOCK: self.idle,
        }


def _is_for_proxy(info: Mapping[str, Any]) -> bool:
    """Whether the request being sent is the CONNECT to a proxy, which is still part of connecting."""
    return getattr(info.get("request"), "method", b"") == b"CONNECT"
