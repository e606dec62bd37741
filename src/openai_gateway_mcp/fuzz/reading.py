"""What a line says, to a reader who holds to the specifications; where these leave it open, it is `OPEN`."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import Any, Final

import attrs

Json = Any
Id = str | int

MOST_BYTES: Final = 1_000_000  # what is longer a server may refuse
DEEPEST: Final = 64  # what is nested deeper, too
_EXACT: Final = 2**53  # integers beyond are not the same number to everybody (RFC 8259, 6)


class Kind(enum.Enum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    BATCH = "batch"
    INVALID = "invalid"
    """JSON, and no message."""
    UNREADABLE = "unreadable"
    """No JSON."""
    OPEN = "open"
    """A server may read it one way or the other: the standards do not say."""
    BLANK = "blank"


@attrs.frozen(kw_only=True)
class Reading:
    """`id` is None where there is none that could be answered; a batch has `entries`."""

    kind: Kind
    id: Id | None = None
    method: str = ""
    params: dict[str, Json] = attrs.field(factory=dict)
    entries: tuple[Reading, ...] = ()


class _Ambiguous(Exception):
    """Valid to one reader and not to another."""


def read(line: bytes) -> Reading:
    """One line, without its newline."""
    if len(line) > MOST_BYTES:
        return Reading(kind=Kind.OPEN)
    try:
        text = line.decode()
    except UnicodeDecodeError:  # many readers put U+FFFD there, and go on
        return Reading(kind=Kind.OPEN)
    if not text.strip(" \t\r"):
        return Reading(kind=Kind.BLANK)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float)
    except (_Ambiguous, RecursionError):
        return Reading(kind=Kind.OPEN)
    except ValueError as error:
        return Reading(kind=Kind.UNREADABLE if isinstance(error, json.JSONDecodeError) else Kind.OPEN)
    if _is_ambiguous(value, DEEPEST):
        return Reading(kind=Kind.OPEN)
    return of_value(value)


def of_value(value: Json) -> Reading:
    """One JSON value."""
    if isinstance(value, list):
        entries = tuple(_of_entry(entry) for entry in value)
        return Reading(kind=Kind.BATCH if entries else Kind.INVALID, entries=entries)
    return _of_entry(value)


def _of_entry(value: Json) -> Reading:
    if not isinstance(value, dict):
        return Reading(kind=Kind.INVALID)
    id_, params = value.get("id"), value.get("params", {})
    known = id_ if is_id(id_) else None
    if "method" not in value and ("result" in value or "error" in value):
        return Reading(kind=Kind.RESPONSE, id=known)
    method = value.get("method")
    is_sound = (
        value.get("jsonrpc") == "2.0"
        and isinstance(method, str)
        and isinstance(params, dict)
        and ("id" not in value or known is not None)
        and "result" not in value
        and "error" not in value
    )
    if not is_sound or not isinstance(method, str):
        return Reading(kind=Kind.INVALID, id=known, params=params if isinstance(params, dict) else {})
    kind = Kind.REQUEST if "id" in value else Kind.NOTIFICATION
    return Reading(kind=kind, id=known, method=method, params=params)


def is_id(value: Json) -> bool:
    """Whether a value may be a request's id (MCP: a text or an integer, never null)."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _object(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in pairs:
        if name in found:
            raise _Ambiguous(name)
        found[name] = value
    return found


def _no_number(word: str) -> Json:
    raise _Ambiguous(word)


def _float(text: str) -> float:
    """A fraction is a fraction to everybody; 1.0 and 1e2 are integers to some."""
    number = float(text)
    if number.is_integer() or abs(number) == float("inf"):
        raise _Ambiguous(text)
    return number


def _is_ambiguous(value: Json, depth: int) -> bool:
    if depth == 0:
        return True
    match value:
        case dict():
            return any(_is_ambiguous(name, depth) or _is_ambiguous(inner, depth - 1) for name, inner in value.items())
        case list():
            return any(_is_ambiguous(inner, depth - 1) for inner in value)
        case str():  # half of a surrogate pair is no character
            return any("\ud800" <= letter <= "\udfff" for letter in value)
        case int() if not isinstance(value, bool):
            return abs(value) > _EXACT
    return False
