"""The tab of a call: never less reserved than it may owe, closed once, and with what it really owes."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway.engine.charges import bound_of
from openai_gateway.engine.store.memory import MemoryStore
from openai_gateway.engine.store.tab import Tab
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Closing, Demand, Limits, Outcome, Reservation, Used
from openai_gateway.routing.plan import ModelRow, Price
from openai_gateway.routing.token_bound import token_bound

ROW = Row(id="r", endpoint="chat/completions", model="m", status=200)
LIMITS = Limits(key="k", title="key ci", rpm=1, tpm=1000, max_parallel=1, budget=1000, period="day")


@attrs.define
class Watched:
    """A store in memory that says what it was asked; `error` is raised in the place of every conclusion."""

    store: MemoryStore = attrs.field(factory=MemoryStore)
    demands: list[Demand] = attrs.field(factory=list)
    concluded: list[tuple[tuple[Closing, ...], Row | None]] = attrs.field(factory=list)
    error: GatewayError | None = None
    hangs: bool = False

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Outcome:
        self.demands.append(demand)
        return await self.store.reserve(demand, wait=wait)

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        await self.store.settle(reservation, tokens, money)

    async def refund(self, reservation: Reservation) -> None:
        await self.store.refund(reservation)

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        if self.hangs:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error
        self.concluded.append((tuple(closings), row))
        await self.store.conclude(closings, ROW)


async def test_a_further_attempt_reserves_what_is_missing_and_is_no_further_request() -> None:
    store = Watched()
    tab = Tab(store, LIMITS)
    await tab.cover(Used(tokens=100, money=100))
    tab.owes(30, 30)
    await tab.cover(Used(tokens=100, money=60))
    assert store.demands[1:] == [Demand(limits=(LIMITS,), tokens=30, money=0, is_more=True)]
    tab.owes(100, 60)
    await tab.cover(Used(tokens=0, money=10))
    assert len(store.demands) == 2, "what is reserved is enough"
    assert tab.left[0].left == 0
    await tab.close(ROW)
    await tab.close(ROW)
    (closings, row), *others = store.concluded
    assert not others
    assert row == ROW
    assert [one.used for one in closings] == [Used(tokens=100, money=90), Used(tokens=30, money=0)]


async def test_a_prompt_is_counted_only_if_nobody_says_what_it_came_to() -> None:
    store, counted = Watched(), 0
    limits = attrs.evolve(LIMITS, rpm=None, tpm=10**9)

    def prompt() -> Used:
        nonlocal counted
        counted += 1
        return Used(tokens=30, money=40)

    known, left = Tab(store, limits), Tab(store, limits)
    await known.cover(Used(tokens=100, money=100))
    known.owes_uncounted(prompt)
    known.owes(50, 60)
    await known.close(ROW)
    assert counted == 0
    await left.cover(Used(tokens=100, money=100))
    left.owes_uncounted(prompt)
    assert left.total == Used(tokens=30, money=40)
    await left.close(ROW)
    assert counted == 1
    assert [one.used for closings, _ in store.concluded for one in closings] == [
        Used(tokens=50, money=60), Used(tokens=30, money=40),
    ]  # fmt: skip


async def test_a_prompt_that_was_sent_in_vain_is_owed_beside_the_next_attempt() -> None:
    store = Watched()
    tab = Tab(store, LIMITS)
    await tab.cover(Used(tokens=100, money=100))
    tab.owes_uncounted(lambda: Used(tokens=30, money=40))
    await tab.cover(Used(tokens=100, money=100))
    assert store.demands[1:] == [Demand(limits=(LIMITS,), tokens=30, money=40, is_more=True)]
    tab.owes(1, 2)
    assert tab.total == Used(tokens=31, money=42)


@given(st.integers(1, 10**6), st.sampled_from([None, 100]), st.sampled_from([{}, {"max_tokens": 9}, {"n": 3}]))
def test_a_budget_changes_nothing_about_the_tokens_that_are_reserved(
    length: int, most: int | None, body: dict[str, int]
) -> None:
    row = ModelRow(name="m", provider="a", model="m", max_output_tokens=most, price=Price(input=1, output=2))
    call = Call(model="m", body={"prompt": "x" * length, **body}, limits=LIMITS)
    with_budget = bound_of(call, row)
    without = bound_of(attrs.evolve(call, limits=attrs.evolve(LIMITS, budget=None)), row)
    assert without == Used(tokens=token_bound(call, most))
    if most is None and "max_tokens" not in body:
        assert with_budget is None, "nothing says what it may cost"
    else:
        assert with_budget is not None
        assert with_budget.tokens == token_bound(call, most)
        assert with_budget.money >= with_budget.tokens * 1000


async def test_a_call_that_never_reached_anybody_is_as_if_it_had_not_been() -> None:
    store = Watched()
    for _ in range(2):  # the second finds all of it free again
        tab = Tab(store, LIMITS)
        await tab.cover(Used(tokens=1000, money=1000))
        await tab.close(None)
    assert [one.used for closings, _ in store.concluded for one in closings] == [None, None]


async def test_without_limits_nothing_is_reserved_and_only_a_row_is_told() -> None:
    store = Watched()
    tab = Tab(store, None)
    await tab.cover(Used(tokens=5))
    tab.owes(5, 7)
    assert tab.total == Used(tokens=5, money=7)
    assert (tab.left, tab.has_limits) == ((), False)
    await tab.close(None)
    await Tab(store, None).close(ROW)
    assert (store.demands, store.concluded) == ([], [((), ROW)])


async def test_a_limit_that_is_met_is_said_at_once() -> None:
    tab = Tab(Watched(), LIMITS)
    with pytest.raises(GatewayError, match="can never pay") as caught:
        await tab.cover(Used(tokens=1, money=1001))
    assert caught.value.kind is Kind.QUOTA


async def test_what_cannot_be_recorded_is_an_error_or_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store = Watched(error=GatewayError(kind=Kind.STORE, message="the disk is full"))
    with pytest.raises(GatewayError, match="disk is full"):
        await Tab(store, None).close(ROW)
    await Tab(store, None).close_quietly(ROW)
    assert "could not be recorded: the disk is full" in caplog.text


async def test_a_store_that_does_not_answer_holds_nobody_up_for_long(autojump_clock: MockClock) -> None:
    with pytest.raises(GatewayError, match="in time") as caught:
        await Tab(Watched(hangs=True), None).close(ROW)
    assert (caught.value.kind, trio.current_time()) == (Kind.STORE, 5)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 300)), max_size=6))
async def test_never_less_is_reserved_than_is_owed_and_may_be(attempts: list[tuple[int, int, int]]) -> None:
    store = Watched()
    limits = attrs.evolve(LIMITS, tpm=10**9, budget=10**9)
    tab, owed = Tab(store, limits), 0
    for tokens, money, used in attempts:
        await tab.cover(Used(tokens=tokens, money=money))
        assert sum(one.money for one in store.demands) >= owed + money
        tab.owes(0, used)  # a provider may bill beyond its bound
        owed += used
    await tab.close(ROW)
    closings, _ = store.concluded[0]
    assert sum(one.used.money for one in closings if one.used is not None) == owed
    assert [demand.is_more for demand in store.demands] == [False, True, True, True, True, True][: len(store.demands)]
