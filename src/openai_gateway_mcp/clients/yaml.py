"""YAML: an entry of our own is written as lines below its mapping, and taken out by them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.clients.text import Unreadable, newline_of

Json = Any

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def read(text: str) -> Json:
    """What it says; an empty text is an empty mapping. Raises Unreadable, and ConfigError without the extra."""
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("This client's file is YAML: pip install 'openai-gateway-mcp[yaml]'.") from None
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Unreadable(f"it is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict | None):
        raise Unreadable("the whole is not a mapping")
    return found or {}


def put(text: str, path: Sequence[str], name: str, value: Mapping[str, Json]) -> str:
    """With the entry of this name below the one top-level key of `path`; one that was there is replaced."""
    (top,) = path
    text = take(text, path, name)
    newline = newline_of(text)
    lines = text.splitlines(keepends=True)
    place = _place_of(lines, top)
    if place is None:
        start = [] if not text or text.endswith("\n") else [newline]
        block = [f"{top}:{newline}", *_entry(name, value, "  ", newline)]
        return text + "".join([*start, *block])
    if not lines[place].endswith("\n"):
        lines[place] += newline
    indent = _indent_below(lines, place) or "  "
    return "".join([*lines[: place + 1], *_entry(name, value, indent, newline), *lines[place + 1 :]])


def _entry(name: str, value: Mapping[str, Json], indent: str, newline: str) -> list[str]:
    """What stands below is written as JSON, which is YAML too."""
    step = indent * 2
    inner = [f"{step}{_key(key)}: {json.dumps(one, ensure_ascii=True)}{newline}" for key, one in value.items()]
    return [f"{indent}{_key(name)}:{newline}", *inner]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key)


def take(text: str, path: Sequence[str], name: str, *, prune: bool = False) -> str:
    """Without the entry's lines; `prune`: nor the key above them, if nothing else is below it."""
    (top,) = path
    lines = text.splitlines(keepends=True)
    place = _place_of(lines, top)
    indent = "" if place is None else _indent_below(lines, place)
    if place is None or not indent:
        return text
    ours = re.compile(rf"{indent}(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')[ ]*:(?:[ ].*)?")
    below = range(place + 1, _end_of(lines, place))
    begin = next((n for n in below if ours.fullmatch(lines[n].rstrip("\r\n"))), None)
    if begin is None:
        return text
    end = begin + 1
    while end < len(lines) and lines[end].startswith((f"{indent} ", f"{indent}\t")):
        end += 1
    rest = lines[:begin] + lines[end:]
    if prune and begin == place + 1 and not _indent_below(rest, place):
        del rest[place]
    return "".join(rest)


def _place_of(lines: Sequence[str], top: str) -> int | None:
    """The line of a top-level key whose mapping stands below it. Raises Unreadable where there are two."""
    wanted = re.compile(rf"(?:{re.escape(top)}|\"{re.escape(top)}\"|'{re.escape(top)}')[ ]*:[ ]*(?:#.*)?")
    places = [n for n, line in enumerate(lines) if wanted.fullmatch(line.rstrip("\r\n"))]
    if len(places) > 1:
        raise Unreadable(f"{top} stands in it twice")
    return places[0] if places else None


def _end_of(lines: Sequence[str], place: int) -> int:
    """The line at which the next top-level key, or the end, comes."""
    rest = range(place + 1, len(lines))
    return next((n for n in rest if lines[n].strip() and lines[n][0] not in " \t#\r"), len(lines))


def _indent_below(lines: Sequence[str], place: int) -> str:
    for line in lines[place + 1 : _end_of(lines, place)]:
        if line.strip() and not line.lstrip().startswith("#"):
            return line[: len(line) - len(line.lstrip(" "))]
    return ""
