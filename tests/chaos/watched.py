"""What a process holds, looked at from outside, and what the kernel is told to keep from it."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import socket
import struct
import termios
from pathlib import Path

MEGABYTE = 2**20

SLACK = 8 * MEGABYTE
"""What a process may take beyond the bound of the code: the allocator's room, modules that a first use imports."""


def forget_the_peak(pid: int) -> int:
    """From now on the peak is counted anew; what is resident now, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most that was resident since, in bytes."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - the names alone: what one stands for may be gone


def children(pid: int) -> str:
    """The numbers of its child processes."""
    return "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))


def leave_descriptors(pid: int, more: int) -> tuple[int, int]:
    """Allow so many beyond those that are open; the limits before."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    numbers = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH208 - as above
    free = (number for number in range(before[0]) if number not in numbers)
    most = next(number for index, number in enumerate(free) if index == more)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    return before


def processor_seconds(pid: int) -> float:
    """What it has used of a processor since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def unread_of_pipe(fd: int) -> int:
    """How many bytes lie in a pipe that nobody has read."""
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    return found[0]


def unread_by_peer(client: socket.socket) -> int:
    """How many bytes came to the other end of this machine's connection, and wait there to be read."""
    theirs, ours = (f":{name[1]:04X}" for name in (client.getpeername(), client.getsockname()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(theirs) and row[2].endswith(ours))


def write_what_is_taken(fd: int, data: bytes) -> int:
    """How many bytes went out, to a pipe or a socket, until nobody took any for half a second."""
    view = memoryview(data)
    while view and select.select([], [fd], [], 0.5)[1]:
        view = view[os.write(fd, view[: select.PIPE_BUF]) :]
    return len(data) - len(view)
