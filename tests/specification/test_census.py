"""How a census is written down, read, taken over by older revisions and renewed."""

from __future__ import annotations

import pytest

from tests.specification.census import FILES, Entry, in_force, read_census, renewed, write_census
from tests.specification.sentences import Demand

TEXT = """\
page a
#
    MUST 11111111 = x/y x/z
#b
    SHOULD 22222222 ~ client

page c/d
#b
    MUST 33333333
"""
ENTRIES = (
    Entry("a", "", "MUST", "11111111", ("x/y", "x/z")),
    Entry("a", "b", "SHOULD", "22222222", (), "client"),
    Entry("c/d", "b", "MUST", "33333333"),
)


def test_a_file_is_read_and_written() -> None:
    assert read_census(TEXT) == ENTRIES
    assert write_census(ENTRIES) == TEXT
    assert [entry.is_told for entry in ENTRIES] == [True, True, False]


@pytest.mark.parametrize("line", ["    MAY 11111111", "    MUST 1111", "    MUST 11111111 =", "MUST 11111111", "  x"])
def test_a_line_that_fits_nowhere_is_told(line: str) -> None:
    with pytest.raises(ValueError, match="neither a page nor an anchor nor a demand"):
        read_census(line)


def test_every_file_is_as_it_would_be_written() -> None:
    files = sorted(FILES.glob("*.txt"))
    assert len(files) == 6
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert write_census(read_census(text)) == text


def test_what_is_not_told_is_as_in_the_nearest_newer_revision() -> None:
    def told(*rows: str) -> Entry:
        return Entry("a", "", "MUST", "1" * 8, rows)

    other = Entry("b", "", "MUST", "2" * 8)
    found = in_force({"3": [told("x")], "2": [told("y"), other], "1": [told(), other]})
    assert found == {"3": (told("x"),), "2": (told("y"), other), "1": (told("y"), other)}


def test_of_two_places_in_the_newer_revision_the_first_counts() -> None:
    places = [Entry("a", "", "MUST", "1" * 8, ("x",)), Entry("b", "", "MUST", "1" * 8, ("y",))]
    found = in_force({"2": places, "1": [Entry("c", "", "MUST", "1" * 8)]})
    assert found["1"][0].rows == ("x",)


def test_a_renewed_census_keeps_what_was_told_and_leaves_the_new_untold() -> None:
    stays, moves, new = Demand("a", "", "It MUST."), Demand("a", "new", "It SHOULD."), Demand("b", "", "They MUST.")
    before = [
        Entry("a", "elsewhere", "MUST", stays.fingerprint, ("other",)),
        Entry("a", "", "MUST", stays.fingerprint, ("x",)),
        Entry("a", "old", "SHOULD", moves.fingerprint, (), "client"),
        Entry("a", "", "MUST", "f" * 8, ("gone",)),
    ]
    assert renewed([stays, moves, new], before) == (
        Entry("a", "", "MUST", stays.fingerprint, ("x",)),
        Entry("a", "new", "SHOULD", moves.fingerprint, (), "client"),
        Entry("b", "", "MUST", new.fingerprint),
    )
