"""A configuration file as bytes: one entry goes in or out, which is then checked by reading all of it again."""

from __future__ import annotations

import copy
import enum
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from openai_gateway_mcp.clients import jsonc, toml, yaml
from openai_gateway_mcp.clients.text import Unreadable

Json = Any

_BOM: Final = b"\xef\xbb\xbf"


class Format(enum.Enum):
    JSON = "JSON"
    TOML = "TOML"
    YAML = "YAML"


@attrs.frozen(kw_only=True)
class Entry:
    """What goes in: `value` under `name` in the mapping at `path`, or in the array there, where `name` is its `id`."""

    path: tuple[str, ...]
    name: str
    value: Mapping[str, Json] = attrs.field(factory=dict)
    in_array: bool = False


def with_entries(content: bytes, form: Format, entries: Sequence[Entry]) -> bytes:
    """The file with all entries, and all else as it was byte for byte. Raises Unreadable, and nothing is lost then."""
    text, bom = _decoded(content)
    for entry in entries:
        expected = _with(_read(text, form), entry)
        text = _put(text, form, entry)
        _check(text, form, expected)
    return bom + text.encode()


def without_entries(content: bytes, form: Format, entries: Sequence[Entry], original: bytes | None = None) -> bytes:
    """The file without them. Raises Unreadable.

    `original` is the file as it was before they were put in: where the rest is still the same, that is the answer, to
    its last blank. None: there was no such file, and where nothing else is in it now, the answer is empty.
    """
    text, bom = _decoded(content)
    ways = list(itertools.product((False, True), repeat=len(entries)))
    bare, *others = (_without_all(text, form, entries, way) for way in ways)
    pruned = others[-1] if others else bare
    if original is None:
        is_nothing = not _unpadded(_read(pruned, form)) and not any(mark in pruned for mark in ("#", "//", "/*"))
        return b"" if is_nothing else bom + bare.encode()
    before, _ = _decoded(original)
    if any(_same(one, before, form) for one in (bare, *others)):
        return original
    return bom + bare.encode()


def has_entry(content: bytes, form: Format, entry: Entry) -> bool:
    """Raises Unreadable."""
    data = _read(_decoded(content)[0], form)
    return bool(_without(data, entry) != data)


def _decoded(content: bytes) -> tuple[str, bytes]:
    bom = _BOM if content.startswith(_BOM) else b""
    try:
        return content[len(bom) :].decode(), bom
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 (byte {error.start})") from None


def _read(text: str, form: Format) -> Json:
    return {Format.JSON: jsonc.read, Format.TOML: toml.read, Format.YAML: yaml.read}[form](text)


def _put(text: str, form: Format, entry: Entry) -> str:
    if form is Format.JSON:
        return jsonc.put(text, entry.path, entry.name, entry.value, into=list if entry.in_array else dict)
    return {Format.TOML: toml.put, Format.YAML: yaml.put}[form](text, entry.path, entry.name, entry.value)


def _without_all(text: str, form: Format, entries: Sequence[Entry], prunes: Sequence[bool]) -> str:
    """Without the entries, and without what is empty then, where `prunes` says so of an entry."""
    for entry, prune in zip(entries, prunes, strict=True):
        expected = _without(_read(text, form), entry)
        if form is Format.TOML:
            text = toml.take(text, entry.path, entry.name)
        else:
            take = jsonc.take if form is Format.JSON else yaml.take
            text = take(text, entry.path, entry.name, prune=prune)
        _check(text, form, expected)
    return text


def _check(text: str, form: Format, expected: Json) -> None:
    if _unpadded(_read(text, form)) != _unpadded(expected):
        raise Unreadable("it is written in a way in which this entry cannot be changed without touching others")


def _unpadded(data: Json) -> Json:
    """Without what is empty below the top: a mapping without entries says as much as none."""
    if not isinstance(data, dict):
        return data
    return {key: value for key, value in data.items() if value not in ({}, [], None)}


def _with(data: Json, entry: Entry) -> Json:
    data = copy.deepcopy(data)
    outer, holder = None, data
    for step in entry.path:
        if not isinstance(holder, dict):
            raise Unreadable(f"{'.'.join(entry.path)} is not what it should be")
        outer = holder
        holder = holder.setdefault(step, [] if entry.in_array and step == entry.path[-1] else {})
        if holder is None:
            holder = outer[step] = {}
    if entry.in_array and isinstance(holder, list):
        places = [n for n, item in enumerate(holder) if isinstance(item, dict) and item.get("id") == entry.name]
        if places:
            holder[places[0]] = dict(entry.value)
        else:
            holder.append(dict(entry.value))
    elif not entry.in_array and isinstance(holder, dict):
        holder[entry.name] = dict(entry.value)
    else:
        raise Unreadable(f"{'.'.join(entry.path)} is not {'an array' if entry.in_array else 'a mapping'}")
    return data


def _without(data: Json, entry: Entry) -> Json:
    data = copy.deepcopy(data)
    holder = data
    for step in entry.path:
        holder = holder.get(step) if isinstance(holder, dict) else None
    if isinstance(holder, list):
        holder[:] = [item for item in holder if not (isinstance(item, dict) and item.get("id") == entry.name)]
    elif isinstance(holder, dict):
        holder.pop(entry.name, None)
    return data


def _same(text: str, before: str, form: Format) -> bool:
    """Whether they differ in white space and commas alone, and say the same."""
    bare, was = (re.sub(r"[\s,]+", "", one) for one in (text, before))
    return bare == was and _unpadded(_read(text, form)) == _unpadded(_read(before, form))
