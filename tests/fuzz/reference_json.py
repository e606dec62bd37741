"""Strict JSON a second time, slow and plain: what the reader under test is compared with."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 128


class Doubled(dict[str, Any]):
    """An object that says a key twice."""


def read(data: bytes, *, unique_envelope: bool = True) -> Any:
    """The value of one JSON text; ValueError for all that the protocol calls unreadable.

    An envelope is the outermost object, or each object in the outermost array.
    """
    text = data.decode("utf-8")
    if depth(text) > MAX_DEPTH:
        raise ValueError("too deep")
    value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    envelopes = value if isinstance(value, list) else [value]
    if unique_envelope and any(isinstance(envelope, Doubled) for envelope in envelopes):
        raise ValueError("duplicate key")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else Doubled(made)


def depth(text: str) -> int:
    """The deepest nesting, character by character."""
    deepest = level = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    return deepest


def _refuse(literal: str) -> None:
    raise ValueError(f"{literal} is not JSON")


def _finite(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise ValueError(f"{literal} overflows")
    return value
