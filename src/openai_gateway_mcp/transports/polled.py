"""Moves bytes over POSIX descriptors without ever making one non-blocking.

O_NONBLOCK belongs to the open file description, which the parent and its other children share: their terminal would
stay non-blocking after us, and their writes fail. So every read and write here is one that is known not to block.
"""

from __future__ import annotations

import os
import select
import sys
from typing import Final

import trio

from openai_gateway_mcp.transports.errnos import GONE

# What is read at once is answered at once: of tools/list, 16 KiB of requests make 1 MB of answers. Four times as much
# would be 7 % quicker and cost a fifth more memory.
_READ_SIZE: Final = 16_384

# The bytes that a pipe which says that it is writable takes for sure (POSIX, write). So does a socket: on Linux it says
# so while a third of its buffer is free, on BSD while SO_SNDLOWAT is (2,048, PIPE_BUF being 512). A terminal does not.
_PIPE_BUF: Final = getattr(select, "PIPE_BUF", 512)

_DIRECT_WRITE_SIZE: Final = 2**20


class PolledReceiver:
    """Reads what has come, once there is something: a pipe, a socket, a terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def receive_some(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return os.read(self._fd, _READ_SIZE)
            except BlockingIOError:  # non-blocking by the parent's choice, and somebody else was faster
                continue
            except OSError as error:
                if error.errno in GONE:
                    return b""
                raise

    async def hung_up(self) -> None:
        if sys.platform != "linux":  # pragma: no cover - kqueue has no way to ask for this alone
            await trio.sleep_forever()
        try:
            ends = select.epoll()
        except OSError:  # no descriptor is left for it: then it cannot be seen, and writing still says who is gone
            await trio.sleep_forever()
        with ends:
            # In an epoll of its own, because trio's waits for data as well, and there is some. An epoll is itself
            # readable when it has an event to tell, and it always tells of a hang-up.
            ends.register(self._fd, select.EPOLLRDHUP)
            await trio.lowlevel.wait_readable(ends.fileno())


class DirectReceiver:
    """Reads what needs no waiting for: a file, and devices such as /dev/zero, which epoll refuses (EPERM)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return os.read(self._fd, _READ_SIZE)

    async def hung_up(self) -> None:
        await trio.sleep_forever()


class PolledSender:
    """Writes to a pipe or a socket no more at a time than it is sure to take once it says that it is writable."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def send_now(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        sent = 0
        try:
            while sent < len(view) and self._poll.poll(0):
                sent += os.write(self._fd, view[sent : sent + _PIPE_BUF])
        except BlockingIOError:  # non-blocking by the parent's choice, and somebody else was faster
            return sent
        except OSError as error:
            raise _broken(error) from error
        return sent

    async def send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while True:
            await trio.lowlevel.wait_writable(self._fd)
            view = view[self.send_now(view) :]
            if not view:
                return


class DirectSender:
    """Writes to a file or a device, which takes everything at once or fails."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send_now(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view[:_DIRECT_WRITE_SIZE]) :]
        return len(data)

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.send_now(data)


def _broken(error: OSError) -> Exception:
    return trio.BrokenResourceError() if error.errno in GONE else error
