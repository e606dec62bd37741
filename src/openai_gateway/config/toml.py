"""TOML tables, read strictly: values of the exact type, and an unknown key is an error with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from openai_gateway.errors import ConfigError
from openai_gateway.wire.nearest import did_you_mean

Path = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*+(\[\[?)([^\[\]]++)\]")  # the blanks in it are tried as one thing alone
_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART: Final = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


def lines_of(text: str) -> dict[Path, int]:
    """Where each table and each key begins, counted from 1.

    tomllib tells no lines; this reads just enough to find them. Text inside a multi-line string may look like a key:
    then a line may be wrong, never a value.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


@attrs.frozen(kw_only=True)
class Document:
    """One file: its name for messages, and its lines."""

    name: str
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int | None:
        """The line of the path, or of the first thing in it, or of the nearest thing around it that has one."""
        inside = (line for known, line in self.lines.items() if known[: len(path)] == path)
        around = (self.lines[path[:end]] for end in range(len(path) - 1, 0, -1) if path[:end] in self.lines)
        return next(inside, None) or next(around, None)

    def fault(self, path: Path, message: str) -> ConfigError:
        line = self.line(path)
        return ConfigError(f"{self.name}{'' if line is None else f', line {line}'}: {message}")


@attrs.frozen(kw_only=True)
class Table:
    """One table of a document, at `path`. Each reader gives None where the key is absent, and raises ConfigError."""

    document: Document
    path: Path
    content: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The table as its header spells it: `[providers.openai]`, `[[models]]`; the outermost has none."""
        if not self.path:
            return "the file"
        names = ".".join(part for part in self.path if isinstance(part, str))
        return f"[[{names}]]" if isinstance(self.path[-1], int) else f"[{names}]"

    def fault(self, key: str, message: str) -> ConfigError:
        return self.document.fault((*self.path, key), message)

    def wrong(self, key: str, allowed: str) -> ConfigError:
        """The error for a value of the wrong type or size; it shows no text, which might be a secret."""
        value = self.content[key]
        came = repr(value) if isinstance(value, bool | int | float) else f"of type {_TYPES.get(type(value), 'date')}"
        return self.fault(key, f"{key} in {self.title} is {came}; allowed is {allowed}.")

    def only(self, known: Iterable[str]) -> None:
        names = sorted(known)
        for key in self.content:
            if key not in names:
                hint = did_you_mean(key, names) or f"Known are {', '.join(names)}."
                raise self.fault(key, f"unknown key {key!r} in {self.title}. {hint}")

    def text(self, key: str) -> str | None:
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, "a text")
        return value.strip()

    def required(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise self.document.fault(self.path, f"{self.title} has no {key!r}, which it needs.")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.content.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(self, key: str, *, least: float = 0, above: bool = False, most: float = math.inf) -> float | None:
        """A number, integer or not, from `least` (or, with `above`, more than it) to `most`."""
        value = self.content.get(key)
        if value is None:
            return None
        sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not sound or not (least < value if above else least <= value) or value > most:
            limit = f"more than {least:g}" if above else f"at least {least:g}"
            raise self.wrong(key, f"a number, {limit}" + ("" if math.isinf(most) else f" and at most {most:g}"))
        return float(value)

    def integer(self, key: str, *, least: int = 0, most: int = 2**53) -> int | None:
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most}")
        return value

    def table(self, key: str) -> Table | None:
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return self._child(key, value)

    def _child(self, key: str, content: Mapping[str, Any]) -> Table:
        return Table(document=self.document, path=(*self.path, key), content=content)

    def children(self) -> Iterator[tuple[str, Table]]:
        """Each key of a table that holds nothing but tables."""
        for key, value in self.content.items():
            if not isinstance(value, dict):
                raise self.wrong(key, "a table")
            yield key, self._child(key, value)

    def tables(self, key: str) -> tuple[Table, ...]:
        """The tables of an array of tables (`[[key]]`)."""
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, f"[[{key}]] tables")
        return tuple(
            Table(document=self.document, path=(*self.path, key, at), content=item) for at, item in enumerate(value)
        )


_TYPES: Final[dict[type, str]] = {str: "text", list: "list", dict: "table"}
