"""Strict JSON, against a slow and plain reading of the same rules."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_gateway.wire.strict import JsonError, dumps, loads
from openai_gateway_mcp.fuzz.damage import encode, mutated
from tests.fuzz import reference_json
from tests.fuzz.traffic import LINES, MESSAGES

# Lone surrogates, U+2028, control characters and NUL are text like any other.
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
NUMBERS = st.one_of(st.integers(), st.integers(-(10**400), 10**400), st.floats(allow_nan=False, allow_infinity=False))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
PIECES = [
    *[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\x00",
        b"\x0c",
        b"_",
        b"//",
        b"/**/",
    ],
    *[b"null", b"true", b"false", b"nul", b"NaN", b"Infinity", b"-Infinity", b"'a'", b"\xc2\xa0", b"\xe2\x80\xa8"],
    *[b"-", b"+1", b"0", b"00", b"-0", b"1.", b".1", b"1e", b"1e5", b"1E+5", b"1e999", b"1e-999", b"1_0", b"\xd9\xa1"],
    *[b'"a"', b'"a":1', b'"\\u0061":2', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\u12"', b'"\\x"', b'"\\\\"', b'"\\""'],
    *[b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b'"[{"', b"9" * 4300, b"9" * 4301],
    *[b"[" * 129, b'{"a":' * 128, b"]" * 127],
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join),
    st.builds(encode, st.one_of(MESSAGES, JSON), ascii_only=st.booleans(), spaced=st.booleans()),
    mutated(st.builds(encode, MESSAGES, ascii_only=st.booleans(), spaced=st.booleans())),
    st.sampled_from(LINES),
    st.builds(
        lambda depth, inside: b"[" * depth + inside + b"]" * depth,
        st.integers(120, 136),
        st.sampled_from([b"", b'"]"']),
    ),
)


def reading(read: Any, data: bytes, **how: Any) -> tuple[Any, ...]:
    """What came of it, comparably: repr tells 1 from 1.0, 0.0 from -0.0."""
    try:
        return ("value", repr(read(data, **how)))
    except ValueError:
        return ("refused",)


@given(JSON)
@example("\ud800")
@example({"\u2028": "\x00"})
@example(-0.0)
def test_what_is_written_is_ascii_and_reads_back_as_it_was(value: Any) -> None:
    written = dumps(value)
    assert written.isascii()
    assert b"\n" not in written
    assert repr(loads(written)) == repr(value)
    assert repr(json.loads(written)) == repr(value)


@given(TEXTS, st.booleans())
@example(b'{"id":1,"\\u0069d":2}', True)
@example(b'[{"a":{"b":1,"b":2}},{"id":1,"id":2}]', True)
@example(b"[" * 129 + b"]" * 129, False)
def test_what_is_read_is_what_the_rules_allow(data: bytes, unique_envelope: bool) -> None:
    expected = reading(reference_json.read, data, unique_envelope=unique_envelope)
    assert reading(loads, data, unique_envelope=unique_envelope) == expected


def refusal(data: bytes) -> JsonError | None:
    try:
        loads(data, unique_envelope=True)
    except JsonError as error:
        return error
    return None


@given(TEXTS)
def test_a_refusal_is_one_type_of_error_and_quotes_nothing(data: bytes) -> None:
    error = refusal(data)
    if error is not None:
        assert error.position is None or 0 <= error.position <= len(data)
        assert len(str(error)) < 100
        assert "\n" not in str(error)
        assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps([value])
