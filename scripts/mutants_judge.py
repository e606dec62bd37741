"""What mutmut found, held out against scripts/mutants_survivors.toml: `mutants_judge.py COPY [ROOM…]`.

It fails where the share of killed mutants is below the kept one, where a mutant survives that nobody has argued, and
(when all rooms were asked) where one is argued that does not survive.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

ARGUED: Final = Path(__file__).with_name("mutants_survivors.toml").resolve()

# A mutant that never ends is noticed: the suite would not end either. All else has got away.
KILLED: Final = frozenset({"killed", "timeout"})


class Mutant(NamedTuple):
    """One change: the lines that go and the lines that come, without their indentation.

    `place` is room.function or room.Class.method, and the room alone for what is no plain function.
    """

    place: str
    was: str
    now: str


def main(copy: str, *rooms: str) -> int:
    kept = tomllib.loads(ARGUED.read_text())
    os.chdir(copy)
    found = [one for one in (*of_functions(), *of_tables()) if not rooms or one[0].place.split(".")[0] in rooms]
    for room, statuses in by_room(found).items():
        print(f"{room:<12} {score(statuses):7.2%}  {dict(statuses)}")
    total = Counter(status for _, status in found)
    print(f"{'all':<12} {score(total):7.2%}  {dict(total)}")

    if total["not checked"]:
        raise SystemExit("some were not tried, so that nothing can be said")
    survivors = [mutant for mutant, status in found if status not in KILLED]
    argued = {one for entry in kept["survivor"] for one in read_entry(entry)}
    nobody_s = [one for one in survivors if one not in argued]
    stale = [] if rooms else sorted(argued.difference(survivors))
    show("survives, and nobody has argued it:", nobody_s)
    show("is argued, and does not survive:", stale)
    too_low = not rooms and score(total) < kept["score"]
    if too_low:
        print(f"the score is below the kept one, {kept['score']:.2%}")
    return int(bool(nobody_s or stale or too_low))


def of_functions() -> Iterator[tuple[Mutant, str]]:
    """What mutmut changed, and how it ended."""
    for meta in sorted(Path("mutants/src").rglob("*.py.meta")):
        path = Path(str(meta.relative_to("mutants")).removesuffix(".meta"))
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield read(name, path), status_by_exit_code[code]


def of_tables() -> Iterator[tuple[Mutant, str]]:
    """What mutants_tables.py changed."""
    for one in json.loads(Path("tables.json").read_text()):
        yield Mutant(one["room"], tidy(one["was"]), tidy(one["now"])), one["status"]


def by_room(found: list[tuple[Mutant, str]]) -> dict[str, Counter[str]]:
    rooms: dict[str, Counter[str]] = {}
    for mutant, status in found:
        rooms.setdefault(mutant.place.split(".")[0], Counter())[status] += 1
    return rooms


def score(statuses: Counter[str]) -> float:
    return sum(statuses[status] for status in KILLED) / (statuses.total() or 1)


def read(name: str, path: Path) -> Mutant:
    diff = get_diff_for_mutant(name, path=path).split("\n")[2:]
    # openai_gateway_mcp.protocol.lines.xǁLineBufferǁ_hold__mutmut_3 is LineBuffer._hold of lines
    *_, room, mangled = name.split(".")
    function = mangled.partition("__mutmut_")[0].removeprefix("x").strip("ǁ").replace("ǁ", ".")
    place = f"{room}.{function if 'ǁ' in mangled else function.removeprefix('_')}"
    was, now = (tidy([line[1:] for line in diff if line.startswith(sign)]) for sign in "-+")
    return Mutant(place, was, now)


def read_entry(entry: dict[str, Any]) -> Iterator[Mutant]:
    if not entry["why"].strip():
        raise ValueError(f"no reason is given for what survives in {entry['place']}")
    for now in entry["now"]:
        yield Mutant(entry["place"], tidy(entry["was"].split("\n")), tidy(now.split("\n")))


def tidy(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines).strip()


def show(words: str, mutants: list[Mutant]) -> None:
    for one in mutants:
        print(f"\n{one.place} {words}")
        print("\n".join(f"  - {line}" for line in one.was.split("\n")))
        print("\n".join(f"  + {line}" for line in one.now.split("\n")))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
