"""Settings as rows of a table, and what flags and the environment say of each."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping

import attrs

from openai_gateway.errors import ConfigError

Flags = Mapping[str, str]
"""What the command line said: name of a setting → its text ("true" for a switch)."""


class Sort(enum.Enum):
    """How a setting is written."""

    TEXT = "text"
    SWITCH = "switch"
    KEY = "key"
    SECONDS = "seconds"
    COUNT = "count"
    LEVEL = "level"
    TOOLS = "tools"


@attrs.frozen(kw_only=True)
class Setting:
    """A row: its names, what it is when nobody says, and its bounds (inclusive) if it is a number.

    `metavar` is what its help calls the value, where the sort does not say it. `serves`: only a server heeds it.
    """

    name: str
    variable: str | None
    flag: str | None
    sort: Sort
    default: str
    help: str
    low: float = 0
    high: float = math.inf
    metavar: str = ""
    serves: bool = False


LEVELS = ("debug", "info", "warn", "error")


class Said:
    """What flags and environment say of each setting. A blank variable says nothing; a blank flag is wrong."""

    def __init__(self, environ: Mapping[str, str], flags: Flags, rows: Iterable[Setting]) -> None:
        self.environ = environ
        self.flags = flags
        self._rows = {row.name: row for row in rows}

    def text(self, name: str) -> str:
        row = self._rows[name]
        if name in self.flags:
            if not (value := self.flags[name].strip()):
                raise ConfigError(f"{row.flag} is empty; leave it out, or give it a value.")
            return value
        return self._variable(row) or row.default

    def by(self, name: str) -> str:
        """Who said it, for an error: the flag or the variable."""
        row = self._rows[name]
        return str(row.flag if name in self.flags else row.variable)

    def _variable(self, row: Setting) -> str:
        return self.environ.get(row.variable, "").strip() if row.variable else ""

    def number(self, name: str) -> float:
        row, raw = self._rows[name], self.text(name)
        value = _whole(raw) if row.sort is Sort.COUNT else _decimal(raw)
        if not row.low <= value <= row.high:  # a NaN fails this too
            what = "a whole number" if row.sort is Sort.COUNT else "a number of seconds"
            raise ConfigError(f"{self.by(name)} is {raw!r}; allowed is {what} from {row.low:g} to {row.high:.0f}.")
        return value

    def maybe(self, name: str) -> str | None:
        """The text, None where nobody said any."""
        return self.text(name) or None

    def names(self, name: str) -> frozenset[str]:
        """A list with commas."""
        return frozenset(one.strip() for one in self.text(name).split(",") if one.strip())

    def level(self) -> str:
        raw = self.text("log_level")
        if raw.lower() not in LEVELS:
            raise ConfigError(f"{self.by('log_level')} is {raw!r}; allowed is one of {', '.join(LEVELS)}.")
        return raw.lower()


def _whole(raw: str) -> float:
    # int() alone would take "1_0" and other scripts' digits; ten digits are more than any setting here needs.
    return int(raw) if raw.isascii() and raw.isdecimal() and len(raw) <= 10 else math.nan


def _decimal(raw: str) -> float:
    try:
        return float(raw) if raw.isascii() and "_" not in raw else math.nan
    except ValueError:
        return math.nan
