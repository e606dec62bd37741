"""Strict JSON: what RFC 8259 allows and nothing more, with an error that says what and where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from itertools import accumulate
from typing import Any, Final

MAX_DEPTH: Final = 128
"""Precedent: serde_json's limit. The standard library would run until its recursion limit, which no peer may choose."""

_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
# A string that never ends matches too: else each quote in it would be tried anew up to the end, in quadratic time.
_STRINGS_AND_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_STRINGS_AND_ATOMS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[^\s\[\]{},:"]+', re.DOTALL)
_NOT_BRACKETS: Final = re.compile(r"[^\[\]{}]+")
_SPACE: Final = re.compile(r"[ \t\n\r]*")


class JsonError(ValueError):
    """The text is no JSON we accept. The message quotes nothing of it; `position` counts characters from 0."""

    def __init__(self, what: str, position: int | None = None) -> None:
        super().__init__(what if position is None else f"{what} at character {position}")
        self.position = position


class _NumberError(ValueError):
    def __init__(self, what: str, literal: str) -> None:
        super().__init__(what)
        self.literal = literal


def loads(data: bytes | bytearray | str, *, unique_envelope: bool = False, max_depth: int = MAX_DEPTH) -> Any:
    """Read one JSON text; bytes are UTF-8, without a byte order mark.

    Refused with JsonError: invalid UTF-8, NaN and Infinity, a number that overflows to infinity, an integer longer than
    the interpreter's digit limit (4,300), nesting deeper than `max_depth`, and, with `unique_envelope`, a key that is
    twice in the outermost object, or in an object of the outermost array (a batch has an envelope in each entry).
    Deeper, and without the flag, the last one wins, as everywhere in Python.
    """
    text = data if isinstance(data, str) else _decode(data)
    if text.startswith("\ufeff"):
        raise JsonError("Unexpected byte order mark", 0)
    # Far the most messages have so few brackets that they cannot be too deep; only the others are looked at closely.
    if text.count("[") + text.count("{") > max_depth and _depth(text) > max_depth:
        raise JsonError(f"Nested deeper than {max_depth} levels", _too_deep_at(text, max_depth))
    value = _parse(text)
    if unique_envelope:
        again = _duplicate_of_batch(text, value) if isinstance(value, list) else _duplicate_at(text, value)
        if again is not None:
            raise JsonError("Duplicate key", again)
    return value


def dumps(value: Any) -> bytes:
    """Compact ASCII JSON, so that lone surrogates, U+2028 and their kin are safe on any wire. NaN is a ValueError."""
    return _ENCODER.encode(value).encode("ascii")


def _parse(text: str) -> Any:
    what: str
    position: int | None = None
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        what, position = error.msg.removesuffix(" at"), error.pos
    except _NumberError as error:
        what, position = str(error), _position_of(text, error.literal)
    except RecursionError:
        what = "Nested deeper than the interpreter can read"
    except ValueError:
        what, position = "Integer too long", _long_integer_at(text)
    # Raised out here, so that no cause hangs on it: a JSONDecodeError carries the whole text, keys and all.
    raise JsonError(what, position)


def _decode(data: bytes | bytearray) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        position = error.start
    raise JsonError(f"Invalid UTF-8 at byte {position}")


def _refuse_constant(literal: str) -> None:
    raise _NumberError(f"{literal} is not JSON", literal)


def _finite(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise _NumberError("Number too large", literal)
    return value


# parse_int stays the default: a hook would cost a call for each integer, and int() itself refuses the long ones.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _surely_unique(text: str, keys: Collection[str]) -> bool:
    """Whether no key can be there twice: each is found once, and has no second spelling (only \\u00xx gives one)."""
    # More keys than an envelope has are walked instead: a count for each would take quadratic time.
    return (
        len(keys) <= 16
        and "\\u00" not in text
        and all(key.isascii() and key.isidentifier() and text.count(f'"{key}"') == 1 for key in keys)
    )


def _duplicate_of_batch(text: str, entries: list[Any]) -> int | None:
    at = text.index("[")
    for entry in entries:
        begin = _skip_space(text, at + 1)
        end = _DECODER.raw_decode(text, begin)[1]
        again = _duplicate_at(text[begin:end], entry)
        if again is not None:
            return begin + again
        at = _skip_space(text, end)
    return None


def _duplicate_at(text: str, value: Any) -> int | None:
    """Where a key comes again in the object that `text` holds and `value` is; None for all that is no object.

    Its few members are walked one by one: `object_pairs_hook` would call us for each object of the message instead.
    """
    if not value or not isinstance(value, dict) or _surely_unique(text, value):
        return None
    seen = set()
    at = text.index("{")
    while text[at] != "}":
        at = _skip_space(text, at + 1)
        key, end = _DECODER.raw_decode(text, at)
        if key in seen:
            return at
        seen.add(key)
        end = _DECODER.raw_decode(text, _skip_space(text, _skip_space(text, end) + 1))[1]
        at = _skip_space(text, end)
    return None


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _depth(text: str) -> int:
    """The deepest nesting, exact for JSON; all loops run in C.

    Without escaped backslashes and escaped quotes every second piece between quotes lies outside of strings. In a text
    that is no JSON the pieces go wrong only after the place where the decoder stops.
    """
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    brackets = _NOT_BRACKETS.sub("", outside)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _too_deep_at(text: str, max_depth: int) -> int | None:
    depth = 0
    for token in _STRINGS_AND_BRACKETS.finditer(text):
        depth += _STEPS.get(token.group(), 0)
        if depth > max_depth:
            return token.start()
    return None


def _position_of(text: str, literal: str) -> int | None:
    # The first such token is the one the decoder met first: it would have stopped at it.
    return next((token.start() for token in _STRINGS_AND_ATOMS.finditer(text) if token.group() == literal), None)


def _long_integer_at(text: str) -> int | None:
    return next((token.start() for token in _STRINGS_AND_ATOMS.finditer(text) if _is_too_long(token.group())), None)


def _is_too_long(token: str) -> bool:
    if not token.lstrip("-").isdecimal():
        return False
    try:
        int(token)
    except ValueError:
        return True
    return False
