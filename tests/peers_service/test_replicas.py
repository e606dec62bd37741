"""Two services, each with data of its own, on one Redis: one set of keys, of limits, one ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import trio

from tests.gateway_service.process import Served, command, configuration, served
from tests.gateway_service.test_workers import SAY
from tests.gateway_store.load import totals_of_redis
from tests.gateway_store.redis_server import RedisServer, running_redis
from tests.peers.fake_upstream import Upstream, running

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running() as started:
        yield started


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def replicas(tmp_path: Path, upstream: Upstream, redis: RedisServer) -> Iterator[tuple[Served, Served]]:
    config = configuration(tmp_path / "gateway.toml", upstream.url)
    argv = ("--config", str(config), "--store", redis.url)
    with served(tmp_path / "one", *argv) as one, served(tmp_path / "two", *argv) as two:
        yield one, two


def clients(replicas: tuple[Served, Served], key: str) -> list[openai.OpenAI]:
    return [openai.OpenAI(base_url=f"{one.url}/v1", api_key=key, max_retries=0) for one in replicas]


def made(tmp_path: Path, redis: RedisServer, *argv: str) -> str:
    done = command("keys", "create", "--store", redis.url, *argv, data=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def status_of(client: openai.OpenAI) -> int:
    try:
        client.chat.completions.create(model="echo", messages=SAY, max_tokens=5)
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def test_a_limit_holds_for_all_replicas(tmp_path: Path, replicas: tuple[Served, Served], redis: RedisServer) -> None:
    both = clients(replicas, made(tmp_path, redis, "--name", "ci", "--rpm", "10", "--budget", "100"))
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(status_of, both * 50))
    assert (found.count(200), found.count(429)) == (10, 90)
    shown = json.loads(command("usage", "--by", "model", "--json", "--store", redis.url, data=tmp_path).stdout)
    assert [(one["name"], one["calls"], one["failed"]) for one in shown] == [("echo", 100, 90)]
    (key,) = json.loads(command("keys", "list", "--json", "--store", redis.url, data=tmp_path).stdout)
    sums = trio.run(totals_of_redis, redis.url)
    assert key["spent"] * 10**9 == sums["spent"] == sums["rows"] > 0
    assert (sums["reserved"], sums["running"]) == (0, 0)


def test_while_the_store_is_away_nobody_calls_and_afterwards_nothing_is_forgotten(
    tmp_path: Path, replicas: tuple[Served, Served], redis: RedisServer
) -> None:
    both = clients(replicas, made(tmp_path, redis, "--name", "ci", "--rpm", "4"))
    assert [status_of(client) for client in both] == [200, 200]
    redis.kill()
    assert [status_of(client) for client in both * 3] == [503] * 6
    redis.start()
    assert [status_of(client) for client in both * 2] == [200, 200, 429, 429]
    assert [replica.stop() for replica in replicas] == [0, 0]
    assert trio.run(totals_of_redis, redis.url)["calls"] >= 6  # those that were refused have a row too
