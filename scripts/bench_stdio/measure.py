"""One run of one server: from its start to its end, as an MCP client would lead it, with a stop-watch."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

import attrs
from contestants import Contestant

PATIENCE = 120  # seconds for one run, after which it is given up

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


@attrs.frozen(kw_only=True)
class Effort:
    """How much one run does. `settle` lets a server finish what it began after its first answer (seconds)."""

    pings: int = 1000
    pipelined: int = 2000
    pipelined_seconds: float = 0.5
    settle: float = 0.5


@attrs.frozen(kw_only=True)
class Run:
    """What one run gave. Times in seconds, memory in KiB; `ready` is from the start to the tools/list answer."""

    cold_start: float
    ready: float
    ping: float
    per_second: float
    rss: int
    pss: int
    exit: float
    answer_bytes: int


class Broken(Exception):
    """The server ended, went silent or answered with an error."""


class Server:
    """A child process and the two ends of its pipes, read and written without a thread."""

    def __init__(self, contestant: Contestant) -> None:
        its_in, our_in = os.pipe()
        our_out, its_out = os.pipe()
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            contestant.command,
            stdin=its_in,
            stdout=its_out,
            stderr=subprocess.DEVNULL,
            # Nothing of the caller's Python settings: PYTHONDONTWRITEBYTECODE alone would triple a cold start.
            env={"PATH": os.defpath, "HOME": "/nonexistent", **contestant.env},
        )
        os.close(its_in)
        os.close(its_out)
        self._in, self._out = our_in, our_out
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)

    def ask(self, request: bytes) -> bytes:
        """The one line that answers one request."""
        os.write(self._in, request)
        while b"\n" not in self._buffer:
            self._buffer += self._read()
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        return bytes(line)

    def tell(self, notification: bytes) -> None:
        os.write(self._in, notification)

    def ask_pipelined(self, requests: bytes, count: int) -> int:
        """Writes all while reading all; returns the number of bytes that came."""
        os.set_blocking(self._in, False)
        unsent = memoryview(requests)
        lines = received = 0
        self._poll.register(self._in, select.POLLOUT)
        while lines < count:
            for fd, _ in self._poll.poll():
                if fd == self._out:
                    data = self._read()
                    received += len(data)
                    lines += data.count(b"\n")
                elif unsent:
                    unsent = unsent[os.write(self._in, unsent[:65536]) :]
                    if not unsent:
                        self._poll.unregister(self._in)
        os.set_blocking(self._in, True)
        return received

    def memory(self) -> tuple[int, int]:
        """RSS and PSS in KiB."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        sizes = dict(line.split(":", 1) for line in rollup.splitlines()[1:])
        return int(sizes["Rss"].split()[0]), int(sizes["Pss"].split()[0])

    def hang_up(self) -> float:
        """Closes stdin; returns the seconds until the process is gone."""
        begun = time.perf_counter()
        self._in = _close(self._in)
        self._process.wait()  # without a time-out it sleeps in waitpid; with one it would poll, 50 ms apart
        return time.perf_counter() - begun

    def end(self) -> None:
        """Whatever happened, the process is gone afterwards."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._in, self._out = _close(self._in), _close(self._out)

    def _read(self) -> bytes:
        data = os.read(self._out, 1 << 20)
        if not data:
            raise Broken(f"it ended with exit code {self._process.wait()}")
        return data


def run(contestant: Contestant, effort: Effort) -> Run:
    """Leads one process through everything. Raises Broken."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(PATIENCE)
    server = Server(contestant)
    try:
        answer = server.ask(_line(id=0, method="initialize", params=INITIALIZE))
        cold_start = time.perf_counter() - server.started
        _check(answer, "protocolVersion" if contestant.speaks_mcp else "")
        server.tell(_line(method="notifications/initialized"))
        listed = server.ask(_line(id=1, method="tools/list"))
        ready = time.perf_counter() - server.started
        _check(listed, "tools" if contestant.speaks_mcp else "")
        time.sleep(effort.settle)
        ping = _ping(server, effort)
        per_second = _throughput(server, effort)
        rss, pss = server.memory()
        return Run(
            cold_start=cold_start,
            ready=ready,
            ping=ping,
            per_second=per_second,
            rss=rss,
            pss=pss,
            exit=server.hang_up(),
            answer_bytes=len(listed) + 1,
        )
    finally:
        signal.alarm(0)
        server.end()


def _close(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1


def _give_up(_signal: int, _frame: object) -> None:
    raise Broken(f"it took longer than {PATIENCE} s")


def _ping(server: Server, effort: Effort) -> float:
    """The median of sequential round trips."""
    taken = []
    for number in range(effort.pings):
        request = _line(id=1000 + number, method="ping")
        begun = time.perf_counter()
        server.ask(request)
        taken.append(time.perf_counter() - begun)
    return median(taken)


def _throughput(server: Server, effort: Effort) -> float:
    """Answers a second, in whole batches until `pipelined_seconds` have passed."""
    requests = b"".join(_line(id=10_000 + number, method="tools/list") for number in range(effort.pipelined))
    answered, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < effort.pipelined_seconds:
        server.ask_pipelined(requests, effort.pipelined)
        answered += effort.pipelined
    return answered / passed


def _line(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def _check(answer: bytes, member: str) -> None:
    message = json.loads(answer)
    if "result" not in message or (member and member not in message["result"]):
        raise Broken(f"an unexpected answer: {answer[:200]!r}")
