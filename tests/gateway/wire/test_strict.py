"""Strict JSON: what is refused, what is said about it, and that nothing else ever escapes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from openai_gateway.wire.strict import JsonError, dumps, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value at character 0"),
        (b"{", "Expecting property name enclosed in double quotes at character 1"),
        (b'["abc', "Unterminated string starting at character 1"),
        (b"[1] 2", "Extra data at character 4"),
        (b'["\n"]', "Invalid control character at character 2"),
        (b"[\xff]", "Invalid UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "Invalid UTF-8 at byte 1"),
        ("[1]".encode("utf-16"), "Invalid UTF-8 at byte 0"),
        (b"\xef\xbb\xbf[]", "Unexpected byte order mark at character 0"),
        (b'["NaN", NaN]', "NaN is not JSON at character 8"),
        (b"[Infinity]", "Infinity is not JSON at character 1"),
        (b"-Infinity", "-Infinity is not JSON at character 0"),
        (b'{"a": 1e999}', "Number too large at character 6"),
        (b"[-1e999]", "Number too large at character 1"),
        (b'["9", 1.5, 12, ' + b"9" * 5000 + b"]", "Integer too long at character 15"),
        (b"[" * 129 + b"]" * 129, "Nested deeper than 128 levels at character 128"),
        (b"[" * 100_000, "Nested deeper than 128 levels at character 128"),
        (b'{"a":' * 200, "Nested deeper than 128 levels at character 640"),
    ],
)
def test_what_is_no_json_is_refused_with_what_and_where(data: bytes, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        loads(data)
    assert str(caught.value) == message
    assert caught.value.__cause__ is caught.value.__context__ is None  # they would carry the text


def test_a_text_is_read_like_its_bytes() -> None:
    assert loads('{"a": [1, 2.5, "é", null, true]}') == {"a": [1, 2.5, "é", None, True]}
    assert loads(bytearray(b"[]")) == []
    with pytest.raises(JsonError):
        loads("\ufeff[]")


def test_exactly_the_allowed_depth_is_read() -> None:
    assert loads(b"[" * 128 + b"]" * 128) is not None
    assert loads(b"[[]]", max_depth=2) == [[]]
    with pytest.raises(JsonError, match="deeper than 1 levels at character 1"):
        loads(b"[[]]", max_depth=1)


def test_brackets_in_strings_and_side_by_side_are_no_depth() -> None:
    side_by_side: list[Any] = [{"a": []}] * 200
    assert loads(dumps(side_by_side)) == side_by_side
    tricky = ["[" * 300, '"[[{' * 100, '\\"[[[' * 100, "\\" * 301 + "[" * 200]
    assert loads(dumps(tricky)) == tricky


def test_depth_beyond_the_interpreter_is_no_recursion_error() -> None:
    with pytest.raises(JsonError, match="Nested deeper than"):
        loads(b"[" * 200_000 + b"]" * 200_000, max_depth=10**6)


def test_depth_is_no_question_of_what_follows_broken_text() -> None:
    with pytest.raises(JsonError, match=r"Nested deeper than 128 levels$"):
        loads(b'\\"' + b"[" * 300 + b'"')


@pytest.mark.parametrize("end", [b"", b"\\"])
def test_a_string_that_never_ends_is_looked_at_once(end: bytes) -> None:
    # Trying each of its escaped quotes anew would take hours: the time-out of the suite fails this test.
    with pytest.raises(JsonError, match="Nested deeper than 128 levels"):
        loads(b'\\"' * 1_000_000 + b"[" * 300 + end)


@pytest.mark.parametrize(
    ("data", "position"),
    [
        (b'{"id":1,"id":2}', 8),
        (b'{"id":1,"\\u0069d":2}', 8),
        (b' { "a/b" : {"x":[1]} , "a\\/b" : 2 } ', 23),
        (b'{"":1,"":2}', 6),
        (b'[1, {"a":{}, "a":1}]', 13),
        (b'{"' + b'":0,"'.join(str(n).encode() for n in [*range(40), 3]) + b'":0}', 271),
    ],
)
def test_a_key_twice_in_an_envelope_is_refused(data: bytes, position: int) -> None:
    with pytest.raises(JsonError, match=f"Duplicate key at character {position}"):
        loads(data, unique_envelope=True)
    assert loads(data) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        b"1",
        b'"x"',
        b'{"id":{"id":1}}',
        b'{"a":{"b":1,"b":2}}',
        b'[{"id":1},{"id":1},{},[1]]',
        b'{"\\u00e9":1}',
    ],
)
def test_keys_that_return_deeper_down_are_no_duplicates(data: bytes) -> None:
    assert loads(data, unique_envelope=True) == json.loads(data)


@pytest.mark.timeout(60)  # a count of each key in the whole text would take minutes
def test_many_keys_are_looked_at_in_one_walk() -> None:
    many = {f"key{n}": n for n in range(100_000)}
    assert loads(dumps(many), unique_envelope=True) == many


@given(JSON)
@example({"\ud800": ["\u2028", "\x7f"]})
def test_what_is_written_is_compact_ascii_and_reads_back(value: Any) -> None:
    data = dumps(value)
    assert data.isascii()
    assert b"\n" not in data
    assert loads(data) == value
    assert loads(data, unique_envelope=True) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps([value])


_PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"', b"\\", b":", b",", b"1", b"e9", b"NaN", b'"a":', b"\xff", b" "]
)


@given(st.binary() | st.lists(_PIECES, max_size=30).map(b"".join), st.booleans(), st.integers(1, 5))
def test_any_bytes_are_read_or_raise_our_error(data: bytes, unique_envelope: bool, max_depth: int) -> None:
    try:
        value = loads(data, unique_envelope=unique_envelope, max_depth=max_depth)
    except JsonError as error:
        event(str(error).split(" at ")[0])
    else:
        event("read")
        assert value == json.loads(data.decode())
