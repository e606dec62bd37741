"""A thread a direction, for descriptors that cannot be waited for: all of them on Windows, and a terminal's output.

(poll says that a terminal is writable as soon as one byte fits, and a write of more then blocks the whole process.)
"""

from __future__ import annotations

import errno
import os
from typing import Final

import trio

from openai_gateway_mcp.transports.errnos import GONE

_READ_SIZE: Final = 65_536

# Windows says EINVAL of a pipe whose other end is closed.
_GONE_HERE: Final = GONE | {errno.EINVAL}


class ThreadReceiver:
    """Reads in a worker thread. A read that is cancelled is abandoned with its thread, which cannot be woken.

    Abandoning is for the end of the session only: what the thread reads later is lost. Trio's threads are daemons, so
    none keeps the process from exiting.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._limiter = trio.CapacityLimiter(1)

    async def receive_some(self) -> bytes:
        return await trio.to_thread.run_sync(self._read, abandon_on_cancel=True, limiter=self._limiter)

    async def hung_up(self) -> None:
        await trio.sleep_forever()

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _READ_SIZE)
        except OSError as error:
            if error.errno in _GONE_HERE:
                return b""
            raise


class ThreadSender:
    """Writes in a worker thread; abandoned like a read, when the time for a farewell is over."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._limiter = trio.CapacityLimiter(1)

    def send_now(self, data: bytes | memoryview) -> int:  # noqa: ARG002 - a thread is never sure of anything
        return 0

    async def send_all(self, data: bytes) -> None:
        await trio.to_thread.run_sync(self._write, data, abandon_on_cancel=True, limiter=self._limiter)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno in _GONE_HERE:
                raise trio.BrokenResourceError from error
            raise
