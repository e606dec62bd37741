"""Plain values written as TOML that reads back as the same values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def toml(document: Mapping[str, Any]) -> str:
    """The document: single values first, then its tables and its lists of tables, with an empty line between.

    Values are texts, booleans, numbers, lists and mappings of these; a table inside of a table's value stands inline.
    Raises TypeError for anything else, and ValueError for a text with a lone surrogate, which no file can hold.
    """
    single = [f"{_key(name)} = {_value(value)}" for name, value in document.items() if not _is_section(value)]
    sections = [part for name, value in document.items() if _is_section(value) for part in _sections(name, value)]
    return "\n\n".join(["\n".join(single)] * bool(single) + sections) + "\n"


def is_text(value: Any) -> bool:
    """Whether it can be a text of a configuration: not blank, no half characters (JSON can hold such)."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_tables(value)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _sections(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        for table in value:
            yield _section(f"[[{_key(name)}]]", table)
    elif value and all(isinstance(inner, Mapping) for inner in value.values()):
        for inner, table in value.items():
            yield _section(f"[{_key(name)}.{_key(inner)}]", table)
    else:
        yield _section(f"[{_key(name)}]", value)


def _section(header: str, table: Mapping[str, Any]) -> str:
    return "\n".join((header, *(f"{_key(name)} = {_value(value)}" for name, value in table.items())))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):  # before int, which it is too
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)  # Python's words for inf and nan are TOML's
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"TOML has no place for a value of type {type(value).__name__}")


def _text(value: str) -> str:
    value.encode()  # raises for a lone surrogate
    return f'"{"".join(map(_character, value))}"'


def _character(character: str) -> str:
    """Itself, or its escape: also for all that does not print, since a terminal obeys some of that."""
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
