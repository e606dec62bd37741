"""TOML: a table of our own is written behind everything else, and taken out by its lines."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_gateway_mcp.clients.text import Unreadable, newline_of

Json = Any

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_HEADER: Final = re.compile(rf"[ \t]*\[{{1,2}}[ \t]*({_KEY}(?:[ \t]*\.[ \t]*{_KEY})*)[ \t]*\]{{1,2}}[ \t]*(?:#.*)?")


def read(text: str) -> Json:
    """What it says. Raises Unreadable."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's own, and Python's of a number with too many digits
        raise Unreadable(f"it is not valid TOML: {error}") from None


def put(text: str, path: Sequence[str], name: str, value: Mapping[str, Json]) -> str:
    """With the table of this name below `path`; one that was there is replaced."""
    text = take(text, path, name)
    newline = newline_of(text)
    block = newline.join(_table([*path, name], value)) + newline
    if not text:
        return block
    gap = newline if text.endswith("\n") else newline * 2
    return text + gap + block


def _table(path: Sequence[str], value: Mapping[str, Json]) -> list[str]:
    lines = [f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_scalar(one)}" for key, one in value.items() if not isinstance(one, Mapping)]
    for key, one in value.items():
        if isinstance(one, Mapping):
            lines += ["", *_table([*path, key], one)]
    return lines


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _scalar(key)


def _scalar(value: Json) -> str:
    """JSON's strings, numbers and arrays are TOML's too, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def take(text: str, path: Sequence[str], name: str) -> str:
    """Without the table and those below it, and without one empty line before it."""
    wanted = [*path, name]
    kept: list[str] = []
    is_ours = False
    trailing: list[str] = []  # comments and empty lines, which may belong to the table behind ours
    for line in text.splitlines(keepends=True):
        header = _HEADER.fullmatch(line.rstrip("\r\n"))
        if header is not None:
            was_ours, is_ours = is_ours, _keys(header[1])[: len(wanted)] == wanted
            if was_ours and not is_ours:
                kept += trailing
            elif is_ours and not was_ours and kept and not kept[-1].strip():
                kept.pop()
            trailing = []
        if not is_ours:
            kept.append(line)
        elif not line.strip() or line.lstrip().startswith("#"):
            trailing.append(line)
        else:
            trailing = []
    return "".join([*kept, *trailing])


def _keys(dotted: str) -> list[str]:
    found = re.findall(_KEY, dotted)
    return [next(iter(tomllib.loads(f"{key} = 1"))) for key in found]
