"""RATE_LIMIT: how many calls that can spend money the whole server takes in a minute."""

from __future__ import annotations

import attrs
import trio

from openai_gateway import GatewayError, Kind
from openai_gateway.routing.window import Window


@attrs.define(eq=False)
class RateLimit:
    """One for the server. `most` calls within any minute, 0 for no limit."""

    most: int
    _window: Window = attrs.field(factory=Window, init=False)

    def admit(self) -> None:
        """Count one call. Raises GatewayError where it would be too many; such a call is not counted."""
        if not self.most:
            return
        now = trio.current_time()
        excess = self._window.used(now) + 1 - self.most
        if excess > 0:
            raise _refusal(self.most, self._window.frees_in(excess, now))
        self._window.charge(1, now)


def _refusal(most: int, seconds: int) -> GatewayError:
    calls = "tool call" if most == 1 else "tool calls"
    message = f"The limit of {most:,} {calls} a minute (RATE_LIMIT) of this MCP server is reached"
    return GatewayError(
        kind=Kind.RATE_LIMITED,
        message=f"{message}; it frees up in {seconds} s.",
        hint="Wait that long and call again, or have RATE_LIMIT raised (0: no limit).",
        retry_after=seconds,
        is_own=True,
    )
