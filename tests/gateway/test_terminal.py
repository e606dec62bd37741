"""What people read: tables and sentences that are as wide as the terminal, and whole where there is none."""

from __future__ import annotations

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.terminal import columns_of, counted, folded, lines_of

CELLS = st.text(alphabet="ab c-/.", max_size=40)
TABLES = st.integers(1, 5).flatmap(
    lambda columns: st.lists(st.tuples(*(CELLS for _ in range(columns))), min_size=1, max_size=4)
)


def test_a_table_that_goes_to_no_terminal_has_a_line_a_row() -> None:
    rows = [("NAME", "FILE"), ("a", "x" * 300), ("bcd", "")]
    assert lines_of(rows, None) == ["NAME  FILE", f"a     {'x' * 300}", "bcd"]


def test_in_a_table_that_is_too_wide_the_widest_column_goes_on_below() -> None:
    rows = [("NAME", "LIMITS", "STATE"), ("ci", "60 a minute, 5 dollars a day", "good")]
    assert lines_of(rows, 30) == [
        "NAME  LIMITS             STATE",
        "ci    60 a minute, 5     good",
        "      dollars a day",
    ]


def test_where_not_even_the_words_have_room_each_row_is_a_block_without_its_empty_cells() -> None:
    rows = [("ID", "OWNER", "STATE"), ("key_3461f36b899a", "", "good"), ("key_e686e09b01f6", "alice", "revoked")]
    assert lines_of(rows, 28) == [
        "ID     key_3461f36b899a",
        "STATE  good",
        "",
        "ID     key_e686e09b01f6",
        "OWNER  alice",
        "STATE  revoked",
    ]


def test_only_a_word_that_is_very_long_is_broken() -> None:
    rows = [("CLIENT", "FILE"), ("cursor", "/home/somebody/with/a/long/path/.cursor/mcp.json")]
    first, second, third = lines_of(rows, 40)
    assert (first, second, third) == (
        "CLIENT  FILE",
        "cursor  /home/somebody/with/a/long/path/",
        "        .cursor/mcp.json",
    )


@given(rows=TABLES, columns=st.integers(20, 200))
def test_a_table_keeps_to_the_terminal_or_is_in_blocks_and_nothing_of_it_is_lost(
    rows: list[tuple[str, ...]], columns: int
) -> None:
    lines = lines_of(rows, columns)
    is_table = len(rows) > 1 and lines[0].split() == " ".join(rows[0]).split()
    assert not is_table or max(map(len, lines)) <= columns
    seen = "".join(lines).replace(" ", "")
    assert all(word in seen or len(word) > 24 for row in rows[1:] for cell in row for word in cell.split())


def test_a_sentence_is_broken_at_spaces_and_goes_on_under_its_indent() -> None:
    text = "Set GATEWAY_URL to https://your-gateway.company.com first."
    assert folded(text, 24, indent="  ").splitlines() == [
        "Set GATEWAY_URL to",
        "  https://your-gateway.company.com",
        "  first.",
    ]
    assert folded(text, None) == text


@given(text=st.text(alphabet="ab -/\n", max_size=80), columns=st.integers(4, 30))
def test_no_word_is_broken(text: str, columns: int) -> None:
    assert folded(text, columns, indent="  ").split() == text.split()


def test_what_is_no_terminal_has_no_width() -> None:
    closed = io.StringIO()
    closed.close()
    assert [columns_of(stream) for stream in (None, io.StringIO(), closed)] == [None, None, None]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not there on Windows")
def test_a_terminal_that_does_not_tell_its_width_has_none() -> None:
    ours, theirs = os.openpty()
    with open(ours, closefd=True), open(theirs, "w", closefd=True) as terminal:  # noqa: PTH123 - descriptors
        assert columns_of(terminal) is None


def test_one_thing_is_no_plural() -> None:
    assert [counted(0, "line"), counted(1, "line"), counted(1234, "line")] == ["0 lines", "1 line", "1,234 lines"]
    assert counted(2, "entry", "entries") == "2 entries"
