"""One call of a conversation, whatever it travels on: its handler, its reports, and what becomes of what it raises."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import trio

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import Call, Level, Remark, Work
from openai_gateway_mcp.protocol.model import Result, Task

# "Receivers SHOULD implement rate limiting" (MCP, progress): seconds between two reports of one call.
PROGRESS_INTERVAL: Final = 0.5

_Error = TypeVar("_Error", bound=Exception)


class Reporter(Protocol):
    """A handler's way to say how far it is. `wanted`: the client asked; if not, reports cost nothing and go nowhere."""

    @property
    def wanted(self) -> bool: ...

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report a value that has grown; others, and what comes too fast after the last one, are dropped."""
        ...

    def task(self, task: Task) -> None:
        """Tell what became of a task that is watched."""
        ...


Handler = Callable[[Work, Reporter], Awaitable[Result]]
"""Answers one call. Raises Fault or ResourceNotFound for a JSON-RPC error; any other exception is our own failure."""


class Outlet(Protocol):
    """Where a connection's messages leave."""

    @property
    def is_full(self) -> bool:
        """Whether the peer does not read what is sent."""
        ...

    def flush(self) -> None:
        """Send what the connection has to send."""
        ...


async def answer(  # noqa: ASYNC910 - a checkpoint of ours would cost each call a turn of the loop
    connection: Connection,
    work: Work,
    handler: Handler,
    *,
    scope: trio.CancelScope,
    outlet: Outlet,
    remark: Callable[[Remark], None],
) -> None:
    """The pump around a handler: whatever it raises becomes an answer, and nothing of it leaves."""
    reporter = _CallReporter(outlet, connection, work.call)
    try:
        with scope:
            result = await handler(work, reporter)
            connection.answer(work.call, result)  # it may raise Fault too: a question that the client cannot be asked
    except* (Fault, ResourceNotFound) as group:  # alone, or as a nursery inside the handler wrapped it
        connection.fail(work.call, first(group))
    except* Exception as group:  # noqa: BLE001 - a pump, the place for it
        remark_crash(remark, work.call.method, first(group))
    reporter.close()


def remark_crash(remark: Callable[[Remark], None], what: str, error: Exception) -> None:
    """Type and place for everyone; the message may quote anything, so it is for who asked for debug only."""
    stack = traceback.extract_tb(error.__traceback__)
    place = f"{stack[-1].filename}:{stack[-1].lineno}" if stack else "an unknown place"
    text = f"{what} failed: {type(error).__name__} at {place}"
    remark(Remark(level=Level.WARNING, text=text))
    remark(Remark(level=Level.DEBUG, text="".join(traceback.format_exception(error))))


class _CallReporter:
    """The Reporter of one call."""

    def __init__(self, outlet: Outlet, connection: Connection, call: Call) -> None:
        self.wanted = call.wants_progress
        self._outlet = outlet
        self._connection = connection
        self._call = call
        self._last = -math.inf
        self._not_before = -math.inf

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        # Behind a full queue reports would pile up for as long as the call runs, and each is stale by the next.
        if not self.wanted or progress <= self._last or self._outlet.is_full:
            return
        now = trio.current_time()
        if now < self._not_before:
            return
        self._last = progress
        self._not_before = now + PROGRESS_INTERVAL
        self._connection.progress(self._call, progress, total, message)
        self._outlet.flush()

    def task(self, task: Task) -> None:
        self._connection.task_changed(self._call, task)
        self._outlet.flush()

    def close(self) -> None:
        """The call is answered: whoever still holds the reporter speaks to nobody."""
        self.wanted = False


def first(group: ExceptionGroup[_Error]) -> _Error:
    """The innermost first error of a group."""
    error = group.exceptions[0]
    return first(error) if isinstance(error, ExceptionGroup) else error
