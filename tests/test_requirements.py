"""The manifest of requirements and the tests are true to each other, both ways."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.requirements import MODERN, read_table
from tests.requirements_legacy import LEGACY

TESTS = Path(__file__).parent
ROWS = (*MODERN, *LEGACY)


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
