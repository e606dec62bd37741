"""A store of each kind: exact among tasks, and what it is told it knows."""

from __future__ import annotations

import attrs
import trio
import trio.testing

from openai_gateway.engine.store import Owned, ServiceStore
from openai_gateway.routing.ledger import Sum
from openai_gateway.routing.limits import Closing, Demand, Limits, Measure, Reservation, Used
from openai_gateway.routing.virtual_keys import VirtualKey, digest_of
from tests.gateway_store.asking import DAY, KEY, ROW, asks, let_in, refused
from tests.gateway_store.conftest import NOON, Clock


async def test_of_a_hundred_at_once_exactly_ten_pass_and_again_as_many_in_the_next_minute(
    store: ServiceStore, clock: Clock
) -> None:
    passed: list[float] = []

    async def ask() -> None:
        if isinstance(await store.reserve(asks()), Reservation):
            passed.append(clock.now)

    for minute in (0.0, 59.9, 60.0, 119.9, 120.0):
        clock.now = 1000.0 + minute
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
    assert passed == [1000.0] * 10 + [1060.0] * 10 + [1120.0] * 10


async def test_each_limit_refuses_alone_and_what_is_refused_uses_nothing(store: ServiceStore) -> None:
    for limits, measure in (
        (Limits(key="a", title="a", rpm=1), Measure.RPM),
        (Limits(key="b", title="b", tpm=10), Measure.TPM),
        (Limits(key="c", title="c", max_parallel=1), Measure.MAX_PARALLEL),
        (Limits(key="d", title="d", budget=10, period="day"), Measure.BUDGET),
    ):
        both = Demand(limits=(limits, KEY), tokens=6, money=6)
        first = await let_in(store, asks(limits, tokens=6, money=6))
        assert await refused(store, both) is measure
        await store.refund(first)
        await store.refund(await let_in(store, both))
    assert (await let_in(store, asks())).left[0].left == 9


async def test_tokens_and_money_are_corrected_to_what_was_used_and_a_lie_is_charged_in_full(
    store: ServiceStore,
) -> None:
    first = await let_in(store, asks(tokens=900, money=900))
    assert await refused(store, asks(tokens=200)) is Measure.TPM
    await store.settle(first, 100, 100)
    await store.settle(first, 1, 1)  # the first word counts
    assert await store.spent([KEY]) == {"key k": 100}
    second = await let_in(store, asks(tokens=900, money=900))
    await store.settle(second, 5000, 5000)
    assert await store.spent([KEY]) == {"key k": 5100}
    assert await refused(store, asks(tokens=1)) in {Measure.TPM, Measure.BUDGET}


async def test_a_budget_begins_anew_with_the_day(store: ServiceStore, clock: Clock) -> None:
    await store.settle(await let_in(store, asks(money=1000)), 0, 1000)
    assert await refused(store, asks(money=1)) is Measure.BUDGET
    clock.wall = NOON + DAY
    await let_in(store, asks(money=1000))


async def test_the_end_of_a_call_settles_it_and_writes_its_row_in_one_step(store: ServiceStore) -> None:
    one, two = await let_in(store, asks(tokens=5, money=50)), await let_in(store, asks(money=9))
    await store.conclude(
        [Closing(reservation=one, used=Used(tokens=5, money=30)), Closing(reservation=two, used=None)], ROW
    )
    (row,) = await store.rows(since=0, until=2**45, limit=10)
    assert row == attrs.evolve(ROW, at=round(NOON * 1000))
    assert await store.spent([KEY]) == {"key k": 30}


async def test_rows_are_summed_by_day_model_and_key(store: ServiceStore, clock: Clock) -> None:
    for model, key, status, day in (("m", "k", 200, 0), ("n", "k", 429, 0), ("m", "l", 499, 1)):
        clock.wall = NOON + day * DAY
        await store.conclude([], attrs.evolve(ROW, model=model, key=key, status=status))
    end = round((NOON + 2 * DAY) * 1000)

    def line(name: str, calls: int, failed: int) -> Sum:
        return Sum(
            name=name, calls=calls, failed=failed, input=5 * calls, output=0, cached_input=0, reasoning=0,
            money=30 * calls,
        )  # fmt: skip

    assert await store.sums("day", since=0, until=end) == (line("2026-02-28", 2, 1), line("2026-03-01", 1, 0))
    assert await store.sums("model", since=0, until=end) == (line("m", 2, 0), line("n", 1, 1))
    assert await store.sums("key", since=0, until=end, key="l") == (line("l", 1, 0),)
    assert await store.sums("key", since=0, until=round(NOON * 1000)) == (line("k", 2, 1),)
    assert [row.key for row in await store.rows(since=0, until=end, limit=1)] == ["l"]
    assert [row.model for row in await store.rows(since=0, until=end, limit=9, key="k")] == ["n", "m"]


async def test_old_rows_are_dropped_and_what_they_spent_is_not_forgotten(store: ServiceStore, clock: Clock) -> None:
    used = Used(tokens=0, money=30)
    for day in range(4):
        clock.wall, clock.now = NOON + day * DAY, 1000.0 + day * DAY
        await store.conclude([Closing(reservation=await let_in(store, asks(money=30)), used=used)], ROW)
    assert await store.prune(before=round((NOON + DAY) * 1000), most=100) == 1
    assert await store.prune(before=0, most=1) == 2
    assert len(await store.rows(since=0, until=2**45, limit=9)) == 1
    assert await store.spent([KEY]) == {"key k": 30}


async def test_keys_are_found_by_their_digest_alone_and_can_be_replaced(store: ServiceStore) -> None:
    key = VirtualKey(id="key_1", digest=digest_of("a"), name="ci", models=("gpt-*",), rpm=5, budget=7)
    await store.put_key(key)
    await store.put_key(VirtualKey(id="key_2", digest=digest_of("b")))
    assert await store.key_of(digest_of("a")) == key
    assert await store.key_of("key_1") is None
    await store.put_key(attrs.evolve(key, digest=digest_of("c")))
    assert await store.key_of(digest_of("a")) is None
    assert [one.id for one in await store.keys()] == ["key_1", "key_2"]


async def test_who_made_a_file_is_known_and_the_first_word_on_it_stands(store: ServiceStore) -> None:
    mine = Owned(id="file-1", kind="file", key="key_1", provider="a", made=5)
    await store.own(mine)
    await store.own(attrs.evolve(mine, key="key_2"))
    await store.own(attrs.evolve(mine, id="file-2", key="key_2", made=6))
    assert await store.owner_of("file", "file-1") == mine
    assert await store.owner_of("batch", "file-1") is None
    assert await store.owned("file", "key_1") == (mine,)
    assert [one.id for one in await store.owned("file", None)] == ["file-2", "file-1"]
    await store.disown("file", "file-1")
    assert await store.owner_of("file", "file-1") is None


async def test_whoever_is_cancelled_while_it_waits_has_reserved_nothing(store: ServiceStore) -> None:
    for _ in range(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.reserve, asks(money=900))
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    await store.check()
    assert await store.spent([KEY]) == {"key k": 0}
    await let_in(store, asks(money=1000))


async def test_who_waits_for_a_place_gets_it_when_it_is_free_first_come_first(store: ServiceStore) -> None:
    one_at_a_time = Limits(key="row", title="row", max_parallel=1)
    first = await let_in(store, asks(one_at_a_time), wait=True)
    order: list[int] = []

    async def wait(number: int) -> None:
        reservation = await let_in(store, asks(one_at_a_time), wait=True)
        order.append(number)
        await store.refund(reservation)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked(0.001)
        await store.refund(first)
    assert order == [0, 1, 2]


async def test_a_wall_clock_that_jumps_moves_no_window_and_gives_no_budget_twice(
    store: ServiceStore, clock: Clock
) -> None:
    await store.settle(await let_in(store, asks(tokens=1000, money=1000)), 1000, 1000)
    for jump in (DAY, 0, -DAY, 0, -40 * 365 * DAY, 0):  # as a machine without a battery begins, and is set right
        clock.wall = NOON + jump
        assert await refused(store, asks(tokens=1)) is Measure.TPM
        if jump == 0:
            assert await refused(store, asks(money=1)) is Measure.BUDGET
            assert await store.spent([KEY]) == {"key k": 1000}
        else:
            await store.settle(await let_in(store, asks(money=1)), 0, 1)  # a day of its own
    clock.now += 61
    await let_in(store, asks(tokens=1000))
