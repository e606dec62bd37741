"""A terminal as standard input: its echo would mix with the answers, so it is off while a session runs."""

from __future__ import annotations

import sys
from typing import Any, Final

if sys.platform != "win32":
    import termios

_LOCAL_FLAGS: Final = 3  # the place of c_lflag in what tcgetattr returns


class Echo:
    """The echo of the terminal behind a descriptor; of anything else there is none, and both verbs do nothing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    def off(self) -> None:
        if sys.platform == "win32":  # pragma: no cover - consoles there echo through the program's own reads
            return
        try:
            now = termios.tcgetattr(self._fd)
        except termios.error:
            return
        self._before = list(now)
        now[_LOCAL_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(self._fd, termios.TCSANOW, now)

    def restore(self) -> None:
        """Also called from a signal handler, and possibly twice."""
        if sys.platform == "win32" or self._before is None:
            return
        before, self._before = self._before, None
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, before)
        except termios.error:  # the terminal is gone, and its echo with it
            return
