"""The figures of all rounds as ratios to the floor, and a profile as a table; both in Markdown."""

from __future__ import annotations

import os
import platform
import pstats
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

import attrs
from contestants import Contestant
from measure import AT_ONCE, Run

Runs = Mapping[str, Sequence[Run]]
"""The runs of each contestant, by name; the n-th of all were made side by side."""


@attrs.frozen(kw_only=True)
class Measure:
    """A row."""

    title: str
    of: Callable[[Run], float]


MEASURES = (
    Measure(title="one call, time", of=lambda run: run.call),
    Measure(title=f"{AT_ONCE} at once, CPU per call", of=lambda run: run.call_of_many),
    Measure(title="a chunk of a stream, CPU", of=lambda run: run.chunk),
)


def table(contestants: Sequence[Contestant], runs: Runs) -> str:
    """A line a measure, a column a contestant: the ratio to the first one, and the median figure itself."""
    lines = ["| | " + " | ".join(one.title for one in contestants) + " |", "|" + " --- |" * (len(contestants) + 1)]
    floor = contestants[0].name
    for measure in MEASURES:
        cells = [_cell(measure, runs, one.name, floor) for one in contestants]
        lines.append(f"| {measure.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(measure: Measure, runs: Runs, name: str, floor: str) -> str:
    """The median of each round's own ratio, so that a load that comes and goes weighs on both; and its quartiles."""
    figure = median(measure.of(run) for run in runs[name])
    ratios = [measure.of(mine) / measure.of(theirs) for mine, theirs in zip(runs[name], runs[floor], strict=True)]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    spread = "" if name == floor else f", {low:.2f} to {high:.2f}"
    return f"{middle:.2f}x ({figure * 1e6:,.0f} µs{spread})"


def machine() -> str:
    cpus = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    python = platform.python_version()
    return f"{len(cpus)} of {cpus[0] if cpus else platform.machine()}; Python {python}; load average {load}"


def profile(stats: pstats.Stats, *, calls: int, rows: int = 25) -> str:
    """Where the time went: by package, then the functions that cost most themselves. In µs per call or event."""
    entries = stats.stats.items()  # type: ignore[attr-defined]  # not in the stubs
    total = sum(own for _, (_, _, own, _, _) in entries)
    by_room: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, _) in entries:
        by_room[_room(file, name)] += own
    lines = ["| where | share |", "| --- | --- |"]
    lines += [f"| {room} | {spent / total:.0%} |" for room, spent in by_room.most_common(12)]
    lines += ["", "| function | itself, µs | with what it calls, µs | times |", "| --- | --- | --- | --- |"]
    dearest = sorted(entries, key=lambda entry: entry[1][2], reverse=True)
    for (file, line, name), (_, times, own, cumulative, _) in dearest[:rows]:
        place = name if file == "~" else f"{_room(file, name)}: {Path(file).name}:{line} {name}"
        lines.append(f"| {place} | {own / calls * 1e6:.1f} | {cumulative / calls * 1e6:.1f} | {times / calls:.1f} |")
    return "\n".join(lines)


def _room(file: str, name: str) -> str:
    if file == "~":
        return "built in: sockets" if "socket" in name or "epoll" in name else "built in"
    if "openai_gateway/" in file:
        return "/".join(["openai_gateway", *Path(file.split("openai_gateway/")[1]).parts[:-1]])
    if "site-packages/" in file:
        return file.split("site-packages/")[1].split("/", maxsplit=1)[0]
    return "bench" if "bench_engine" in file else "standard library"
