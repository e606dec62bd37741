"""The demands of a specification: each sentence of its pages, and of its schema's comments, that says MUST or SHOULD.

A page is Markdown with components (MDX). A demand is

- a sentence with one of the words of BCP 14, in capitals, that demand (MAY and OPTIONAL do not);
- an item of a list whose lead-in is such a sentence ("Servers MUST:"), read after it, up to where it demands by itself;
- a row of a table with such a word.

Its words alone count, not its markup or where its links lead, so that it stays the same from revision to revision.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Final

import attrs
from markdown_it import MarkdownIt
from markdown_it.token import Token

_STRONG: Final = re.compile(r"\b(MUST|SHALL|REQUIRED)\b")
_DEMAND: Final = re.compile(r"\b(MUST|SHALL|REQUIRED|SHOULD|RECOMMENDED)\b")
_MARKUP: Final = re.compile(r"</?[A-Za-z][^<>]*>|\{/\*.*?\*/\}")
_FULL_STOP: Final = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(?<=[.!?])[)\"']*\s+(?=[\"'(`]*[A-Z`])")
_FRONT_MATTER: Final = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_DOCUMENTED: Final = re.compile(
    r"/\*\*(?P<comment>.*?)\*/(?P<above>(?=\s*export ))?|^export (?:interface|type|const) (?P<name>\w+)",
    re.DOTALL | re.MULTILINE,
)

# Components are words between blank lines, and what stands in one is indented: neither is HTML or code to us.
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table").disable(["html_block", "html_inline", "code"])


@attrs.frozen
class Demand:
    """One demand, in plain words, and the heading that it stands below, as the site names both."""

    page: str
    anchor: str
    words: str

    @property
    def level(self) -> str:
        return "MUST" if _STRONG.search(self.words) else "SHOULD"

    @property
    def fingerprint(self) -> str:
        """The first eight hex digits of the SHA-256 of its words."""
        return hashlib.sha256(self.words.encode()).hexdigest()[:8]


def of_pages(folder: Path) -> Iterator[Demand]:
    """Those of every page below a folder. The generated page of the schema is left to `of_schema`."""
    for path in sorted(folder.rglob("*.md*")):
        page = path.relative_to(folder).with_suffix("").as_posix()
        if page != "schema":
            yield from of_page(page, path.read_text(encoding="utf-8"))


def headings_below(folder: Path) -> set[tuple[str, str]]:
    """Each page below a folder with each of its anchors, and with "" for its beginning."""
    return {
        (path.relative_to(folder).with_suffix("").as_posix(), anchor)
        for path in folder.rglob("*.md*")
        for anchor in ("", *_headings(path.read_text(encoding="utf-8")))
    }


def _headings(text: str) -> list[str]:
    return [slug(words) for kind, words in _Reader().read(text) if kind == "heading"]


def of_page(page: str, text: str) -> Iterator[Demand]:
    """Those of one page, in their order; a demand that stands twice below one heading comes once."""
    seen = set()
    anchor = ""
    for kind, words in _Reader().read(_FRONT_MATTER.sub("", text)):
        if kind == "heading":
            anchor = slug(words)
        elif (demand := Demand(page, anchor, words)) not in seen:
            seen.add(demand)
            yield demand


def of_schema(text: str) -> Iterator[Demand]:
    """Those of the comments of a schema in TypeScript, below the type that each belongs to, which is the anchor."""
    return iter(dict.fromkeys(_of_comments(text)))


def _of_comments(text: str) -> Iterator[Demand]:
    owner = above = ""
    for match in _DOCUMENTED.finditer(text):
        if match["name"] is not None:
            owner, said, above = match["name"].lower(), above, ""
        elif match["above"] is None:
            said = _comment(match["comment"])
        else:
            above = _comment(match["comment"])
            continue
        for demand in of_page("schema", said):
            yield attrs.evolve(demand, anchor=owner)


def _comment(text: str) -> str:
    lines = [re.sub(r"^\s*\* ?", "", line) for line in text.splitlines()]
    # Each block tag begins a paragraph.
    plain = "\n".join("\n" + line if line.startswith("@") else line for line in lines)
    return re.sub(r"\{@link (?:[^}|]*\| ?)?([^}]*)\}", r"\1", plain)


def slug(heading: str) -> str:
    """What the site makes of a heading for its anchor."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower().replace("&", "amp")).strip("-")


class _Reader:
    """Walks one page; `_leads` are the lead-ins of the lists that are open, empty for a list without one."""

    def __init__(self) -> None:
        self._leads: list[str] = []
        self._lead = ""

    def read(self, text: str) -> Iterator[tuple[str, str]]:
        """Pairs of "heading" or "demand" and plain words."""
        tokens = iter(_MARKDOWN.parse(text))
        for token in tokens:
            match token.type:
                case "bullet_list_open" | "ordered_list_open":
                    self._leads.append(self._lead)
                    self._lead = ""
                case "bullet_list_close" | "ordered_list_close":
                    yield from self._left_alone()
                    self._leads.pop()
                case "heading_open":
                    yield from self._left_alone()
                    yield "heading", _plain(next(tokens))
                case "tr_open":
                    yield from self._left_alone()
                    yield from self._row(tokens)
                case "inline":
                    yield from self._left_alone()
                    yield from self._block(_plain(token))
                case "fence":
                    yield from self._left_alone()
        yield from self._left_alone()

    def _left_alone(self) -> Iterator[tuple[str, str]]:
        """A lead-in that no list followed is a demand like any other."""
        if self._lead:
            yield "demand", self._lead
        self._lead = ""

    def _block(self, words: str) -> Iterator[tuple[str, str]]:
        lead = self._leads[-1] if self._leads else ""
        sentences = _FULL_STOP.split(words)
        if lead:
            # What an item says before it demands anything by itself belongs to the lead-in.
            led = list(takewhile(lambda sentence: not _DEMAND.search(sentence), sentences))
            if led:
                yield "demand", " ".join((lead, *led))
            del sentences[: len(led)]
        for sentence in sentences:
            if not _DEMAND.search(sentence):
                continue
            if sentence.endswith(":"):
                self._lead = sentence
            else:
                yield "demand", sentence

    @staticmethod
    def _row(tokens: Iterator[Token]) -> Iterator[tuple[str, str]]:
        cells = []
        for token in tokens:
            if token.type == "tr_close":
                break
            if token.type == "inline":
                cells.append(_plain(token))
        row = " | ".join(cells)
        if _DEMAND.search(row):
            yield "demand", row


def _plain(inline: Token) -> str:
    words = "".join(
        " " if child.type in {"softbreak", "hardbreak"} else child.content for child in inline.children or ()
    )
    return " ".join(_MARKUP.sub(" ", words).split())
