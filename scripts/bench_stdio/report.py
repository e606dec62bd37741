"""The figures of all rounds as ratios to the floor, in a table that Markdown shows as one."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

import attrs
from contestants import Contestant
from measure import Run

Runs = Mapping[str, Sequence[Run]]
"""The runs of each contestant, by name; the n-th of all were made side by side."""


@attrs.frozen(kw_only=True)
class Measure:
    """A row. `aim` bounds the ratio of ours to the floor: from above, or from below where `more_is_better`."""

    title: str
    of: Callable[[Run], float]
    show: Callable[[float], str]
    aim: float | None = None
    more_is_better: bool = False


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


def _mebibytes(kibibytes: float) -> str:
    return f"{kibibytes / 1024:.1f} MiB"


MEASURES = (
    Measure(title="cold start to the initialize answer", of=lambda run: run.cold_start, show=_milliseconds, aim=1.4),
    Measure(title="cold start to the tools/list answer", of=lambda run: run.ready, show=_milliseconds),
    Measure(title="ping, p50", of=lambda run: run.ping, show=_microseconds, aim=1.6),
    Measure(
        title="tools/list, pipelined, per second",
        of=lambda run: run.per_second,
        show=lambda value: f"{value:,.0f}",
        aim=0.4,
        more_is_better=True,
    ),
    Measure(title="resident memory (RSS)", of=lambda run: run.rss, show=_mebibytes, aim=1.5),
    Measure(title="proportional memory (PSS)", of=lambda run: run.pss, show=_mebibytes),
    Measure(title="exit after the end of stdin", of=lambda run: run.exit, show=_milliseconds),
)


def ratio(measure: Measure, runs: Runs, name: str, to: str) -> float:
    """The median over the rounds of each round's own ratio, so that a load that comes and goes weighs on both."""
    return median(_ratios(measure, runs, name, to))


def _ratios(measure: Measure, runs: Runs, name: str, to: str) -> list[float]:
    return [measure.of(mine) / measure.of(theirs) for mine, theirs in zip(runs[name], runs[to], strict=True)]


def table(contestants: Sequence[Contestant], runs: Runs) -> str:
    """A line a measure, a column a contestant: the ratio to the floor, and the median figure itself."""
    lines = ["| | " + " | ".join(one.title for one in contestants) + " | aim |"]
    lines.append("|" + " --- |" * (len(contestants) + 2))
    for measure in MEASURES:
        cells = [_cell(measure, runs, one.name) for one in contestants]
        lines.append(f"| {measure.title} | {' | '.join(cells)} | {_aim(measure)} |")
    sizes = [f"{runs[one.name][-1].answer_bytes:,} B" for one in contestants]
    lines.append(f"| one tools/list answer | {' | '.join(sizes)} | |")
    return "\n".join(lines)


def verdicts(runs: Runs) -> list[str]:
    """Each aim, and whether ours meets it; with the spread of the rounds' own ratios."""
    return [_verdict(measure, measure.aim, runs) for measure in MEASURES if measure.aim is not None]


def machine() -> str:
    cpus = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    python = platform.python_version()
    return f"{len(cpus)} of {cpus[0] if cpus else platform.machine()}; Python {python}; load average {load}"


def _cell(measure: Measure, runs: Runs, name: str) -> str:
    figure = measure.show(median(measure.of(run) for run in runs[name]))
    return f"{ratio(measure, runs, name, 'floor'):.2f}x ({figure})"


def _aim(measure: Measure) -> str:
    return "" if measure.aim is None else f"{'≥' if measure.more_is_better else '≤'} {measure.aim}x"


def _verdict(measure: Measure, aim: float, runs: Runs) -> str:
    mine = ratio(measure, runs, "ours", "floor")
    low, _, high = quantiles(_ratios(measure, runs, "ours", "floor"), n=4, method="inclusive")
    met = mine >= aim if measure.more_is_better else mine <= aim
    word = "met" if met else "MISSED"
    return f"{word}: {measure.title} {mine:.2f}x (aim {_aim(measure)}; half of the rounds {low:.2f} to {high:.2f})"
