"""The manifest of requirements, the tests and the census of the specification are true to each other, both ways."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from openai_gateway_mcp.protocol.revisions import REVISIONS
from tests.requirements import IN_PLAIN_WORDS, MODERN, read_table
from tests.requirements_legacy import LEGACY
from tests.requirements_tasks import TASKS
from tests.specification.census import REASONS, in_force, read_all

TESTS = Path(__file__).parent
ROWS = (*MODERN, *LEGACY, *TASKS)
CENSUS = in_force(read_all())


@cache
def marks_of_tests() -> dict[str, set[str]]:
    """Every test below tests/, as a row names it, with the ids of the rows that it says to prove."""
    return {
        f"{path.relative_to(TESTS).as_posix()}::{test.name}": set(_marks(test))
        for path in sorted(TESTS.rglob("test_*.py"))
        for test in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_")
    }


def _marks(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="requirement"), args=[ast.Constant(value=str(id_))]):
                yield id_


def test_every_row_has_an_id_of_its_own_a_sentence_and_either_tests_or_a_reason() -> None:
    assert [id_ for id_, count in Counter(row.id for row in ROWS).items() if count > 1] == []
    for row in ROWS:
        assert row.says.endswith("."), row
        assert bool(row.tests) is not bool(row.because), row
        assert len(set(row.tests)) == len(row.tests), row


def test_every_test_that_a_row_names_exists() -> None:
    tests = marks_of_tests()
    assert [(row.id, test) for row in ROWS for test in row.tests if test not in tests] == []


def test_every_mark_names_a_row_which_names_the_test() -> None:
    rows = {row.id: row for row in ROWS}
    strays = [
        (test, id_)
        for test, ids in marks_of_tests().items()
        for id_ in sorted(ids)
        if id_ not in rows or test not in rows[id_].tests
    ]
    assert strays == []


def test_every_test_of_the_protocol_that_a_row_names_is_marked_with_it() -> None:
    # The other rooms need not know of the table; the core is written against it.
    named = [(row.id, test) for row in ROWS for test in row.tests if test.startswith("protocol/")]
    assert len(named) > 100
    marks = marks_of_tests()
    assert [(id_, test) for id_, test in named if id_ not in marks.get(test, ())] == []


def test_a_line_of_the_table_that_fits_nowhere_is_told() -> None:
    with pytest.raises(ValueError, match="neither a page nor a row: 'base/x'"):
        read_table("page a\n\nbase/x\n    Says.\n")


# --- the census -----------------------------------------------------------------------------------------------------


def test_every_revision_that_is_spoken_has_a_census_and_so_has_the_extension() -> None:
    assert set(CENSUS) == {*REVISIONS, "ext-tasks"}
    assert list(CENSUS)[:5] == sorted(REVISIONS, reverse=True)


def test_every_demand_of_every_revision_has_a_row_or_a_reason() -> None:
    assert sum(len(entries) for entries in CENSUS.values()) > 2_000
    assert [(name, *entry.place) for name, entries in CENSUS.items() for entry in entries if not entry.is_told] == []


def test_every_row_and_reason_that_the_census_names_exists() -> None:
    rows = {row.id for row in ROWS}
    entries = [(name, entry) for name, told in CENSUS.items() for entry in told]
    assert [(name, entry) for name, entry in entries if not rows.issuperset(entry.rows)] == []
    assert [(name, entry) for name, entry in entries if entry.reason and entry.reason not in REASONS] == []


def test_every_row_and_reason_is_named_by_a_demand() -> None:
    named = {row for told in CENSUS.values() for entry in told for row in entry.rows}
    assert {row.id for row in ROWS} - named == IN_PLAIN_WORDS
    assert sorted(set(REASONS) - {entry.reason for told in CENSUS.values() for entry in told}) == []
