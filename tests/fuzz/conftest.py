"""The end of a fuzz run: what its examples reached."""

from __future__ import annotations

import pytest

from tests.fuzz.census import CENSUS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What judges the whole run comes last."""
    items.sort(key=lambda item: item.path.name == "test_the_census.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CENSUS.examples:
        terminalreporter.section("what the fuzz examples reached")
        for line in CENSUS.lines():
            terminalreporter.write_line(line)
