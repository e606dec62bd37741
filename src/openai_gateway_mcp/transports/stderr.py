"""Standard error that never waits for its reader: a client that starts servers need not read what they log.

A pipe holds 64 KiB on Linux. Written to as usual, a full one stops the whole process with every call in it.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Final, TextIO

import trio

from openai_gateway_mcp.transports.polled import PolledSender

_LOST: Final = b"\n[output was lost here: nobody read stderr]\n"


class _Lossy(io.RawIOBase):
    """What the pipe does not take at once is dropped, and said as soon as it takes something again."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._has_lost = False

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        whole = bytes(data)
        due = _LOST + whole if self._has_lost else whole
        with contextlib.suppress(trio.BrokenResourceError):  # nobody will ever read it
            # A sender a write: threads print too, and two of them cannot use one poll object at the same time.
            self._has_lost = PolledSender(self._fd).send_now(due) < len(due)
        return len(whole)


def lossy_text(fd: int) -> TextIO:
    """A text stream onto a pipe or a socket, unbuffered; `fd` stays open when it is closed."""
    # TextIOWrapper asks for a buffer and needs none if it writes through: the interpreter itself does so under -u.
    return io.TextIOWrapper(_Lossy(fd), encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]  # see above
