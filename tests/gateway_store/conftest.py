"""A store of each kind, over a clock that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from openai_gateway.engine.store.book import Moment
from openai_gateway.engine.store.sqlite import SqliteStore, open_sqlite

NOON = 1_772_280_000.0  # 2026-02-28 12:00 UTC


@attrs.define
class Clock:
    """`now` is what windows and leases go by, `wall` what budgets do."""

    now: float = 1000.0
    wall: float = NOON

    def __call__(self) -> Moment:
        return Moment(now=self.now, wall=self.wall)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "gateway.db")


@pytest.fixture
async def store(path: str, clock: Clock) -> AsyncIterator[SqliteStore]:
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as opened:
        yield opened
