"""`scripts/bench service`: our gateway beside nginx, Portkey and LiteLLM, in front of one fast upstream."""

from __future__ import annotations

import argparse
import math
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import attrs
import load
import trio
from gateways import GATEWAYS, Gateway, Ports, running

NAMES = tuple(one.name for one in GATEWAYS)
UPSTREAM = Path(__file__).resolve().parents[1] / "bench_engine" / "upstream.py"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench service", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    asked = parser.parse_args()
    effort = load.Effort(calls=100, seconds=3) if asked.quick else load.Effort()
    os.sched_setaffinity(0, {1})
    chosen = [one for one in GATEWAYS if one.name in asked.only]
    for gateway in chosen:
        if (why := gateway.prepare()) is not None:
            raise SystemExit(f"{gateway.title} cannot be measured: {why}")
    runs: dict[str, list[load.Run]] = {one.name: [] for one in chosen}
    with upstream() as fast:
        for number in range(1 if asked.quick else asked.rounds):
            for gateway in chosen:
                print(f"\rround {number + 1}: {gateway.title}      ", end="", file=sys.stderr, flush=True)
                runs[gateway.name].append(measured(gateway, fast, effort))
    print(file=sys.stderr)
    print(f"{platform.python_version()}; load average {os.getloadavg()[0]:.1f}\n\n{table(chosen, runs)}")
    return 0


@contextmanager
def upstream() -> Iterator[int]:
    """The fast upstream; its port."""
    command = ["taskset", "-c", "1", sys.executable, str(UPSTREAM), "0.0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()


def measured(gateway: Gateway, fast: int, effort: load.Effort) -> load.Run:
    """One round of one gateway, from its start to its end."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = Ports(own=_free_port(), fast=fast, silent=silent.getsockname()[1])
        with running(gateway, ports, Path(name)) as started:
            idle = load.memory(started.pid)
            data = load.request(started.path, started.headers)
            direct = trio.run(load.one_at_a_time, fast, load.request("/v1/chat/completions", {}), effort.calls)
            through = trio.run(load.one_at_a_time, started.port, data, effort.calls)
            per_second_16, _ = load.many_at_once(started, Path(name), 16, effort.seconds)
            per_second_64, cpu_64 = load.many_at_once(started, Path(name), 64, effort.seconds)
            stream = load.request(started.path, started.headers, stream=True)
            streams = [(math.nan, math.nan)]
            if gateway.streams:
                streams = [trio.run(load.streamed, started.port, stream) for _ in range(5)]
            loaded = load.memory(started.pid)
            left = dict.fromkeys(load.PHASES, math.nan)
            if gateway.streams:
                left = {phase: trio.run(load.leave, started, silent.dup(), phase) for phase in load.PHASES}
    p50, p99 = (a - b for a, b in zip(load.p50_and_p99(through), load.p50_and_p99(direct), strict=True))
    return load.Run(
        p50=p50, p99=p99, per_second_16=per_second_16, per_second_64=per_second_64, cpu_64=cpu_64,
        first_token=median(first for first, _ in streams), chunks_per_second=median(rate for _, rate in streams),
        memory_idle=idle, memory_loaded=loaded, start=started.start, left=left,
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class Line:
    title: str
    of: Callable[[load.Run], float]
    shown: str
    aim: str = ""


LINES = (
    Line(title="added at one connection, p50", of=lambda run: run.p50 * 1000, shown="{:.2f} ms", aim="≤ 0.4 x Portkey"),
    Line(title="added at one connection, p99", of=lambda run: run.p99 * 1000, shown="{:.2f} ms"),
    Line(title="requests a second, 16 connections", of=lambda run: run.per_second_16, shown="{:,.0f}"),
    Line(
        title="requests a second, 64 connections", of=lambda run: run.per_second_64, shown="{:,.0f}",
        aim="≥ 3 x Portkey, ≥ 20 x LiteLLM",
    ),
    Line(title="CPU of a call at 64", of=lambda run: run.cpu_64 * 1000, shown="{:.2f} ms"),
    Line(title="first content of a stream", of=lambda run: run.first_token * 1000, shown="{:.2f} ms"),
    Line(title="events of a stream a second", of=lambda run: run.chunks_per_second, shown="{:,.0f}"),
    Line(title="memory, idle", of=lambda run: run.memory_idle, shown="{:.0f} MiB", aim="≤ 45 MB (42.9 MiB)"),
    Line(title="memory, after the load", of=lambda run: run.memory_loaded, shown="{:.0f} MiB"),
    Line(title="start to the first answer", of=lambda run: run.start, shown="{:.2f} s", aim="≤ 0.5 s"),
    *(
        Line(
            title=f"client leaves {phase}", of=lambda run, phase=phase: run.left[phase] * 1000, shown="{:,.0f} ms",
            aim="≤ 200 ms",
        )
        for phase in load.PHASES
    ),
)  # fmt: skip


def table(chosen: Sequence[Gateway], runs: Mapping[str, Sequence[load.Run]]) -> str:
    """Medians, and beside each the ratio to ours."""
    lines = ["| | " + " | ".join(one.title for one in chosen) + " | aim |", "|" + " --- |" * (len(chosen) + 2)]
    for line in LINES:
        found = {one.name: median(line.of(run) for run in runs[one.name]) for one in chosen}
        ours = found.get("ours", 0.0)
        cells = [
            "not measured"
            if math.isnan(value)
            else line.shown.format(value) + ("" if name == "ours" or not ours else f" ({value / ours:.2f}x)")
            for name, value in found.items()
        ]
        lines.append(f"| {line.title} | {' | '.join(cells)} | {line.aim} |")
    return "\n".join(lines)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
