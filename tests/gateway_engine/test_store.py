"""The store of limits in memory, and the hold on a reservation: whoever is cancelled, nothing leaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway.engine.store import Store
from openai_gateway.engine.store.hold import holding, take
from openai_gateway.engine.store.memory import MemoryStore
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Closing, Demand, Limits, Refusal, Reservation
from tests.gateway_engine.test_cancellation import CancelAtStep

ROW = Limits(key="k", title="model row m at one", rpm=1000, tpm=10_000, max_parallel=2)
CALL = Demand(limits=(ROW,), tokens=100)


def only(rpm: int | None = None, tpm: int | None = None, max_parallel: int | None = None) -> Demand:
    limits = Limits(key="k", title="model row m at one", rpm=rpm, tpm=tpm, max_parallel=max_parallel)
    return Demand(limits=(limits,), tokens=100)


async def let_in(store: Store, demand: Demand, *, wait: bool = False) -> Reservation:
    outcome = await store.reserve(demand, wait=wait)
    assert isinstance(outcome, Reservation)
    return outcome


async def nothing_is_held(store: Store) -> None:
    """All places of CALL are free; they are free again afterwards."""
    held = [await let_in(store, CALL) for _ in range(2)]
    for reservation in held:
        await store.refund(reservation)


async def test_a_hundred_calls_at_once_against_a_limit_of_ten(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    outcomes: list[GatewayError | None] = []

    async def ask() -> None:
        try:
            async with holding(store, only(rpm=10)) as hold:
                hold.sent()
                await trio.sleep(1)
                outcomes.append(None)
        except GatewayError as error:
            outcomes.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
    refusals = [outcome for outcome in outcomes if outcome is not None]
    assert (len(outcomes), len(refusals)) == (100, 90)
    assert {(error.kind, error.retry_after) for error in refusals} == {(Kind.RATE_LIMITED, 60)}


async def test_who_waits_for_a_place_gets_it_in_order(autojump_clock: MockClock) -> None:
    store: Store = MemoryStore()
    log: list[tuple[int, float]] = []

    async def ask(number: int) -> None:
        await trio.sleep(number / 100)
        async with holding(store, only(max_parallel=2), wait=True):
            log.append((number, trio.current_time()))
            await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(ask, number)
    assert [number for number, _ in log] == list(range(6))
    assert [round(at) for _, at in log] == [0, 0, 10, 10, 20, 20]


async def test_who_does_not_wait_is_refused_at_once(autojump_clock: MockClock) -> None:
    store: Store = MemoryStore()
    held = await let_in(store, only(max_parallel=1))
    assert isinstance(await store.reserve(only(max_parallel=1)), Refusal)
    await store.refund(held)
    assert isinstance(await store.reserve(only(max_parallel=1)), Reservation)


async def test_a_window_that_filled_meanwhile_refuses_the_one_whose_turn_comes(autojump_clock: MockClock) -> None:
    store: Store = MemoryStore()
    asked = only(rpm=1, max_parallel=1)
    held = await let_in(store, only(max_parallel=1))
    outcomes: list[Reservation | Refusal] = []

    async def ask() -> None:
        outcomes.append(await store.reserve(asked, wait=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await let_in(store, only(rpm=1))
        await store.settle(held, 0)
    (refusal,) = outcomes
    assert isinstance(refusal, Refusal)
    assert refusal.seconds == 60


# --- what is charged ------------------------------------------------------------------------------------------------


async def fits(store: Store, tokens: int) -> bool:
    outcome = await store.reserve(Demand(limits=(attrs.evolve(ROW, tpm=1000),), tokens=tokens))
    if isinstance(outcome, Refusal):
        return False
    await store.refund(outcome)
    return True


@pytest.mark.parametrize(
    ("sent", "used", "charged"),
    [(False, None, 0), (True, None, 100), (True, 30, 30), (True, 700, 700), (False, 30, 30)],
    ids=["never sent", "sent", "fewer than reserved", "more than reserved", "used is enough to say"],
)
async def test_a_call_is_charged_with_what_is_known_of_it(
    autojump_clock: MockClock, sent: bool, used: int | None, charged: int
) -> None:
    store: Store = MemoryStore()
    async with holding(store, CALL) as hold:
        if sent:
            hold.sent()
        if used is not None:
            hold.used(used)
            hold.sent()  # what is known already stays
    assert await fits(store, 1000 - charged)
    assert not await fits(store, 1001 - charged)
    await nothing_is_held(store)


async def test_a_hold_without_a_block_is_closed_once(autojump_clock: MockClock) -> None:
    store: Store = MemoryStore()
    hold = await take(store, CALL)
    await hold.aclose()
    hold.used(10_000)
    await hold.aclose()
    assert await fits(store, 1000)


async def test_an_error_inside_closes_the_hold(autojump_clock: MockClock) -> None:
    store: Store = MemoryStore()
    with pytest.raises(ZeroDivisionError):
        async with holding(store, CALL):
            raise ZeroDivisionError
    await nothing_is_held(store)


# --- cancellation ---------------------------------------------------------------------------------------------------


async def quick(store: Store) -> None:
    async with holding(store, CALL, wait=True) as hold:
        await trio.sleep(1)
        hold.sent()
        await trio.sleep(1)
        hold.used(1)


async def queued(store: Store) -> None:
    """As `quick`, behind two others that take a second and leave in turn."""

    async def other(seconds: float) -> None:
        async with holding(store, CALL):
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other, 1)
        nursery.start_soon(other, 2)
        await trio.testing.wait_all_tasks_blocked()
        await quick(store)


WAYS: dict[str, Callable[[Store], Awaitable[None]]] = {"quick": quick, "queued": queued}


async def run(way: str, step: int = 0) -> int:
    """One run of `way`, cancelled before that step of its task; how many steps there were."""
    store = MemoryStore()
    with trio.CancelScope() as scope:
        canceller = CancelAtStep(scope, trio.lowlevel.current_task(), step)
        trio.lowlevel.add_instrument(canceller)
        try:
            await WAYS[way](store)
        finally:
            trio.lowlevel.remove_instrument(canceller)
    await nothing_is_held(store)
    assert not store._called
    assert not store._outcomes
    return step - canceller.steps_left


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_any_await_a_call_leaves_nothing_held(autojump_clock: MockClock, way: str) -> None:
    steps = await run(way)
    assert steps >= 2
    for step in range(1, steps + 1):
        await run(way, step)


@pytest.mark.parametrize("closed_first", [True, False])
async def test_a_cancelled_waiter_loses_no_place_though_its_turn_comes_in_that_moment(
    autojump_clock: MockClock, closed_first: bool
) -> None:
    store: Store = MemoryStore()
    held = await let_in(store, only(max_parallel=1))
    got: list[str] = []

    async def ask(name: str, scope: trio.CancelScope) -> None:
        with scope:
            async with holding(store, only(max_parallel=1), wait=True):
                got.append(name)
                await trio.sleep(1)

    first, second = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "first", first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "second", second)
        await trio.testing.wait_all_tasks_blocked()
        if closed_first:
            await store.settle(held, 0)
            first.cancel()
        else:
            first.cancel()
            await store.settle(held, 0)
    assert got[-1] == "second"
    assert isinstance(await store.reserve(only(max_parallel=1)), Reservation)


async def test_a_cancelled_caller_reserves_nothing(autojump_clock: MockClock) -> None:
    store: Store = MemoryStore()
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.reserve(CALL)
    assert scope.cancelled_caught
    await nothing_is_held(store)


@attrs.define(eq=False)
class SilentStore:
    """A store somewhere else that has stopped answering."""

    inner: MemoryStore = attrs.field(factory=MemoryStore)

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Reservation | Refusal:
        return await self.inner.reserve(demand, wait=wait)

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        await trio.sleep_forever()

    async def refund(self, reservation: Reservation) -> None:
        await trio.sleep_forever()

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        await trio.sleep_forever()


async def test_a_store_that_does_not_answer_holds_up_the_end_of_a_call_for_seconds_at_most(
    autojump_clock: MockClock,
) -> None:
    with trio.move_on_after(1):
        async with holding(SilentStore(), CALL):
            await trio.sleep_forever()
    assert trio.current_time() == 1 + 5
