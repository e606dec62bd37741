"""The tiers of the suite, and how hard hypothesis tries."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Derandomised: a plain run finds the same on every machine and never flakes. scripts/fuzz is where the dice roll.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("fuzz", derandomize=False, deadline=None, max_examples=10_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))  # noqa: TID251 - the suite's own switch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peers", action="store_true", help="run the tests with real clients and upstreams, and only these"
    )
    parser.addoption(
        "--save-corpus", action="store_true", help="with --peers: keep what the clients sent in tests/corpus"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = bool(config.getoption("--peers"))
    kept: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        kept[(item.get_closest_marker("peers") is not None) is wanted].append(item)
    config.hook.pytest_deselected(items=kept[False])
    items[:] = kept[True]
