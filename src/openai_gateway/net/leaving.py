"""How a server stops: asked by a signal, with what is in work brought to its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterable, Callable
from typing import Final

import trio

from openai_gateway.net.listener import HttpServer

_LAST_LOOK: Final = 0.2  # seconds
_LOG: Final = logging.getLogger("openai_gateway")


LEAVING: Final = (signal.SIGTERM, signal.SIGINT)
"""What ends a server. Open a receiver of these before anybody is told that it serves: without one they kill it."""


async def watch_signals(
    drain: trio.Event,
    leave: Callable[[int], object],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """For the rest of the process; it has started once a signal would be heard."""
    with trio.open_signal_receiver(*LEAVING) as signals:
        task_status.started()
        await leave_at(signals, drain, leave)


async def leave_at(signals: AsyncIterable[int], drain: trio.Event, leave: Callable[[int], object]) -> None:
    """The first signal asks to drain, the second ends the process."""
    async for signum in signals:
        if drain.is_set():
            leave(128 + signum)
        _LOG.info("Asked to stop: no new calls are taken, those in work may end.")
        drain.set()


async def drained(server: HttpServer, seconds: float) -> None:
    """What is in work may end, within the grace."""
    server.drain()
    with trio.move_on_after(seconds) as grace:
        await server.until_idle()
        server.turn_deaf()
        await trio.sleep(_LAST_LOOK)  # whoever is in the kernel's line is told, not reset
        await server.until_idle()
    if grace.cancelled_caught:
        _LOG.warning("The grace of %g s is over; %d call(s) are cut.", seconds, server.exchanges)
