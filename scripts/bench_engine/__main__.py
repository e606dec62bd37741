"""`scripts/bench engine`: what the router costs over httpx, and over h11 on a socket; alternating rounds, as ratios."""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Sequence

import measure
import report
import trio
from contestants import CONTESTANTS, Contestant

ROUNDS, QUICK_ROUNDS = 15, 3
NAMES = tuple(one.name for one in CONTESTANTS)
PROFILED = {"call": measure.one_after_the_other, "many": measure.many_at_once, "stream": measure.streamed}


def main() -> int:
    asked = _arguments()
    effort = measure.Effort(calls=100, calls_at_once=500) if asked.quick else measure.Effort()
    chosen = [one for one in CONTESTANTS if one.name in {"h11", *(asked.only or NAMES)}]
    with measure.upstream(effort.pace) as port:
        if asked.profile:
            _profile(asked.profile, next(one for one in CONTESTANTS if one.name == asked.of), port, effort)
            return 0
        runs = _all_rounds(chosen, port, asked.rounds, effort)
    print(f"\n{asked.rounds} alternating rounds on {report.machine()}\n")
    print(report.table(chosen, runs))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} short rounds")
    parser.add_argument("--rounds", type=int, help=f"how many; {ROUNDS} if not said")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="these beside the floor")
    parser.add_argument("--profile", choices=PROFILED, help="no rounds: where the time of this goes")
    parser.add_argument("--of", choices=NAMES, default="router", help="whom to profile; the router if not said")
    asked = parser.parse_args()
    asked.rounds = max(2, asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS))  # two make a spread
    return asked


def _all_rounds(
    contestants: Sequence[Contestant], port: int, rounds: int, effort: measure.Effort
) -> dict[str, list[measure.Run]]:
    """One run of each that does not count (imports, caches), then the rounds, each beginning with another."""
    runs: dict[str, list[measure.Run]] = {one.name: [] for one in contestants}
    for number in range(-1, rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        first = number % len(contestants)
        for one in [*contestants[first:], *contestants[:first]]:
            run = measure.run(one, port, effort)
            if number >= 0:
                runs[one.name].append(run)
    print(file=sys.stderr)
    return runs


def _profile(what: str, contestant: Contestant, port: int, effort: measure.Effort) -> None:
    """cProfile makes small functions look dearer than they are: read it for what to look at, not for what it gains."""
    profiler = cProfile.Profile(time.process_time)  # what others do meanwhile on the machine does not count

    async def run() -> None:
        async with contestant.open(port) as caller:
            await caller.call()
            profiler.enable()
            await PROFILED[what](caller, effort)
            profiler.disable()

    trio.run(run)
    times = {"call": effort.calls, "many": effort.calls_at_once, "stream": effort.streams * measure.EVENTS}[what]
    print(f"{contestant.title}, {what}: {times} times on {report.machine()}\n")
    print(report.profile(pstats.Stats(profiler), calls=times))


if __name__ == "__main__":
    sys.exit(main())
