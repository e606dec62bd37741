"""SIGINT and SIGTERM: the first asks the process to leave, the second ends it; neither leaves a traceback.

SIGHUP asks for a reload and ends nothing.

Imports nothing heavy, so that a command can call `exit_at_once` before its other imports: Ctrl-C during these is not
rare, and a process that is PID 1 has no default handler for SIGTERM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
HANGUP: Final[int | None] = getattr(signal, "SIGHUP", None)
"""Windows has no such signal."""

# Seconds from the first signal until the process ends in any case, whatever a library is stuck in.
PATIENCE: Final = 0.8


def exit_code(signum: int) -> int:
    """What a shell reports for a process that a signal ended."""
    return 128 + signum


def exit_at_once() -> None:
    """Until somebody watches, a signal ends the process: there is nothing to lose yet."""
    for signum in SIGNALS:
        signal.signal(signum, lambda received, _: os._exit(exit_code(received)))


class Hangup:
    """Remembers a SIGHUP that comes before anybody can act on it; by default it would end the process.

    Where a terminal is closed it comes too: then the end of the input ends the server.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._before: Any = None

    def watch(self) -> None:
        """Take the signal over. Main thread only."""
        if HANGUP is not None:
            self._before = signal.signal(HANGUP, self._on_signal)

    def release(self) -> None:
        """Give it back, for a command that serves nobody: a closed terminal ends that, unless nohup says otherwise."""
        if HANGUP is not None:
            signal.signal(HANGUP, signal.SIG_DFL if self._before is None else self._before)

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self.has_come = True


def leave(code: int) -> NoReturn:
    """End the process where nothing is left to do or to flush.

    Python's own way out puts the default handlers back first: a signal that arrives then (clients close stdin and send
    SIGTERM in one go) would make an orderly end look like a killed process. It also waits for the imports of a warm-up.
    """
    os._exit(code)


class Interruption:
    """The signals of one run. `last_act` is done before the process ends without unwinding: restore the terminal there.

    Ending that way is safe here: stdout has no buffer, and what a second signal skips is only the waiting.
    """

    def __init__(self, last_act: Callable[[], None], *, leave: Callable[[int], object] = os._exit) -> None:
        self.signum: int | None = None
        self._last_act = last_act
        self._leave = leave
        self._ask_to_stop: Callable[[], None] | None = None

    def install(self) -> None:
        """Take the signals over, for the rest of the process. Main thread only."""
        for signum in SIGNALS:
            signal.signal(signum, self._on_signal)

    @contextmanager
    def asking(self, stop: Callable[[], None]) -> Iterator[None]:
        """While inside, the first signal calls `stop`, from the signal handler; outside, it ends the process."""
        self._ask_to_stop = stop
        try:
            yield
        finally:
            self._ask_to_stop = None

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        if self.signum is not None or self._ask_to_stop is None:
            self._end(signum)
            return
        self.signum = signum
        self._end_after(PATIENCE, signum)
        self._ask_to_stop()

    def _end_after(self, seconds: float, signum: int) -> None:
        if hasattr(signal, "setitimer"):  # not on Windows, where the parent's kill is all there is
            signal.signal(signal.SIGALRM, lambda *_: self._end(signum))
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _end(self, signum: int) -> None:
        self._last_act()
        self._leave(exit_code(signum))
