"""The name somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known name, or "" where none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    # A long name is some other thing, and the comparison takes quadratic time.
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1) if len(name) <= 200 else []
    return f"Did you mean {by_folded[near[0]]!r}?" if near else ""
