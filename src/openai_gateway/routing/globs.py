"""Names with `*` in them: what a key may use."""

from __future__ import annotations

from collections.abc import Iterable


def is_allowed(name: str, globs: Iterable[str] | None) -> bool:
    """Whether one of the globs is the whole of `name`; None allows all. Only `*` means something: any characters."""
    return globs is None or any(_fits(glob, name) for glob in globs)


def _fits(glob: str, name: str) -> bool:
    """By the first place of each piece between two stars, behind the piece before: a later one would leave less room.

    A regular expression tries them all, which takes a name of n characters n² steps with two stars and n³ with three.
    """
    first, *between = glob.split("*")
    if not between:
        return name == glob
    last = between.pop()
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in between:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
