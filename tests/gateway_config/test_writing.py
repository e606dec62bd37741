"""What is written reads back as the same."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_gateway.config.writing import toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.integers() | st.floats(allow_nan=False)
VALUE = st.recursive(
    TEXT | st.booleans() | NUMBER,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUE, max_size=5))
@example({})
@example({"a": {}, "b": [], "c": [{}], "d": {"e": {}}, "": {"": ""}})
@example({"a": "\x00\x1b[2J\x7f\u2028\u202e\U000e0001\"'\\\n\r\t\r\n"})
@example({"a.b": {"c d": {"#": [[], {}, True, 1e300, -0.0, math.inf]}}})
@example({"a": [{"b": 1}, 2], "c": {"d": {}, "e": 1}})
def test_any_document_reads_back_as_itself(document: dict[str, Any]) -> None:
    text = toml(document)
    assert _exactly(tomllib.loads(text)) == _exactly(document)


def _exactly(value: Any) -> Any:
    """With the types, since True == 1 == 1.0, and with the sign of a zero."""
    if isinstance(value, dict):
        return {name: _exactly(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_exactly(item) for item in value]
    return type(value), repr(value)


@given(TEXT)
def test_nothing_that_a_terminal_obeys_is_written(text: str) -> None:
    assert all(character.isprintable() for line in toml({"a": text}).split("\n") for character in line)


@pytest.mark.parametrize("value", [None, b"x", object(), {1}])
def test_what_toml_has_no_place_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no place"):
        toml({"a": value})


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        toml({"a": "\ud800"})
