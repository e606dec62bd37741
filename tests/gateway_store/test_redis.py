"""The Redis store: what SQLite's does, for replicas, over a network that loses what it likes."""

from __future__ import annotations

import json
import math
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest
import trio
import trio.testing
from coredis import Redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openai_gateway.engine.store import ServiceStore
from openai_gateway.engine.store.redis import RedisStore, open_redis
from openai_gateway.engine.store.sqlite import open_sqlite
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.limits import Closing, Demand, Limits, Outcome, Reservation, Used
from openai_gateway.secret import Secret
from tests.gateway_store.asking import KEY, ROW, asks, let_in, refused
from tests.gateway_store.conftest import Clock
from tests.gateway_store.load import PAYS, call, totals_of_redis
from tests.gateway_store.redis_server import RedisServer
from tests.gateway_store.test_sqlite import start

pytestmark = pytest.mark.peers

NOTHING = {"rows": 0, "charged": 0, "reserved": 0, "spent": 0, "running": 0}
ENDLESS = Limits(key="endless", title="endless", rpm=10**6, tpm=10**6, max_parallel=100, budget=10**12)

LIMITS = (
    Limits(key="small", title="s", rpm=3, tpm=40, max_parallel=3, budget=120, period="day"),
    Limits(key="large", title="l", rpm=2000, tpm=700, budget=10**12),
    Limits(key="late", title="t", tpm=60, max_parallel=2),
    Limits(key="many", title="m", tpm=600),
)
"""Windows that are kept to the moment, and one that is kept by the half second."""


def one_after_the_other(at: int, seconds: float) -> list[tuple[Any, ...]]:
    """Charges of one window, and looks at it while they run out."""
    charges = [("reserve", {at}, 1, 0), ("later", seconds)] * 12
    return [*charges, ("later", 60 - 13 * seconds), *[("reserve", {at}, 0, 0), ("later", seconds)] * 14]


# In eighths, which a double and a microsecond hold exactly: close by, at the edge of a window, anywhere.
moments = st.one_of(st.integers(0, 6), st.integers(472, 484), st.integers(0, 560)).map(lambda eighths: eighths / 8)
steps = st.one_of(
    st.tuples(
        st.just("reserve"), st.sets(st.sampled_from(range(4)), min_size=1), st.integers(0, 50), st.integers(0, 60)
    ),
    st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 90), st.integers(0, 90)),
    st.tuples(st.just("refund"), st.integers(0, 9)),
    st.tuples(st.just("later"), moments),
    st.tuples(st.just("day"), st.integers(0, 40)),
    st.tuples(st.just("more"), st.integers(0, 2), st.integers(0, 50), st.integers(0, 60)),
)


def seen(outcome: Outcome) -> object:
    """What a caller can tell of it: not the id."""
    return outcome.left if isinstance(outcome, Reservation) else outcome


async def told(store: ServiceStore, clock: Clock, said: list[tuple[Any, ...]]) -> list[object]:
    """What the store answers to all that is said."""
    open_: list[Reservation] = []
    answers: list[object] = []
    for verb, *how in said:
        match verb, how:
            case "reserve", [of, tokens, money]:
                demand = Demand(limits=tuple(LIMITS[at] for at in sorted(of)), tokens=tokens, money=money)
            case "more", [at, tokens, money]:
                demand = Demand(limits=(LIMITS[at],), tokens=tokens, money=money, is_more=True)
            case "later", [seconds]:
                clock.now += seconds
                continue
            case "day", [days]:
                clock.wall += days * 86_400
                continue
            case _, [number, *used] if open_:
                one = open_[number % len(open_)]  # one that is closed already among them
                await (store.settle(one, *used) if verb == "settle" else store.refund(one))
                answers.append(await store.spent(LIMITS[:2]))
                continue
            case _:
                continue
        outcome = await store.reserve(demand)
        if isinstance(outcome, Reservation):
            open_.append(outcome)
        answers.append(seen(outcome))
    return answers


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=40))
@example(one_after_the_other(1, 0.125))
@example(one_after_the_other(1, 0.25))
@example(one_after_the_other(3, 0.125))
def test_it_answers_as_the_store_of_one_file_does(
    shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory, said: list[tuple[Any, ...]]
) -> None:
    path, name = str(tmp_path_factory.mktemp("store") / "gateway.db"), secrets.token_hex(8)

    async def both() -> tuple[list[object], list[object]]:
        one, other = Clock(), Clock()
        async with (
            open_sqlite(path, clock=one, boot=lambda: "one") as sqlite,
            open_redis(shared_redis.url, name=name, clock=other.of_redis) as redis,
        ):
            return await told(sqlite, one, said), await told(redis, other, said)

    of_sqlite, of_redis = trio.run(both)
    assert of_redis == of_sqlite


@asynccontextmanager
async def losing(url: str, *, every: int) -> AsyncIterator[str]:
    """The address of a connection to the server which breaks instead of every so manieth answer."""
    count = 0

    async def relay(client: trio.SocketStream) -> None:
        nonlocal count
        server = await trio.open_unix_socket(url.removeprefix("unix://"))
        async with client, server, trio.open_nursery() as nursery:

            async def ask() -> None:
                async for data in client:
                    await server.send_all(data)
                nursery.cancel_scope.cancel()

            nursery.start_soon(ask)
            async for data in server:
                count += 1
                if count % every == 0:
                    break
                await client.send_all(data)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), relay, 0)
        yield f"redis://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_answers_that_are_lost_leave_nothing_reserved_and_no_row_twice(own_redis: RedisServer) -> None:
    lost = paid = 0
    async with losing(own_redis.url, every=23) as url, open_redis(url) as store:
        random = Random(1)  # noqa: S311 - amounts, and no secrets

        async def calls() -> None:
            nonlocal lost, paid
            for _ in range(60):
                try:
                    paid += await call(store, ENDLESS, random) or 0
                except GatewayError as error:
                    lost += error.kind is Kind.STORE

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(calls)
        for _ in range(100):
            try:
                await store.renew()
                break
            except GatewayError:
                continue
    async with Redis.from_url(own_redis.url) as client:
        rows = [json.loads(one.field_values[b"r"])["id"] for one in await client.xrange("{ogw}:ledger")]
    sums = await totals_of_redis(own_redis.url)
    assert lost
    assert len(rows) == len(set(rows)) <= 300
    assert sums["spent"] == sums["rows"] >= paid
    assert (sums["reserved"], sums["running"], sums["charged"]) == (0, 0, 0)


async def test_a_server_that_is_killed_and_started_again_has_lost_nothing_and_lets_nothing_through(
    own_redis: RedisServer,
) -> None:
    paid: list[int] = []
    lost = 0
    said, heard = trio.open_memory_channel[None](math.inf)
    async with open_redis(own_redis.url) as store:
        random = Random(2)  # noqa: S311 - as above

        async def calls() -> None:
            nonlocal lost
            while True:
                try:
                    paid.append(await call(store, ENDLESS, random) or 0)
                    said.send_nowait(None)
                except GatewayError as error:
                    lost += error.kind is Kind.STORE

        async def until_more(calls_: int) -> None:
            for _ in range(calls_):
                await heard.receive()

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(calls)
            for _ in range(2):
                await until_more(50)
                own_redis.kill()
                for _ in range(20):
                    with pytest.raises(GatewayError, match="store cannot be used"):
                        await store.reserve(asks())
                before = len(paid)
                for _ in range(100):
                    await trio.lowlevel.checkpoint()
                assert len(paid) <= before
                await own_redis.start_again()
            await until_more(50)
            nursery.cancel_scope.cancel()
        await store.renew()
    sums = await totals_of_redis(own_redis.url)
    assert lost
    assert sums["calls"] >= len(paid)
    assert sums["spent"] == sums["rows"] >= sum(paid)
    assert (sums["reserved"], sums["running"], sums["charged"]) == (0, 0, 0)


async def test_a_call_that_is_cancelled_at_any_moment_has_reserved_nothing(redis: RedisStore) -> None:
    outcome: Outcome | None = None
    moments_ = 0
    while outcome is None:
        with trio.move_on_after(moments_ * 20e-6):
            outcome = await redis.reserve(asks(money=900))
        moments_ += 1
        await redis.renew()  # by now it is given back
        assert await redis.spent([KEY]) == {"key k": 0 if outcome is None else 900}
    assert moments_ > 5


async def test_a_reservation_that_comes_after_its_end_is_not_made(redis: RedisStore) -> None:
    """A connection that breaks may still have it on the way, when the end has gone over another."""
    process = redis._process
    end = redis._end([{"id": f"{process}-1", "is_void": True}], None)
    await redis._tell(end)
    redis._count = 0
    await redis.reserve(asks(money=900))
    assert await redis.spent([KEY]) == {"key k": 0}


async def test_what_a_dead_process_reserved_is_charged_when_its_lease_is_over(
    shared_redis: RedisServer, name: str, clock: Clock, redis: RedisStore
) -> None:
    async with open_redis(shared_redis.url, name=name, clock=clock.of_redis) as dead:
        await let_in(dead, asks(tokens=100, money=300))
        dead._process = "another"
    await redis.renew()
    assert await totals_of_redis(shared_redis.url, name) == NOTHING | {"reserved": 300, "running": 1}
    clock.now += 15
    await redis.renew()
    assert await totals_of_redis(shared_redis.url, name) == NOTHING | {"charged": 300, "spent": 300}
    await let_in(redis, asks(tokens=900, money=700))
    assert (await refused(redis, asks(tokens=1))).key == "tpm"


async def test_what_a_process_left_open_is_charged_by_whoever_comes_next(
    shared_redis: RedisServer, name: str, clock: Clock, redis: RedisStore
) -> None:
    only_paid = Limits(key="paid", title="paid", budget=10**6)
    async with open_redis(shared_redis.url, name=name, clock=clock.of_redis) as leaves:
        for _ in range(2100):  # more than one step takes
            await let_in(leaves, asks(only_paid, money=1))
    await redis.renew()
    assert await totals_of_redis(shared_redis.url, name) == NOTHING | {"charged": 2100, "spent": 2100}


async def test_a_process_that_was_taken_for_dead_and_lives_is_charged_what_it_really_used(
    shared_redis: RedisServer, name: str, clock: Clock, redis: RedisStore
) -> None:
    async with open_redis(shared_redis.url, name=name, clock=clock.of_redis) as stopped:
        held = [await let_in(stopped, asks(money=300)) for _ in range(2)]
        clock.now += 16
        await redis.renew()
        assert (await totals_of_redis(shared_redis.url, name))["charged"] == 600
        await stopped.conclude([Closing(reservation=held[0], used=Used(tokens=0, money=20))], ROW)
        await stopped.refund(held[1])
        await stopped.refund(held[1])
    assert await totals_of_redis(shared_redis.url, name) == NOTHING | {"rows": 30, "spent": 20}


async def test_a_clock_that_is_set_back_by_hours_does_not_stop_the_windows(redis: RedisStore, clock: Clock) -> None:
    clock.now = 100_000.0
    for _ in range(10):
        await let_in(redis, asks())
    clock.now = 5_000.0
    await let_in(redis, asks())
    clock.now = 4_990.0  # and by seconds leaves what was charged as it is
    for _ in range(9):
        await let_in(redis, asks())
    assert (await refused(redis, asks())).key == "rpm"


def test_replicas_of_one_service_let_in_exactly_what_the_limits_allow(own_redis: RedisServer) -> None:
    processes = [start(own_redis.url, 60) for _ in range(2)]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(one["passed"] for one in said) == 10
    assert sum(one["paid"] for one in said) <= (PAYS.budget or 0)
    sums = trio.run(totals_of_redis, own_redis.url)
    assert sums["spent"] == sums["rows"] == sum(one["paid"] for one in said)
    assert (sums["reserved"], sums["running"]) == (0, 0)


def test_a_replica_that_is_killed_again_and_again_leaves_nothing_free_and_nothing_lost(own_redis: RedisServer) -> None:
    for _ in range(3):
        process = start(own_redis.url, 0)
        assert process.stdout is not None
        recorded = [process.stdout.readline() for _ in range(20)]  # calls that it had whole
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].splitlines()
        sums = trio.run(totals_of_redis, own_redis.url)
        assert sums["calls"] >= len(recorded) + len(rest) - 1  # the last line may be cut

    async def after_the_lease() -> dict[str, int]:
        async with open_redis(own_redis.url, clock=lambda: (round((time.time() + 20) * 1e6), time.time())):
            return await totals_of_redis(own_redis.url)

    sums = trio.run(after_the_lease)
    assert sums["spent"] == sums["rows"] + sums["charged"]
    assert (sums["reserved"], sums["running"]) == (0, 0)


async def test_a_server_that_is_not_there_is_told_at_once(own_redis: RedisServer) -> None:
    own_redis.kill()
    with pytest.raises(GatewayError, match="store cannot be used") as caught:
        async with open_redis(own_redis.url):
            pass
    assert caught.value.kind is Kind.STORE


async def test_a_password_is_asked_for_and_shown_to_nobody(own_redis: RedisServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.config_set({"requirepass": "ogw-canary-password"})
    with pytest.raises(GatewayError) as caught:
        async with open_redis(own_redis.url, password=Secret("ogw-wrong-password", name="the store's password")):
            pass
    assert "password" not in str(caught.value).replace("username-password", "")
    async with open_redis(own_redis.url, password=Secret("ogw-canary-password", name="the store's password")) as store:
        await store.check()


async def test_a_server_that_may_forget_is_warned_of(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with open_redis(own_redis.url):
        pass
    assert not caplog.messages
    async with Redis.from_url(own_redis.url) as client:
        await client.config_set({"appendonly": "no", "maxmemory-policy": "allkeys-lru"})
    async with open_redis(own_redis.url):
        pass
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "The store keeps no append-only file",
        "The store may drop keys when its memory is full. Set maxmemory-policy noeviction.",
    ]
