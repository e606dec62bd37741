"""How connections are shared: over streams in memory, on the virtual clock."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.upstream import Upstream, open_upstream
from openai_gateway.net.pool import Limits
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.attempts import Cause
from tests.gateway_engine.loopback import Connection
from tests.gateway_engine.scripted import provider
from tests.gateway_net.exchanges import CHUNKED, OK, SECOND, Failed, Got, clocks, outcome, plays, request
from tests.gateway_net.memory import in_memory, native

ONE = provider(base_url="http://one.example/v1")


async def answers(connection: Connection) -> None:
    while await connection.request():
        await connection.stream.send_all(OK)


async def answers_after_a_second(connection: Connection) -> None:
    while await connection.request():
        await trio.sleep(1)
        await connection.stream.send_all(OK)


async def test_there_are_never_more_connections_than_places(autojump_clock: MockClock) -> None:
    most = 0
    async with native(answers_after_a_second, Limits(connections=3)) as (upstream, memory, _), trio.open_nursery() as n:

        async def call() -> None:
            nonlocal most
            assert await outcome(upstream, ONE) == Got()
            most = max(most, memory.open)

        for _ in range(10):
            n.start_soon(call)

    assert (most, len(memory.connections)) == (3, 3)
    assert trio.current_time() == 4  # ten calls of a second each, three at once


async def test_places_are_given_in_the_order_of_asking(autojump_clock: MockClock) -> None:
    served: list[int] = []
    async with native(answers_after_a_second, Limits(connections=1)) as (upstream, _, _), trio.open_nursery() as n:

        async def call(number: int) -> None:
            await outcome(upstream, ONE)
            served.append(number)

        for number in range(5):
            n.start_soon(call, number)
            await trio.testing.wait_all_tasks_blocked()

    assert served == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at", [0.5, 1.0], ids=["while it waits", "in the moment of its turn"])
async def test_a_cancelled_waiter_takes_no_place_with_it(autojump_clock: MockClock, at: float) -> None:
    async with native(answers_after_a_second, Limits(connections=1)) as (upstream, _, transport):
        async with trio.open_nursery() as n:
            n.start_soon(outcome, upstream, ONE)
            await trio.testing.wait_all_tasks_blocked()
            n.start_soon(cancelled_at, at, upstream)
            await trio.testing.wait_all_tasks_blocked()
            n.start_soon(outcome, upstream, ONE)

        assert transport.pool(httpx.URL(ONE.base_url)).free == 1
        assert await outcome(upstream, ONE) == Got()


async def cancelled_at(at: float, upstream: Upstream) -> None:
    with trio.move_on_at(at):
        await outcome(upstream, ONE)


async def test_the_wait_for_a_place_runs_the_connect_clock(autojump_clock: MockClock) -> None:
    async def silent(connection: Connection) -> None:
        await connection.until_gone()

    async with native(silent, Limits(connections=1)) as (upstream, _, _), trio.open_nursery() as n:
        n.start_soon(outcome, upstream, ONE)
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(upstream, ONE) == Failed(Cause.CONNECT_CLOCK)
        assert trio.current_time() == 5
        n.cancel_scope.cancel()


async def test_after_a_wait_the_first_byte_clock_has_all_its_time(autojump_clock: MockClock) -> None:
    async def slow(connection: Connection) -> None:
        while await connection.request():
            await trio.sleep(4)
            await connection.stream.send_all(OK)

    async with native(slow, Limits(connections=1)) as (upstream, _, _), trio.open_nursery() as n:
        n.start_soon(outcome, upstream, ONE)
        await trio.testing.wait_all_tasks_blocked()
        exchange = await upstream.open(ONE, request(ONE.base_url), Clocks(connect=5, first_byte=5, idle=1))
        await exchange.aclose()

        assert trio.current_time() == 8


async def test_a_connection_is_not_kept_for_ever(autojump_clock: MockClock) -> None:
    async with native(answers, Limits(keep_idle=10)) as (upstream, memory, _):
        for pause in (0, 9.5, 10):
            await trio.sleep(pause)
            assert await outcome(upstream, ONE) == Got()

        assert (len(memory.connections), memory.open) == (2, 1)


async def test_a_server_may_say_for_how_long_it_keeps_one(autojump_clock: MockClock) -> None:
    said = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=5, max=100\r\ncontent-length: 2\r\n\r\nok"
    async with native(plays([said, said], [said], closes=False)) as (upstream, memory, _):
        for pause in (0, 3.5, 4.5):
            await trio.sleep(pause)
            assert await outcome(upstream, ONE) == Got()

        assert len(memory.connections) == 2


@pytest.mark.parametrize("said", [b"max=5", b"timeout=never", b"timeout=99999", b"x-timeout=1"])
async def test_an_odd_keep_alive_changes_nothing(autojump_clock: MockClock, said: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nkeep-alive: %s\r\ncontent-length: 2\r\n\r\nok" % said
    async with native(plays([answer, OK], closes=False)) as (upstream, memory, _):
        for pause in (0, 50):
            await trio.sleep(pause)
            assert await outcome(upstream, ONE) == Got()

        assert len(memory.connections) == 1


async def test_only_so_many_are_kept_the_newest(autojump_clock: MockClock) -> None:
    async with native(answers_after_a_second, Limits(idle=2)) as (upstream, memory, transport):
        async with trio.open_nursery() as n:
            for _ in range(5):
                n.start_soon(outcome, upstream, ONE)

        assert memory.open == transport.pool(httpx.URL(ONE.base_url)).idle == 2


async def test_each_origin_has_places_of_its_own(autojump_clock: MockClock) -> None:
    other = provider("two", base_url="http://two.example:8080/v1")
    async with native(answers_after_a_second, Limits(connections=1)) as (upstream, memory, _):
        async with trio.open_nursery() as n:
            n.start_soon(outcome, upstream, ONE)
            n.start_soon(outcome, upstream, other)

        assert trio.current_time() == 1
        assert sorted(memory.asked_for) == [("one.example", 80), ("two.example", 8080)]


async def test_the_connection_used_last_is_used_next(autojump_clock: MockClock) -> None:
    asked: list[int] = []

    async def serve(connection: Connection) -> None:
        while await connection.request():
            asked.append(connection.number)
            await trio.sleep(1 + connection.number)
            await connection.stream.send_all(OK)

    async with native(serve) as (upstream, _, _):
        async with trio.open_nursery() as n:
            n.start_soon(outcome, upstream, ONE)
            n.start_soon(outcome, upstream, ONE)
        await outcome(upstream, ONE)

    assert sorted(asked[:2]) == [0, 1]
    assert asked[2] == 1


async def test_what_a_dead_connection_shows_is_true_of_those_as_old(autojump_clock: MockClock) -> None:
    async def first_two_die(connection: Connection) -> None:
        await connection.request()
        await trio.sleep(1)
        await connection.stream.send_all(OK)
        if connection.number < 2:
            await connection.request()

    async with native(first_two_die) as (upstream, memory, _):
        async with trio.open_nursery() as n:
            n.start_soon(outcome, upstream, ONE)
            n.start_soon(outcome, upstream, ONE)
        assert memory.open == 2
        assert await outcome(upstream, ONE) == Got()

        assert len(memory.connections) == 3  # and not a second dead one tried in between


@pytest.mark.parametrize("said", [b"", OK], ids=["closed", "with something unasked"])
async def test_an_idle_connection_in_memory_is_known_to_be_dead(autojump_clock: MockClock, said: bytes) -> None:
    async def serve(connection: Connection) -> None:
        await connection.request()
        if connection.number:
            await connection.stream.send_all(SECOND)
        else:
            await connection.stream.send_all(OK)
            await trio.sleep(1)
            await connection.stream.send_all(said or b" ")

    async with native(serve) as (upstream, memory, _):
        assert await outcome(upstream, ONE) == Got()
        await trio.sleep(2)
        assert await outcome(upstream, ONE) == Got(body=b"second")
        assert len(memory.connections) == 2


async def test_one_that_waits_when_all_is_closed_is_told_so(autojump_clock: MockClock) -> None:
    got = []
    async with native(answers_after_a_second, Limits(connections=1)) as (upstream, memory, transport):
        async with trio.open_nursery() as n:

            async def call() -> None:
                got.append(await outcome(upstream, ONE))

            n.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            n.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await transport.aclose()

        assert got == [Failed(Cause.RESET), Failed(Cause.RESET)]
        assert (len(memory.connections), memory.open) == (1, 0)


async def test_an_exchange_that_outlives_its_transport_leaves_nothing(autojump_clock: MockClock) -> None:
    async with native(plays([CHUNKED], closes=False)) as (upstream, memory, transport):
        exchange = await upstream.open(ONE, request(ONE.base_url), clocks())
        await transport.aclose()
        with pytest.raises(Broke):
            await exchange.read_all()
        await exchange.aclose()

        assert memory.open == 0
        assert transport.pool(httpx.URL(ONE.base_url)).free == Limits().connections


async def test_a_connection_that_is_made_while_all_is_closed_is_not_used(autojump_clock: MockClock) -> None:
    async with in_memory(answers) as memory:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            await trio.sleep(2)
            return await memory.connect(host, port)

        transport = Http11Transport(connect=connect)
        async with transport, open_upstream(transport) as upstream, trio.open_nursery() as n:
            n.start_soon(fails_with, Cause.RESET, upstream)
            await trio.sleep(1)
            await transport.aclose()

        assert (len(memory.connections), memory.open) == (1, 0)


async def fails_with(cause: Cause, upstream: Upstream) -> None:
    assert await outcome(upstream, ONE) == Failed(cause)


async def test_a_connection_that_was_closed_with_its_transport_is_not_kept(autojump_clock: MockClock) -> None:
    async with native(answers) as (upstream, _, transport):
        exchange = await upstream.open(ONE, request(ONE.base_url), clocks())
        await transport.aclose()
        assert await exchange.read_all() == b"ok"  # it was read already

        assert transport.pool(httpx.URL(ONE.base_url)).idle == 0
