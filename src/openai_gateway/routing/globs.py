"""Names with `*` in them: what a key may use."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable


def is_allowed(name: str, globs: Iterable[str] | None) -> bool:
    """Whether one of the globs is the whole of `name`; None allows all. Only `*` means something: any characters."""
    return globs is None or any(_pattern(glob).fullmatch(name) is not None for glob in globs)


@functools.lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, glob.split("*"))), re.DOTALL)
