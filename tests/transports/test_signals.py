"""The first signal asks, the second ends; before and after a run the first one ends too."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.transports import process

from openai_gateway_mcp.transports import signals
from openai_gateway_mcp.transports.signals import PATIENCE, SIGNALS, Hangup, Interruption

EARLY = """
import sys, time
from openai_gateway_mcp.transports.signals import exit_at_once
exit_at_once()
assert "trio" not in sys.modules
sys.stderr.write("ready\\n")
sys.stderr.flush()
time.sleep(60)
"""


class Ended(Exception):
    """In the place of the end of the process."""


class Record:
    def __init__(self) -> None:
        self.events: list[object] = []
        self.timers: list[tuple[int, float]] = []
        self.interruption = Interruption(lambda: self.events.append("last act"), leave=self._leave)

    def _leave(self, code: int) -> None:
        self.events.append(code)
        raise Ended


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    before = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGALRM)}
    record = Record()
    # A timer that runs would end a test that is held up; and a process has one alone, which pytest-timeout needs.
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: record.timers.append((which, seconds)))
    record.interruption.install()
    yield record
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_the_first_signal_asks_and_the_second_ends(record: Record) -> None:
    with record.interruption.asking(lambda: record.events.append("asked")):
        signal.raise_signal(signal.SIGINT)
        assert record.events == ["asked"]
        assert record.interruption.signum == signal.SIGINT
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)
    assert record.events == ["asked", "last act", 143]


def test_a_signal_that_changes_nothing_ends_the_process_in_time(record: Record) -> None:
    with record.interruption.asking(lambda: record.events.append("asked")):
        signal.raise_signal(signal.SIGINT)
        assert record.timers == [(signal.ITIMER_REAL, PATIENCE)]
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGALRM)
    assert record.events == ["asked", "last act", 130]


def test_a_signal_after_the_run_ends_the_process(record: Record) -> None:
    with record.interruption.asking(lambda: record.events.append("asked")):
        pass
    with pytest.raises(Ended):
        signal.raise_signal(signal.SIGTERM)
    assert record.events == ["last act", 143]


def test_where_there_is_no_timer_a_signal_still_asks(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.delattr(signal, "setitimer")
        with record.interruption.asking(lambda: record.events.append("asked")):
            signal.raise_signal(signal.SIGINT)
    assert record.events == ["asked"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_imports_leaves_no_traceback(signum: int, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", EARLY], stderr=subprocess.PIPE, env=process.environment()) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == b"ready\n"
        child.send_signal(signum)
        assert child.wait(process.PATIENCE) == code
        assert child.stderr.read() == b""


def test_a_hangup_is_remembered_and_ends_nothing() -> None:
    before = signal.getsignal(signal.SIGHUP)
    hangup = Hangup()
    hangup.watch()
    try:
        assert [hangup.has_come] == [False]  # in a list: mypy would take the next one for impossible
        signal.raise_signal(signal.SIGHUP)
        assert hangup.has_come
    finally:
        hangup.release()
    assert signal.getsignal(signal.SIGHUP) is before


def test_where_there_is_no_hangup_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGHUP)
    monkeypatch.setattr(signals, "HANGUP", None)
    hangup = Hangup()
    hangup.watch()
    hangup.release()
    assert signal.getsignal(signal.SIGHUP) is before
