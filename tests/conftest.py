"""The tiers of the suite, how hard hypothesis tries, and what of its surroundings a run may see."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Derandomised: a plain run finds the same on every machine and never flakes. scripts/fuzz is where the dice roll.
# "brief" is for a run beside another one that tries harder.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("brief", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("fuzz", derandomize=False, deadline=None, max_examples=10_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))  # noqa: TID251 - the suite's own switch

# All that a run takes from its surroundings (beginnings of names). --peers installs programs, so it has them all.
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR", "PYTEST_", "PYTHON", "COVERAGE_", "HYPOTHESIS_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peers", action="store_true", help="run the tests with real clients and upstreams, and only these"
    )
    parser.addoption(
        "--save-corpus", action="store_true", help="with --peers: keep what the clients sent in tests/corpus"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before any test module is imported: a developer's key, proxy or forced colour decides nothing."""
    if not session.config.getoption("--peers"):
        for name in [name for name in os.environ if not name.startswith(KEPT)]:  # noqa: TID251 - as above
            del os.environ[name]  # noqa: TID251 - as above


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = bool(config.getoption("--peers"))
    kept: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        kept[(item.get_closest_marker("peers") is not None) is wanted].append(item)
    config.hook.pytest_deselected(items=kept[False])
    items[:] = kept[True]
