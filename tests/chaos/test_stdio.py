"""The real command over its pipes, and a client that does what no good one does."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from openai_gateway_mcp.protocol.errors import OVERLOADED
from openai_gateway_mcp.transports.outbox import HIGH_WATER
from tests.chaos.watched import (
    MEGABYTE,
    SLACK,
    children,
    descriptors,
    forget_the_peak,
    leave_descriptors,
    peak,
    unread_of_pipe,
    write_what_is_taken,
)
from tests.peers.fake_upstream import Kind, Upstream, running
from tests.peers.playing import gateway
from tests.playbook import cancel, initialize, modern, request
from tests.transports.process import PATIENCE, ROOT, environment, lines

Json = Any

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")

MAX_LINE = 16 * MEGABYTE  # MAX_MESSAGE_BYTES, by default
IN_FLIGHT, PARKED = 256, 4_096  # calls that run, and that wait
A_CALL = 16 * 1024  # bytes that a small call may hold while it runs, with its task and its connection's part
ONE_READ = MEGABYTE  # the answers to what is read at once, where they are largest
ARENAS = 2 * MEGABYTE  # what a process may take that does the same again: Python's allocator takes a megabyte at a time
READ_SIZE = 16_384  # bytes of requests that are read at once


def chat(id_: Json, prompt: str = "Hello!", model: str = "echo") -> Json:
    return request(id_, "tools/call", name="chat", arguments={"prompt": prompt, "model": model})


@attrs.define(eq=False)
class Server:
    process: subprocess.Popen[bytes]
    before: int = 0  # bytes that were resident when all was loaded
    open_before: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def grown(self) -> int:
        """By how much its memory was ever larger than when all was loaded."""
        return peak(self.pid) - self.before

    def say(self, *messages: Json) -> None:
        self.write(lines(*messages))

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def write_byte_by_byte(self, data: bytes) -> None:
        """Each once the one before was read, so that the server sees every cut there can be."""
        for byte in data:
            os.write(_stdin(self), bytes([byte]))
            while unread_of_pipe(_stdin(self)):
                os.sched_yield()

    def hear(self) -> Json:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def until(self, id_: Json) -> list[Json]:
        """What it says up to the answer to this id."""
        heard = [self.hear()]
        while heard[-1].get("id") != id_:
            heard.append(self.hear())
        return heard

    def load(self) -> None:
        """Have it do each thing once; from here on it is watched."""
        self.say(initialize("first"), chat("second"), request("third", "tools/list"))
        assert {self.hear()["id"] for _ in range(3)} == {"first", "second", "third"}
        self.say(chat("fourth"))
        self.hear()
        self.before = forget_the_peak(self.pid)
        self.open_before = descriptors(self.pid)

    def end(self, *, reads: bool = True) -> list[Json]:
        """Close its input; what it still says. It ends well, and had left nothing open."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        if reads:
            assert children(self.pid) == ""
            assert descriptors(self.pid) <= self.open_before
        else:  # nobody hears it any more, which it has to see by itself
            self.process.wait(PATIENCE)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        rest = [json.loads(line) for line in self.process.stdout] if reads else []
        said = self.process.stderr.read().decode()
        assert (self.process.wait(PATIENCE), "Traceback" in said) == (0, False), said
        return rest


@contextmanager
def server(upstream: Upstream | None = None) -> Iterator[Server]:
    """With the built-in model, or the models of an upstream."""
    way, environ = (["--embedded"], {}) if upstream is None else ([], gateway(upstream))
    process = subprocess.Popen(
        [sys.executable, "-m", "openai_gateway_mcp", "--rate-limit", "0", "--drain", "30", *way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment() | environ,
    )
    try:
        started = Server(process)
        started.load()
        yield started
    finally:
        process.kill()
        process.wait()
        for end in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                assert end is not None
                end.close()


@contextmanager
def feeding(to: Server, pieces: Iterable[bytes]) -> Iterator[None]:
    """In a thread of its own, so that the answers are read meanwhile."""

    def feed() -> None:
        for piece in pieces:
            to.write(piece)

    thread = threading.Thread(target=feed)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextmanager
def stopped(one: Server) -> Iterator[None]:
    """It runs no step meanwhile."""
    one.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, one.pid, os.WSTOPPED | os.WNOWAIT)
    yield
    one.process.send_signal(signal.SIGCONT)


def answers(messages: Iterable[Json]) -> Counter[Json]:
    return Counter(message["id"] for message in messages if "id" in message)


def test_a_client_that_writes_a_byte_at_a_time() -> None:
    prompt = "ünd  so\tweiter \u2028 \U0001f600"
    with server() as started:
        said = [initialize(1), chat(2, prompt), modern(3, "tools/list")]
        started.write_byte_by_byte("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said).encode())
        heard = {one["id"]: one["result"] for one in (started.hear() for _ in said)}
        assert heard.keys() == {1, 2, 3}
        assert heard[2]["content"][0]["text"].endswith(prompt)
        assert started.grown < SLACK
        assert started.end() == []


def test_a_client_that_never_reads_is_read_no_more_and_when_it_reads_nothing_is_lost() -> None:
    """What it may hold: the queue up to its mark, and the answers to one read; what else is said stays in the pipe.

    The first read fills the queue, so that the calls in it are answered behind a full one.
    """
    with server() as started:
        os.set_blocking(_stdin(started), False)
        asked = lines(*(request(number, "tools/list") for number in range(200)))
        calls = [f"call {number}" for number in range(5)]
        data = lines(*(chat(id_) for id_ in calls)) + asked * 100  # of answers, 100 MB
        with stopped(started):
            sent = write_what_is_taken(_stdin(started), data)
        sent += write_what_is_taken(_stdin(started), data[sent:])
        assert sent < len(data) / 10
        whole = data[:sent].count(b"\n")
        assert started.grown < 2 * (HIGH_WATER + ONE_READ) + SLACK  # twice: what is queued is joined for the write
        os.set_blocking(_stdin(started), True)
        heard = [started.hear()["id"] for _ in range(whole)]
        whole -= len(calls)
        assert heard[0] == 0  # no call came before
        assert sorted(id_ for id_ in heard if id_ in calls) == calls
        assert [id_ for id_ in heard if id_ not in calls] == [number % 200 for number in range(whole)]
        started.write(data[sent : data.index(b"\n", sent) + 1])  # the rest of the line that was torn
        assert started.hear()["id"] == whole % 200
        assert started.end() == []


def test_a_client_that_never_reads_and_leaves() -> None:
    with server() as started:
        os.set_blocking(_stdin(started), False)
        write_what_is_taken(_stdin(started), lines(request(1, "tools/list")) * 20_000)
        assert started.process.stdout is not None
        started.process.stdout.close()
        started.end(reads=False)


def test_a_client_that_closes_its_half_while_calls_run_has_each_answer_once() -> None:
    with server() as started:
        started.say(*(chat(number) for number in range(300)))
        assert answers(started.end()) == dict.fromkeys(range(300), 1)


@pytest.mark.parametrize(
    "count", [5_000, pytest.param(100_000, marks=pytest.mark.peers)], ids=lambda count: f"{count:,}"
)
def test_a_flood_of_requests(count: int) -> None:
    """One in ten is a call; those that find no place to wait are refused, and are answered by that.

    Nothing of it stays: the second half needs no more than the first.
    """
    with server() as started:
        peaks = []
        for ids in (range(count // 2), range(count // 2, count)):
            pieces = (lines(chat(at), *(request(more, "ping") for more in range(at + 1, at + 10))) for at in ids[::10])
            with feeding(started, pieces):
                heard = [started.hear() for _ in ids]
            assert answers(heard) == dict.fromkeys(ids, 1)
            assert {one["error"]["code"] for one in heard if "error" in one} <= {OVERLOADED}
            peaks.append(started.grown)
            forget_the_peak(started.pid)
        assert peaks[0] < (IN_FLIGHT + PARKED) * A_CALL + 2 * (HIGH_WATER + ONE_READ) + SLACK
        assert peaks[1] < peaks[0] + ARENAS
        assert started.end() == []


def test_a_flood_of_calls_that_do_not_end_and_the_cancellation_of_each() -> None:
    """So many run and so many wait, and each beyond is refused; cancelled, none is answered and each place is free."""
    count = 5_000
    ids = range(count)
    with running() as upstream, server(upstream) as started:
        with feeding(started, [*(lines(chat(id_, model="mute")) for id_ in ids), lines(request("all", "ping"))]):
            *refused, _ = started.until("all")
        codes = {one["id"]: one["error"]["code"] for one in refused}
        assert (len(refused), codes) == (len(codes), dict.fromkeys(ids[IN_FLIGHT + PARKED :], OVERLOADED))
        assert started.grown < (IN_FLIGHT + PARKED) * A_CALL + SLACK
        with feeding(started, [*(lines(cancel(id_)) for id_ in ids), lines(chat("after"))]):
            assert answers(started.until("after")) == {"after": 1}
        while upstream.journal.open_calls():
            started.say(request("still", "ping"))
            assert started.hear()["id"] == "still"
        assert started.end() == []


def test_a_client_that_repeats_one_id() -> None:
    """While a call has it, whatever else has it is refused; each is answered."""
    count = 2_000
    with server() as started:
        with feeding(started, [lines(chat(7))] * count):
            heard = [started.hear() for _ in range(count)]
        assert answers(heard) == {7: count}
        codes = Counter(one["error"]["code"] if "error" in one else "ok" for one in heard)
        assert set(codes) == {"ok", -32600}
        assert codes["ok"] < count / 10
        started.say(chat(7))  # answered, it is free again
        assert "result" in started.hear()
        assert started.grown < SLACK
        assert started.end() == []


def test_a_client_that_cancels_everything() -> None:
    """An answer may have crossed its cancellation; none comes after what was said later is answered."""
    count = 2_000
    with server() as started:
        pieces = [lines(chat(number), cancel(number)) for number in range(count)]
        with feeding(started, [*pieces, lines(request("last", "ping"))]):
            heard = answers(started.until("last"))
        assert max(heard.values()) == 1
        assert started.grown < SLACK
        assert started.end() == []


def test_what_is_cancelled_as_soon_as_it_is_asked_is_not_answered() -> None:
    """All of it is read at once, so that no answer can have crossed."""
    with server() as started:
        data = lines(*(message for number in range(50) for message in (chat(number), cancel(number))), chat("last"))
        assert len(data) < READ_SIZE
        with stopped(started):
            started.write(data)
        assert answers(started.until("last")) == {"last": 1}
        assert started.end() == []


@pytest.mark.parametrize(
    "megabytes", [64, pytest.param(1_024, marks=pytest.mark.peers)], ids=lambda megabytes: f"{megabytes:,} MB"
)
def test_a_line_without_end_is_refused_once_and_not_held(megabytes: int) -> None:
    """Up to the limit it is held in pieces; beyond it nothing is, and what comes after its end is served."""
    with server() as started:
        piece = b"x" * MEGABYTE
        with feeding(started, [*[piece] * megabytes, b"\n", lines(request(1, "ping"))]):
            refusal, pong = started.hear(), started.hear()
        assert (refusal["id"], refusal["error"]["code"]) == (None, -32700)
        assert pong["id"] == 1
        assert started.grown < MAX_LINE + SLACK
        assert started.end() == []


def test_without_a_descriptor_left_what_needs_none_goes_on_and_the_rest_later() -> None:
    with server() as started:
        before = leave_descriptors(started.pid, 0)
        started.say(chat(1), request(2, "tools/list"))
        assert answers(started.hear() for _ in range(2)) == {1: 1, 2: 1}
        os.set_blocking(_stdin(started), False)
        data = lines(*(request(number, "tools/list") for number in range(2_000)))
        sent = write_what_is_taken(_stdin(started), data)  # it has to wait for a reader, too
        os.set_blocking(_stdin(started), True)
        with feeding(started, [data[sent:]]):
            assert answers(started.hear() for _ in range(2_000)) == dict.fromkeys(range(2_000), 1)
        resource.prlimit(started.pid, resource.RLIMIT_NOFILE, before)
        assert started.end() == []


@pytest.mark.parametrize("calls", [0, 200], ids=["idle", "in calls"])
def test_stopped_and_woken_it_answers_what_was_said_before_and_meanwhile(calls: int) -> None:
    with server() as started:
        started.say(*(chat(number) for number in range(calls)))
        with stopped(started):
            started.say(chat("meanwhile"))
        heard = answers(started.hear() for _ in range(calls + 1))
        assert heard == dict.fromkeys([*range(calls), "meanwhile"], 1)
        assert started.end() == []


def test_stopped_and_woken_it_goes_on_with_what_runs() -> None:
    """The provider ends its answer while nobody is awake to read it."""
    with running() as upstream, server(upstream) as started:
        started.say(chat("runs", model="drip"))
        upstream.wait_for(Kind.ASKED, "drip")
        with stopped(started):
            upstream.release("drip")
            started.say(request("meanwhile", "tools/list"))
        heard = {one["id"]: one["result"] for one in (started.hear(), started.hear())}
        assert heard.keys() == {"runs", "meanwhile"}
        assert not heard["runs"].get("isError")
        assert set(heard["runs"]["content"][0]["text"].split()) == {"drop"}
        assert started.end() == []


def _stdin(of: Server) -> int:
    assert of.process.stdin is not None
    return of.process.stdin.fileno()
