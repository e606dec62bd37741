"""The census and checkouts of the specification: compared, shown side by side, or the one written after the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.requirements import MODERN, SPECIFICATION, Row
from tests.requirements_legacy import LEGACY
from tests.requirements_tasks import TASKS
from tests.specification.census import FILES, Entry, in_force, read_all, read_census, renewed, write_census
from tests.specification.sentences import Demand, headings_below, of_pages, of_schema

EXTENSION: Final = "https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/"


class Source(NamedTuple):
    """Where one revision or extension stands in a checkout, and at which address its pages are read."""

    name: str
    pages: Path
    schema: Path
    address: str


def sources(checkout: Path) -> Iterator[Source]:
    """What a checkout has; a draft is no revision, but an extension may have nothing else."""
    for pages in sorted(checkout.glob("docs/specification/20*")):
        schema = checkout / "schema" / pages.name / "schema.ts"
        yield Source(pages.name, pages, schema, f"{SPECIFICATION}{pages.name}/")
    if (pages := checkout / "specification" / "draft").is_dir():
        yield Source("ext-tasks", pages, checkout / "schema/draft/schema.ts", EXTENSION)


def main() -> int:
    options = argparse.ArgumentParser(prog="scripts/census", description=__doc__)
    options.add_argument("checkouts", metavar="CHECKOUT", type=Path, nargs="+")
    task = options.add_mutually_exclusive_group()
    task.add_argument("--read", metavar="NAME", help="show this one with its words")
    task.add_argument("--write", action="store_true", help="write it anew")
    asked = options.parse_args()
    found = [source for checkout in asked.checkouts for source in sources(checkout)]
    if not found:
        print("No specification is there.", file=sys.stderr)
        return 2
    if asked.write:
        for source in found:
            write(source)
        return 0
    if asked.read is not None:
        return show([source for source in found if source.name == asked.read])
    faults = [fault for source in found for fault in differences(source)]
    left = sorted(read_all().keys() - {source.name for source in found})
    counts = (f"{source.name}: {count(demands(source))}" for source in found)
    print(*faults, *counts, *(f"{name}: in none of these checkouts, so not compared" for name in left), sep="\n")
    return 1 if faults else 0


def demands(source: Source) -> tuple[Demand, ...]:
    return (*of_pages(source.pages), *of_schema(source.schema.read_text(encoding="utf-8")))


def count(of: Iterable[Demand]) -> str:
    levels = [demand.level for demand in of]
    return f"{len(levels)} demands, {levels.count('MUST')} of them MUST"


def recorded(name: str) -> tuple[Entry, ...]:
    path = FILES / f"{name}.txt"
    return read_census(path.read_text(encoding="utf-8")) if path.exists() else ()


def differences(source: Source) -> Iterator[str]:
    now = {(demand.page, demand.anchor, demand.fingerprint): demand for demand in demands(source)}
    then = {entry.place: entry for entry in recorded(source.name)}
    new, gone = now.keys() - then.keys(), then.keys() - now.keys()
    before = {fingerprint: (page, anchor) for page, anchor, fingerprint in sorted(gone)}
    for page, anchor, fingerprint in sorted(new):
        words = now[page, anchor, fingerprint].words
        where = "new" if fingerprint not in before else "moved from {}#{}".format(*before[fingerprint])
        yield f"{source.name} {page}#{anchor} {fingerprint} is {where}: {words}"
    moved = {fingerprint for _, _, fingerprint in new}
    for page, anchor, fingerprint in sorted(gone):
        if fingerprint not in moved:
            covered = " ".join(then[page, anchor, fingerprint].rows)
            yield f"{source.name} {page}#{anchor} {fingerprint} is gone; it named {covered or 'no row'}"
    for row in unlinked(source, (*MODERN, *LEGACY, *TASKS)):
        yield f"{source.name}: {row.id} links to {row.link}, where no heading is"


def unlinked(source: Source, rows: Iterable[Row]) -> Iterator[Row]:
    headings = headings_below(source.pages)
    for row in rows:
        page, _, anchor = row.link.removeprefix(source.address).partition("#")
        if row.link.startswith(source.address) and (page.removesuffix(".md"), anchor) not in headings:
            yield row


def show(named: Iterable[Source]) -> int:
    for source in named:
        words = {demand.fingerprint: demand.words for demand in demands(source)}
        for entry in in_force(read_all())[source.name]:
            covered = " ".join(entry.rows) or f"~ {entry.reason}"
            print(f"{entry.page}#{entry.anchor} {entry.fingerprint} {covered}")
            print(f"    {words.get(entry.fingerprint, '(gone)')}")
        return 0
    print("None of that name is there.", file=sys.stderr)
    return 2


def write(source: Source) -> None:
    # A new revision begins with what the older ones tell of the same words, the nearest of them first.
    older = [entry for name, told in reversed(read_all().items()) if name < source.name for entry in told]
    before = recorded(source.name) or [entry for entry in older if entry.is_told]
    entries = renewed(demands(source), before)
    (FILES / f"{source.name}.txt").write_text(write_census(entries), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
