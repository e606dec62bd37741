"""The census: every demand of every revision, each with the rows that cover it or the reason why it needs none.

`census/` has a file for each revision, and for each extension that is served. A demand stands in it by its fingerprint,
since the words are not ours to keep: `scripts/census --read NAME CHECKOUT` shows both. A file reads:

    page <page of the revision>
    #<anchor of the heading that the demand stands below>
        MUST 1a2b3c4d = <id of each row that covers it>
        SHOULD 5e6f7a8b ~ <one of REASONS>
        MUST 9c0d1e2f

A demand with neither is said word for word in a newer revision, and covered as it is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.specification.sentences import Demand

FILES: Final = Path(__file__).with_name("census")

REASONS: Final = {
    "client": "the duty of a client, its host or its user interface",
    "authorization-server": "the duty of an authorization server, which we are not: we hold a resource",
    "intermediary": "the duty of what stands between a client and a server",
    "author": "the duty of who writes specifications, extensions or SDKs",
    "words": "it explains the word MUST, or tells how a word changed",
    "told-again": "a page of overview or of changes tells of what another page demands, which is counted there",
    "asks-nothing": "about questions to a client (elicitation, sampling, roots); no feature of ours asks any",
    "no-logging": "about log messages to a client; the server declares no logging and sends none",
    "no-schemas": "about schemas that come from a peer; the server takes none",
    "no-resuming": "about streams that can be resumed; ours have no event ids, and what is lost is asked again",
    "no-sessions": "about servers that demand sessions; a session's id is given out, and none is demanded",
    "no-old-tasks": "about the tasks of 2025-11-25, a capability that the server does not declare",
    "no-old-http": "about HTTP with SSE of 2024-11-05, a transport that we do not have",
    "modern-only": "about servers without the legacy revisions; ours has them",
}
"""Why a demand needs no row."""

_COVERED: Final = re.compile(
    r"    (?P<level>MUST|SHOULD) (?P<fingerprint>[0-9a-f]{8})(?: = (?P<rows>\S+(?: \S+)*)| ~ (?P<reason>\S+))?"
)


@attrs.frozen
class Entry:
    """One demand: `rows` cover it, or `reason` says why none does. With neither it is as in a newer revision."""

    page: str
    anchor: str
    level: str
    fingerprint: str
    rows: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_told(self) -> bool:
        return bool(self.rows or self.reason)

    @property
    def place(self) -> tuple[str, str, str]:
        return self.page, self.anchor, self.fingerprint


def read_census(text: str) -> tuple[Entry, ...]:
    """The entries of one file; ValueError for a line that fits nowhere."""
    return tuple(_entries(text))


def _entries(text: str) -> Iterator[Entry]:
    page = anchor = ""
    for line in filter(None, text.splitlines()):
        if line.startswith("page "):
            page, anchor = line.removeprefix("page "), ""
        elif line.startswith("#"):
            anchor = line[1:]
        elif match := _COVERED.fullmatch(line):
            rows = tuple((match["rows"] or "").split())
            yield Entry(page, anchor, match["level"], match["fingerprint"], rows, match["reason"] or "")
        else:
            raise ValueError(f"neither a page nor an anchor nor a demand: {line!r}")


def write_census(entries: Iterable[Entry]) -> str:
    """A file that reads back as these."""
    lines: list[str] = []
    page = anchor = None
    for entry in entries:
        if entry.page != page:
            lines += ["", f"page {entry.page}"] if lines else [f"page {entry.page}"]
            page, anchor = entry.page, None
        if entry.anchor != anchor:
            lines.append(f"#{entry.anchor}")
            anchor = entry.anchor
        covered = f" = {' '.join(entry.rows)}" if entry.rows else f" ~ {entry.reason}" if entry.reason else ""
        lines.append(f"    {entry.level} {entry.fingerprint}{covered}")
    return "\n".join(lines) + "\n"


def read_all() -> dict[str, tuple[Entry, ...]]:
    """Every census by its name, the newest revision first; one of an extension follows those of the revisions."""
    names = sorted(
        (path.stem for path in FILES.glob("*.txt")), key=lambda name: (name[0].isdigit(), name), reverse=True
    )
    return {name: read_census((FILES / f"{name}.txt").read_text(encoding="utf-8")) for name in names}


def in_force(censuses: Mapping[str, Iterable[Entry]]) -> dict[str, tuple[Entry, ...]]:
    """The same with each entry told: what is as in a newer revision, as the nearest one has it where it comes first.

    What no newer revision has either stays untold.
    """
    newer: dict[str, Entry] = {}
    told: dict[str, tuple[Entry, ...]] = {}
    for name, entries in censuses.items():
        told[name] = tuple(_as_in(newer, entry) for entry in entries)
        newer = {**newer, **{entry.fingerprint: entry for entry in reversed(told[name])}}
    return told


def _as_in(newer: Mapping[str, Entry], entry: Entry) -> Entry:
    like = None if entry.is_told else newer.get(entry.fingerprint)
    return entry if like is None else attrs.evolve(entry, rows=like.rows, reason=like.reason)


def renewed(demands: Iterable[Demand], before: Iterable[Entry]) -> tuple[Entry, ...]:
    """The census of these demands. What `before` told of one stays; what is new is untold.

    A demand that has moved takes along what was told of its fingerprint elsewhere.
    """
    by_place = {entry.place: entry for entry in before}
    by_fingerprint = {entry.fingerprint: entry for entry in before}
    return tuple(
        Entry(new.page, new.anchor, new.level, new.fingerprint, old.rows, old.reason)
        if (old := by_place.get((new.page, new.anchor, new.fingerprint)) or by_fingerprint.get(new.fingerprint))
        else Entry(new.page, new.anchor, new.level, new.fingerprint)
        for new in demands
    )
