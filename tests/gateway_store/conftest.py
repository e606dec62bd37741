"""A store of each kind, over a clock that the test sets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import pytest

from openai_gateway.engine.store import ServiceStore
from openai_gateway.engine.store.book import Moment
from openai_gateway.engine.store.redis import RedisStore, open_redis
from openai_gateway.engine.store.sqlite import SqliteStore, open_sqlite
from tests.gateway_store.redis_server import RedisServer, running_redis

NOON = 1_772_280_000.0  # 2026-02-28 12:00 UTC


@attrs.define
class Clock:
    """`now` is what windows and leases go by, `wall` what budgets do."""

    now: float = 1000.0
    wall: float = NOON

    def __call__(self) -> Moment:
        return Moment(now=self.now, wall=self.wall)

    def of_redis(self) -> tuple[int, float]:
        return round(self.now * 1e6), self.wall


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "gateway.db")


@pytest.fixture
async def sqlite(path: str, clock: Clock) -> AsyncIterator[SqliteStore]:
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for all tests that do not stop it; each has a name of its own in it."""
    with running_redis() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that the test may stop and start. It runs."""
    with running_redis() as server:
        yield server


@pytest.fixture
def name() -> str:
    return f"{{{secrets.token_hex(6)}}}"


@pytest.fixture
async def redis(shared_redis: RedisServer, name: str, clock: Clock) -> AsyncIterator[RedisStore]:
    async with open_redis(shared_redis.url, name=name, clock=clock.of_redis) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.peers)])
def opening(
    request: pytest.FixtureRequest, path: str, clock: Clock, name: str
) -> AbstractAsyncContextManager[ServiceStore]:
    if request.param == "sqlite":
        return open_sqlite(path, clock=clock, boot=lambda: "one")
    server: RedisServer = request.getfixturevalue("shared_redis")
    return open_redis(server.url, name=name, clock=clock.of_redis)


@pytest.fixture
async def store(opening: AbstractAsyncContextManager[ServiceStore]) -> AsyncIterator[ServiceStore]:
    """Each kind in turn; that which needs a server in the second tier."""
    async with opening as opened:
        yield opened
