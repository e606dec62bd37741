"""One round of one contestant, with a stop-watch for the time that passes and for the processor's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import attrs
import trio
from contestants import Caller, Contestant
from upstream import EVENTS

AT_ONCE = 64


@attrs.frozen(kw_only=True)
class Effort:
    """How much one round does. `pace`: the seconds between two events of the stream, so that each comes alone."""

    calls: int = 300
    calls_at_once: int = 2000
    streams: int = 1
    pace: float = 0.001


@attrs.frozen(kw_only=True)
class Run:
    """What one round gave, in seconds: of one call the time it takes, of the others the processor time of each."""

    call: float
    call_of_many: float
    chunk: float


@contextmanager
def upstream(pace: float) -> Iterator[int]:
    """The fake provider in a process of its own, which ends with its stdin; gives its port."""
    command = [sys.executable, str(Path(__file__).parent / "upstream.py"), str(pace)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()


def run(contestant: Contestant, port: int, effort: Effort) -> Run:
    """All three measures."""
    return trio.run(_run, contestant, port, effort)


async def _run(contestant: Contestant, port: int, effort: Effort) -> Run:
    async with contestant.open(port) as caller:
        await caller.call()  # the connection is there
        return Run(
            call=await one_after_the_other(caller, effort),
            call_of_many=await many_at_once(caller, effort),
            chunk=await streamed(caller, effort),
        )


async def one_after_the_other(caller: Caller, effort: Effort) -> float:
    """The median time of one call while nothing else goes on."""
    taken = []
    for _ in range(effort.calls):
        begun = time.perf_counter()
        await caller.call()
        taken.append(time.perf_counter() - begun)
    return median(taken)


async def many_at_once(caller: Caller, effort: Effort) -> float:
    """Processor time of a call among 64."""
    left = effort.calls_at_once

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await caller.call()

    begun = time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work)
    return (time.process_time() - begun) / effort.calls_at_once


async def streamed(caller: Caller, effort: Effort) -> float:
    """Processor time of an event in a stream whose events come one by one."""
    begun = time.process_time()
    for _ in range(effort.streams):
        if await caller.stream() < EVENTS // 2:
            raise AssertionError("the stream came in few large pieces: it says nothing of a single one")
    return (time.process_time() - begun) / (effort.streams * EVENTS)
