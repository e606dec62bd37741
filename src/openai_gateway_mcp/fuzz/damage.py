"""What damage does to a message and to its bytes, as hypothesis strategies."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

Draw = Any  # hypothesis's draw function, generic in what it draws

NASTY: Final[list[Any]] = [
    None, True, 0, -1, 1.5, "", "x", [], {}, [[]], {"a": None}, "\u2028", "\ud800", "\x00", "é" * 40, 10**400,
    "RAW:1e999", "RAW:-1e999", "RAW:NaN", "RAW:1e-999", "RAW:" + "9" * 4301, "RAW:01", "RAW:1.", "RAW:-0",
    'RAW:{"a":1,"a":2}', "RAW:" + "[" * 120 + "]" * 120, "RAW:" + "[" * 140 + "]" * 140, "RAW:tru", "RAW:",
]  # fmt: skip
"""Values that a peer may not expect. "RAW:…" stands for a literal that json.dumps would not write."""

SIZES: Final = st.lists(st.sampled_from([1, 2, 3, 5, 17, 64, 500]), max_size=5)
"""Lengths for `cut`."""

_RAW: Final = re.compile(r'"RAW:((?:[^"\\]|\\.)*)"')
_DAMAGES: Final = st.lists(
    st.tuples(
        st.sampled_from(["flip", "remove", "insert", "double", "cut off"]),
        st.floats(0, 1),
        st.integers(0, 12),
        st.one_of(st.binary(max_size=4), st.sampled_from([b"\n", b'"', b"{", b"]", b"\xc3", b"\\"])),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def spoilt(draw: Draw, value: dict[str, Any]) -> dict[str, Any]:
    """The same object with one member, at any depth, removed or replaced; or one added."""
    copy = dict(value)
    name = draw(st.sampled_from([*copy, "added"]))
    if isinstance(copy.get(name), dict) and draw(st.booleans()):
        copy[name] = draw(spoilt(copy[name]))
    elif name in copy and draw(st.booleans()):
        del copy[name]
    else:
        copy[name] = draw(st.sampled_from(NASTY))
    return copy


def encode(value: Any, *, ascii_only: bool = True, spaced: bool = False) -> bytes:
    """One line's bytes; a lone surrogate in text that is not ASCII-safe becomes invalid UTF-8."""
    separators = (" , ", " : ") if spaced else (",", ":")
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    raw = _RAW.sub(lambda match: match[1].replace('\\"', '"'), text)
    return raw.encode("utf-8", "surrogatepass")


def mutated(source: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The bytes after some damage: flipped bits, pieces cut out, put in, doubled, cut off."""
    return st.builds(_damage, source, _DAMAGES)


def _damage(whole: bytes, damages: list[tuple[str, float, int, bytes]]) -> bytes:
    data = bytearray(whole)
    for kind, place, length, new in damages:
        at = int(place * len(data))
        match kind:
            case "flip" if at < len(data):
                data[at] ^= 1 << length % 8
            case "remove":
                del data[at : at + length]
            case "insert":
                data[at:at] = new
            case "double":
                data[at:at] = data[at : at + length]
            case "cut off" if at > len(data) // 2:
                del data[at:]
    return bytes(data)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The same bytes in pieces of these sizes, over and over; whole if there are none."""
    pieces, start = [], 0
    for size in itertools.cycle(sizes):
        if start >= len(data):
            break
        pieces.append(data[start : start + size])
        start += size
    return pieces or [data]
