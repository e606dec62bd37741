"""JSON as clients write it, comments and trailing commas included: read with its places, and changed there alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from openai_gateway_mcp.clients.text import Change, Unreadable, changed, indent_at, line_at, newline_of

Json = Any

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_MAX_DEPTH: Final = 100


@attrs.frozen
class Slot:
    """A member of an object or an item of an array; `name` is an item's `id`, if it has one."""

    name: str | None
    start: int
    node: Node


@attrs.frozen
class Node:
    """A value, where it stands, and where the comma behind its last slot is, if there is one."""

    start: int
    end: int
    value: Json
    slots: tuple[Slot, ...] = ()
    last_comma: int | None = None

    def slot(self, name: str) -> Slot | None:
        """Raises Unreadable where there are two: nobody knows which of them counts."""
        found = [slot for slot in self.slots if slot.name == name]
        if len(found) > 1:
            raise Unreadable(f"{json.dumps(name)} stands in it twice")
        return found[0] if found else None


def read(text: str) -> Json:
    """What it says; an empty text is an empty object. Raises Unreadable."""
    return _parse(text).value if text.strip() else {}


def put(text: str, path: Sequence[str], name: str, value: Json, *, into: type = dict) -> str:
    """With `value` under `name` in the object (or, by its `id`, in the array) at `path`, made where it is missing.

    Raises Unreadable.
    """
    if not text.strip():
        text = "{}" + newline_of(text)
    root = _parse(text)
    style = _Style.of(text, root)
    node = root
    for depth, step in enumerate(path):
        _expect(node, dict, path[:depth])
        slot = node.slot(step)
        if slot is None:
            inner: Json = {name: value} if into is dict else [value]
            for outer in reversed(path[depth + 1 :]):
                inner = {outer: inner}
            return changed(text, style.insertion(text, node, step, inner))
        node = slot.node
    _expect(node, into, path)
    slot = node.slot(name)
    if slot is None:
        return changed(text, style.insertion(text, node, name if into is dict else None, value))
    shown = style.rendered(value, indent_at(text, slot.start), is_flat=_is_flat(text, slot.node))
    return changed(text, [(slot.node.start, slot.node.end, shown)])


def take(text: str, path: Sequence[str], name: str, *, prune: bool) -> str:
    """Without what is under `name` at `path`; `prune`: nor what is empty then. The same text where nothing is there."""
    if not text.strip():
        return text
    chain = [_parse(text)]
    for step in path:
        slot = chain[-1].slot(step)
        if slot is None:
            return text
        chain.append(slot.node)
    if chain[-1].slot(name) is None:
        return text
    names = [*path, name]
    while prune and len(chain) > 1 and len(chain[-1].slots) == 1:
        chain.pop()
        names.pop()
    return changed(text, _removal(text, chain[-1], names[-1]))


def _expect(node: Node, kind: type, path: Sequence[str]) -> None:
    if not isinstance(node.value, kind):
        what = "an object" if kind is dict else "an array"
        raise Unreadable(f"{'.'.join(path) or 'the whole'} is not {what}")


# --- reading --------------------------------------------------------------------------------------------------------


def _parse(text: str) -> Node:
    node = _value(text, _skip(text, 0), 0)
    if (rest := _skip(text, node.end)) < len(text):
        raise _fault(text, rest)
    return node


def _skip(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _fault(text: str, place: int) -> Unreadable:
    return Unreadable(f"line {text.count(chr(10), 0, place) + 1} is not valid JSON")


def _value(text: str, place: int, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise Unreadable("it is nested too deeply")
    first = text[place : place + 1]
    if first == "{":
        return _object(text, place, depth)
    if first == "[":
        return _array(text, place, depth)
    if first == '"':
        end, value = _string(text, place)
        return Node(place, end, value)
    found = _SCALAR.match(text, place)
    if found is None:
        raise _fault(text, place)
    try:
        return Node(place, found.end(), json.loads(found[0]))
    except ValueError:  # a number of thousands of digits
        raise _fault(text, place) from None


def _string(text: str, place: int) -> tuple[int, str]:
    found = _STRING.match(text, place)
    if found is None:
        raise _fault(text, place)
    try:
        return found.end(), str(json.loads(found[0]))
    except ValueError:
        raise _fault(text, place) from None


def _object(text: str, place: int, depth: int) -> Node:
    slots: list[Slot] = []
    value: dict[str, Json] = {}
    start, comma, place = place, None, _skip(text, place + 1)
    while text[place : place + 1] != "}":
        end, name = _string(text, place)
        colon = _skip(text, end)
        if text[colon : colon + 1] != ":":
            raise _fault(text, colon)
        node = _value(text, _skip(text, colon + 1), depth + 1)
        slots.append(Slot(name, place, node))
        value[name] = node.value
        comma, place = _comma(text, node.end, "}")
    return Node(start, place + 1, value, tuple(slots), comma)


def _array(text: str, place: int, depth: int) -> Node:
    slots: list[Slot] = []
    start, comma, place = place, None, _skip(text, place + 1)
    while text[place : place + 1] != "]":
        node = _value(text, place, depth + 1)
        name = node.value.get("id") if isinstance(node.value, dict) else None
        slots.append(Slot(name if isinstance(name, str) else None, place, node))
        comma, place = _comma(text, node.end, "]")
    return Node(start, place + 1, [slot.node.value for slot in slots], tuple(slots), comma)


def _comma(text: str, place: int, closing: str) -> tuple[int | None, int]:
    """Where the comma behind a slot is, and where the next thing begins."""
    place = _skip(text, place)
    if text[place : place + 1] == ",":
        return place, _skip(text, place + 1)
    if text[place : place + 1] != closing:
        raise _fault(text, place)
    return None, place


# --- changing -------------------------------------------------------------------------------------------------------


def _is_flat(text: str, node: Node) -> bool:
    return bool(node.slots) and "\n" not in text[node.start : node.end]


@attrs.frozen
class _Style:
    """How the file is written: what ends a line, and what a step inwards is."""

    newline: str
    unit: str

    @classmethod
    def of(cls, text: str, root: Node) -> _Style:
        unit = "  "
        if root.slots and "\n" in text[root.start : root.slots[0].start]:
            unit = indent_at(text, root.slots[0].start).removeprefix(indent_at(text, root.start)) or unit
        return cls(newline_of(text), unit)

    def rendered(self, value: Json, indent: str, *, is_flat: bool) -> str:
        if is_flat:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, indent=self.unit, ensure_ascii=False).split("\n")
        return f"{self.newline}{indent}".join(lines)

    def insertion(self, text: str, node: Node, name: str | None, value: Json) -> list[Change]:
        """The changes that make it the last slot of an object, or without a name of an array."""
        is_flat = _is_flat(text, node)
        outer = indent_at(text, node.start)
        own_line = node.slots and "\n" in text[node.start : node.slots[-1].start]
        inner = indent_at(text, node.slots[-1].start) if own_line else outer + self.unit
        label = "" if name is None else f"{json.dumps(name, ensure_ascii=False)}: "
        shown = label + self.rendered(value, inner, is_flat=is_flat)
        if not node.slots:
            # Behind what comments there are, which then stand before it.
            at = len(text[: node.end - 1].rstrip(" \t\r\n"))
            return [(at, node.end - 1, f"{self.newline}{inner}{shown}{self.newline}{outer}")]
        last = node.slots[-1].node.end
        if is_flat:
            at = last if node.last_comma is None else node.last_comma + 1
            return [(at, at, f"{',' if node.last_comma is None else ''} {shown}")]
        at = len(text[: node.end - 1].rstrip(" \t\r\n"))  # behind a comment to the last slot, which is about that one
        ends = "," if node.last_comma is not None else ""
        tail = "" if "\n" in text[at : node.end - 1] else f"{self.newline}{outer}"
        shown = f"{self.newline}{inner}{shown}{ends}{tail}"
        if node.last_comma is not None:
            return [(at, at, shown)]
        return [(at, at, f",{shown}")] if at == last else [(last, last, ","), (at, at, shown)]


def _removal(text: str, node: Node, name: str) -> list[Change]:
    """The changes that take a slot out, with its comma and, where it stood alone, its lines."""
    place = next(number for number, slot in enumerate(node.slots) if slot.name == name)
    slot = node.slots[place]
    start, end = slot.start, slot.node.end
    following = _skip(text, end)
    changes: list[Change] = []
    if text[following : following + 1] == ",":
        end = following + 1
    elif place:
        before = _skip(text, node.slots[place - 1].node.end)
        changes.append((before, before + 1, ""))
    line = line_at(text, start)
    rest = re.compile(r"[ \t]*(\r?\n)?").match(text, end)
    if not text[line:start].strip() and rest is not None and rest[1]:
        start, end = line, rest.end()  # whole lines
    else:
        space = re.compile(r"[ \t]*").match(text, end)
        end = space.end() if space is not None and place < len(node.slots) - 1 else end
        start = start if place < len(node.slots) - 1 else len(text[:start].rstrip(" \t"))
    return [*changes, (start, end, "")]
