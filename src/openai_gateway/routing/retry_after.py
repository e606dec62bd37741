"""What an upstream says about coming back: its headers, read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import Final

_MOST: Final = 86_400.0
"""Seconds. No call lives longer than a day, and to people more of it says no more than that."""


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds to wait, 0 to a day, of `retry-after-ms` or `retry-after` (seconds or an HTTP date); None if unsaid.

    `headers` have lower-case names; `wall` is the time of day in seconds of the epoch.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    said = headers.get("retry-after", "")
    seconds = _number(said)
    if seconds is None:
        date = _date(said)
        seconds = None if date is None else date - wall
    return None if seconds is None else _bounded(seconds)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """The word of `x-should-retry`, None where there is none."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), _MOST)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _date(text: str) -> float | None:
    parts = parsedate_tz(text)
    try:
        return None if parts is None else float(mktime_tz(parts))
    except (ValueError, OverflowError):  # a year beyond 9999
        return None
