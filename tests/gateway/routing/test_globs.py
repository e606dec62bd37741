"""Names with stars in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.globs import is_allowed


@given(st.lists(st.text("ab*", max_size=7), max_size=3), st.text("ab", max_size=9))
def test_a_star_stands_for_any_characters_and_nothing_else_for_more_than_itself(globs: list[str], name: str) -> None:
    patterns = [".*".join(map(re.escape, glob.split("*"))) for glob in globs]
    assert is_allowed(name, globs) is any(re.fullmatch(pattern, name, re.DOTALL) for pattern in patterns)


@pytest.mark.parametrize("name", ["", "a", "a\nb", "[a]", "\ud800"])
def test_where_nothing_is_said_all_are_allowed(name: str) -> None:
    assert is_allowed(name, None)
    assert is_allowed(name, ("x", "*"))
    assert not is_allowed(name, ())
    assert not is_allowed(name, ("x", "?", "."))


@pytest.mark.parametrize(("glob", "name"), [
    ("*/gpt-*-mini", "/gpt-" * 200_000),
    ("*a*a*a*b", "a" * 1_000_000),
    ("a*a*b*c", "ab" * 500_000),
    ("*" * 1_000 + "b*", "a" * 1_000_000),
])  # fmt: skip
def test_a_name_is_read_once_however_many_stars_there_are(glob: str, name: str) -> None:
    """Whoever tries each place for each star is at a name of a million characters for hours."""
    assert not is_allowed(name, (glob,))
