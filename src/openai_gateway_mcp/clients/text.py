"""Changes of a text in places, and what its lines look like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Json = Any


class Unreadable(Exception):
    """The file is not what it should be, and so it is left as it is. The words say what is wrong with it."""


Change = tuple[int, int, str]
"""From, to, and what comes in the place of that."""


def changed(text: str, changes: Iterable[Change]) -> str:
    """The text with all changes, whose places are those of the text as it was, and do not overlap."""
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def newline_of(text: str) -> str:
    """What its first line ends with."""
    found = re.search(r"\r?\n", text)
    return found[0] if found else "\n"


def indent_at(text: str, place: int) -> str:
    """The white space that the line of this place begins with."""
    found = re.compile(r"[ \t]*").match(text, line_at(text, place))
    return found[0] if found else ""


def line_at(text: str, place: int) -> int:
    """Where the line of this place begins."""
    return text.rfind("\n", 0, place) + 1
