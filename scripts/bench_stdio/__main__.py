"""`scripts/bench stdio`: our server beside a floor and two peers, in alternating rounds, as ratios."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import measure
import report
from contestants import NAMES, CannotInstall, Contestant, install

ROUNDS, QUICK_ROUNDS = 15, 3


def main() -> int:
    asked = _arguments()
    names = [name for name in NAMES if name in {"floor", *(asked.only or NAMES)}]
    try:
        contestants = install(names)
        runs = _all_rounds(contestants, asked.rounds, _effort(quick=asked.quick))
    except (CannotInstall, measure.Broken) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{asked.rounds} alternating rounds on {report.machine()}\n")
    print(report.table(contestants, runs))
    if "ours" in names:
        print()
        print("\n".join(report.verdicts(runs)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench stdio", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} short rounds")
    parser.add_argument("--rounds", type=int, help=f"how many; {ROUNDS} if not said")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="these beside the floor")
    asked = parser.parse_args()
    asked.rounds = max(2, asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS))  # two make a spread
    return asked


def _effort(*, quick: bool) -> measure.Effort:
    return measure.Effort(pings=200, pipelined=500, pipelined_seconds=0.1, settle=0.3) if quick else measure.Effort()


def _all_rounds(contestants: Sequence[Contestant], rounds: int, effort: measure.Effort) -> report.Runs:
    """One run of each that does not count (byte code and disk cache), then the rounds, each beginning with another."""
    runs: dict[str, list[measure.Run]] = {one.name: [] for one in contestants}
    for number in range(-1, rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        first = number % len(contestants)
        for one in [*contestants[first:], *contestants[:first]]:
            try:
                run = measure.run(one, effort)
            except measure.Broken as error:
                raise measure.Broken(f"{one.title}: {error}") from error
            if number >= 0:
                runs[one.name].append(run)
    print(file=sys.stderr)
    return runs


if __name__ == "__main__":
    sys.exit(main())
