"""Claims descriptors 0 and 1 for the wire, so that no library's print tears it and no child process eats from it."""

from __future__ import annotations

import enum
import os
import stat
import sys
from typing import Final

import attrs

from openai_gateway_mcp.transports.stderr import lossy_text

if sys.platform != "win32":
    import fcntl

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


class Kind(enum.Enum):
    """What lies behind a descriptor, as far as it changes how bytes are moved."""

    PIPE = "pipe"
    SOCKET = "socket"
    FILE = "file"
    TERMINAL = "terminal"
    NULL = "the null device"
    DEVICE = "device"
    CLOSED = "closed"


@attrs.frozen(kw_only=True)
class Descriptor:
    """`fd` is a private duplicate above 2, closed in child processes; it stays open for the life of the process."""

    fd: int
    kind: Kind


@attrs.frozen(kw_only=True)
class Wire:
    receive: Descriptor
    send: Descriptor


def claim() -> Wire:
    """Move the wire away from descriptors 0 and 1: from now on 0 is the null device, and 1 and `sys.stdout` are stderr.

    Call once, early, before anything that may print or open files. Nothing is restored: the process is the server.
    """
    # The interpreter noted at its start which were closed; their numbers may have gone to other files since.
    absent = [fd for fd, file in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)) if file is None]
    for fd in absent:
        _fill(fd)
    wire = Wire(receive=_duplicate(_STDIN, absent), send=_duplicate(_STDOUT, absent))
    if _STDIN not in absent:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, _STDIN)
        os.close(null)
    if _STDOUT not in absent:
        os.dup2(_STDERR, _STDOUT)
    if sys.stderr is None:
        sys.stderr = open(_STDERR, "w", closefd=False)  # noqa: SIM115 - it lives as long as the process
    elif sys.platform != "win32" and kind_of(_STDERR) in {Kind.PIPE, Kind.SOCKET}:
        sys.stderr = lossy_text(_STDERR)
    sys.stdout = sys.stderr  # noqa: TID251 - takes stdout away from everybody else
    return wire


def kind_of(fd: int) -> Kind:
    """What an open descriptor is; OSError if it is not open."""
    status = os.fstat(fd)
    if stat.S_ISFIFO(status.st_mode):
        return Kind.PIPE
    if stat.S_ISSOCK(status.st_mode):
        return Kind.SOCKET
    if stat.S_ISREG(status.st_mode):
        return Kind.FILE
    if os.isatty(fd):
        return Kind.TERMINAL
    if status.st_rdev == os.stat(os.devnull).st_rdev:  # noqa: PTH116 - the device number, which pathlib gives no shorter
        return Kind.NULL
    return Kind.DEVICE


def _fill(fd: int) -> None:
    """Put the null device where nothing is, lest the next file to be opened becomes somebody's standard stream."""
    null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if null == fd:
        os.set_inheritable(fd, True)  # noqa: FBT003 - its only form
    else:
        os.close(null)


def _duplicate(fd: int, absent: list[int]) -> Descriptor:
    if sys.platform == "win32":  # pragma: no cover - exercised on Windows only
        import msvcrt  # noqa: PLC0415 - exists there only

        private = os.dup(fd)
        msvcrt.setmode(private, os.O_BINARY)
    else:
        private = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
    return Descriptor(fd=private, kind=Kind.CLOSED if fd in absent else kind_of(private))
