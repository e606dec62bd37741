"""The SQLite store: exact among tasks and processes, and nothing lost whoever dies."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from openai_gateway.engine.store import Owned, ServiceStore
from openai_gateway.engine.store.book import Book
from openai_gateway.engine.store.schema import set_up
from openai_gateway.engine.store.sqlite import SqliteStore, open_sqlite
from openai_gateway.engine.store.sqlite import _now as real
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.ledger import Row, Sum
from openai_gateway.routing.limits import Closing, Demand, Limits, Measure, Refusal, Reservation, Used
from openai_gateway.routing.virtual_keys import VirtualKey, digest_of
from tests.gateway_store.conftest import NOON, Clock
from tests.gateway_store.load import totals

KEY = Limits(key="key k", title="key ci", rpm=10, tpm=1000, max_parallel=50, budget=1000, period="day")
ROW = Row(id="req_1", key="k", endpoint="chat/completions", model="m", target="a/m", status=200, money=30, input=5)
DAY = 86_400


def asks(limits: Limits = KEY, *, tokens: int = 0, money: int = 0) -> Demand:
    return Demand(limits=(limits,), tokens=tokens, money=money)


async def let_in(store: ServiceStore, demand: Demand, **how: bool) -> Reservation:
    outcome = await store.reserve(demand, **how)
    assert isinstance(outcome, Reservation), outcome
    return outcome


async def refused(store: ServiceStore, demand: Demand) -> Measure:
    outcome = await store.reserve(demand)
    assert isinstance(outcome, Refusal), outcome
    return outcome.measure


async def test_of_a_hundred_at_once_exactly_ten_pass_and_again_as_many_in_the_next_minute(
    store: SqliteStore, clock: Clock
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


async def test_each_limit_refuses_alone_and_what_is_refused_uses_nothing(store: SqliteStore) -> None:
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


async def test_tokens_and_money_are_corrected_to_what_was_used_and_a_lie_is_charged_in_full(store: SqliteStore) -> None:
    first = await let_in(store, asks(tokens=900, money=900))
    assert await refused(store, asks(tokens=200)) is Measure.TPM
    await store.settle(first, 100, 100)
    await store.settle(first, 1, 1)  # the first word counts
    assert await store.spent([KEY]) == {"key k": 100}
    second = await let_in(store, asks(tokens=900, money=900))
    await store.settle(second, 5000, 5000)
    assert await store.spent([KEY]) == {"key k": 5100}
    assert await refused(store, asks(tokens=1)) in {Measure.TPM, Measure.BUDGET}


async def test_a_budget_begins_anew_with_the_day(store: SqliteStore, clock: Clock) -> None:
    await store.settle(await let_in(store, asks(money=1000)), 0, 1000)
    assert await refused(store, asks(money=1)) is Measure.BUDGET
    clock.wall = NOON + DAY
    await let_in(store, asks(money=1000))


async def test_the_end_of_a_call_settles_it_and_writes_its_row_in_one_step(store: SqliteStore) -> None:
    one, two = await let_in(store, asks(tokens=5, money=50)), await let_in(store, asks(money=9))
    await store.conclude(
        [Closing(reservation=one, used=Used(tokens=5, money=30)), Closing(reservation=two, used=None)], ROW
    )
    (row,) = await store.rows(since=0, until=2**45, limit=10)
    assert row == attrs.evolve(ROW, at=round(NOON * 1000))
    assert await store.spent([KEY]) == {"key k": 30}


async def test_rows_are_summed_by_day_model_and_key(store: SqliteStore, clock: Clock) -> None:
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


async def test_old_rows_are_dropped_and_what_they_spent_is_not_forgotten(store: SqliteStore, clock: Clock) -> None:
    used = Used(tokens=0, money=30)
    for day in range(4):
        clock.wall, clock.now = NOON + day * DAY, 1000.0 + day * DAY
        await store.conclude([Closing(reservation=await let_in(store, asks(money=30)), used=used)], ROW)
    assert await store.prune(before=round((NOON + DAY) * 1000), most=100) == 1
    assert await store.prune(before=0, most=1) == 2
    assert len(await store.rows(since=0, until=2**45, limit=9)) == 1
    assert await store.spent([KEY]) == {"key k": 30}


async def test_keys_are_found_by_their_digest_alone_and_can_be_replaced(store: SqliteStore) -> None:
    key = VirtualKey(id="key_1", digest=digest_of("a"), name="ci", models=("gpt-*",), rpm=5, budget=7)
    await store.put_key(key)
    await store.put_key(VirtualKey(id="key_2", digest=digest_of("b")))
    assert await store.key_of(digest_of("a")) == key
    assert await store.key_of("key_1") is None
    await store.put_key(attrs.evolve(key, digest=digest_of("c")))
    assert await store.key_of(digest_of("a")) is None
    assert [one.id for one in await store.keys()] == ["key_1", "key_2"]


async def test_who_made_a_file_is_known_and_the_first_word_on_it_stands(store: SqliteStore) -> None:
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


async def test_whoever_is_cancelled_while_it_waits_has_reserved_nothing(store: SqliteStore) -> None:
    for _ in range(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.reserve, asks(money=900))
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    await store.check()
    assert await store.spent([KEY]) == {"key k": 0}
    await let_in(store, asks(money=1000))


async def test_who_waits_for_a_place_gets_it_when_it_is_free_first_come_first(store: SqliteStore) -> None:
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


async def test_what_a_dead_process_reserved_is_charged_when_its_lease_is_over(path: str, clock: Clock) -> None:
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as dead:
        await let_in(dead, asks(tokens=100, money=300))
        with closing(sqlite3.connect(path)) as direct, direct:  # as if it were killed now: nobody takes its lease back
            lease = direct.execute("SELECT * FROM leases").fetchone()
    with closing(sqlite3.connect(path)) as direct, direct:
        direct.execute("INSERT INTO leases VALUES (?, ?)", lease)
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as other:
        assert await other.spent([KEY]) == {"key k": 300}
        assert totals(path) == {"rows": 0, "charged": 0, "reserved": 300, "spent": 0, "running": 1}
    clock.now += 15
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as other:
        assert totals(path) == {"rows": 0, "charged": 300, "reserved": 0, "spent": 300, "running": 0}
        await let_in(other, asks(tokens=900, money=700))
        assert await refused(other, asks(tokens=1)) is Measure.TPM


async def test_a_process_that_was_taken_for_dead_and_lives_is_charged_what_it_really_used(
    path: str, clock: Clock
) -> None:
    async with (
        open_sqlite(path, clock=clock, boot=lambda: "one") as stopped,
        open_sqlite(path, clock=clock, boot=lambda: "one") as other,
    ):
        held = [await let_in(stopped, asks(money=300)) for _ in range(2)]
        clock.now += 16
        await other.renew()
        assert totals(path)["charged"] == 600
        await stopped.conclude([Closing(reservation=held[0], used=Used(tokens=0, money=20))], ROW)
        await stopped.refund(held[1])
        await stopped.refund(held[1])
        assert totals(path) == {"rows": 30, "charged": 0, "reserved": 0, "spent": 20, "running": 0}


async def test_another_start_of_the_machine_begins_the_windows_anew_and_charges_what_was_open(
    path: str, clock: Clock
) -> None:
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as store:
        await let_in(store, asks(money=300))
    clock.now = 3.0
    async with open_sqlite(path, clock=clock, boot=lambda: "two") as store:
        assert (await let_in(store, asks())).left[0].left == 9
        assert totals(path)["charged"] == 300


async def test_a_file_that_cannot_be_used_lets_nobody_through_and_is_used_again_when_it_can(
    path: str, clock: Clock
) -> None:
    async with open_sqlite(path, clock=clock, boot=lambda: "one") as store:
        held = await let_in(store, asks(money=300))
        with closing(sqlite3.connect(path)) as direct, direct:
            direct.execute("ALTER TABLE uses RENAME TO gone")
        for attempt in (store.reserve(asks()), store.spent([KEY])):
            with pytest.raises(GatewayError) as caught:
                await attempt
            assert (caught.value.kind, caught.value.status) == (Kind.STORE, 503)
        with pytest.raises(GatewayError):
            await store.conclude([Closing(reservation=held, used=Used(tokens=0, money=30))], ROW)
        await store.check()  # what does not touch that table goes on
        with closing(sqlite3.connect(path)) as direct, direct:
            direct.execute("ALTER TABLE gone RENAME TO uses")
        await store.renew()  # and what could not be told is told now
        assert totals(path) == {"rows": 30, "charged": 0, "reserved": 0, "spent": 30, "running": 0}


async def test_a_row_that_cannot_be_read_fails_whoever_asks_for_it_and_nobody_else(
    store: SqliteStore, path: str
) -> None:
    await store.put_key(VirtualKey(id="key_1", digest=digest_of("a")))
    await let_in(store, asks())
    with closing(sqlite3.connect(path)) as direct, direct:
        direct.execute("UPDATE uses SET spending = 'nonsense', version = version + 1")
        direct.execute("UPDATE keys SET content = 'nonsense'")
    for attempt in (store.reserve(asks()), store.key_of(digest_of("a"))):
        with pytest.raises(GatewayError, match="holds what cannot be read") as caught:
            await attempt
        assert caught.value.status == 503
    await let_in(store, asks(Limits(key="other", title="other", rpm=1)))
    assert await store.key_of(digest_of("b")) is None


def test_a_commit_that_fails_leaves_all_as_it_was_before_it(path: str, clock: Clock) -> None:
    """Only what the book says is looked at: a disk that fails exactly then is not to be had."""
    Path(path).parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        set_up(connection)
        book = Book("me", clock)

        def transaction(work: Callable[[], object], *, commits: bool = True) -> None:
            connection.execute("BEGIN IMMEDIATE")
            book.begin(connection, {KEY.key})
            work()
            book.flush(connection)
            connection.execute("COMMIT" if commits else "ROLLBACK")
            if commits:
                book.keep()
            else:
                book.forget()

        reserved: list[Any] = []
        transaction(lambda: reserved.append(book.reserve(asks(money=1000), "lost")), commits=False)
        transaction(lambda: reserved.append(book.reserve(asks(money=900), "held")))
        assert isinstance(reserved[1], Reservation)
        end = Closing(reservation=reserved[1], used=Used(tokens=0, money=7))
        for commits in (False, False, True, True):
            transaction(lambda: book.close(connection, end), commits=commits)
    assert totals(path) == {"rows": 0, "charged": 0, "reserved": 0, "spent": 7, "running": 0}


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
async def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    if not content:
        with closing(sqlite3.connect(path)) as direct, direct:
            direct.execute("PRAGMA application_id = 7")
            direct.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(GatewayError):
        async with open_sqlite(str(path)):
            pass
    assert path.read_bytes()[:100] == before[:100]


async def test_a_file_of_a_later_version_is_refused(path: str) -> None:
    async with open_sqlite(path):
        pass
    with closing(sqlite3.connect(path)) as direct, direct:
        direct.execute("PRAGMA user_version = 99")
    with pytest.raises(GatewayError, match="later version"):
        async with open_sqlite(path):
            pass


async def test_nobody_else_can_read_the_file(store: SqliteStore, path: str) -> None:
    await store.check()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116 - beside the line below
    assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) == 0o700  # noqa: PTH116


def start(path: str, *arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.gateway_store.load", path, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_on_one_file_let_in_exactly_what_the_limits_allow(path: str) -> None:
    processes = [start(path, 60) for _ in range(2)]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(one["passed"] for one in said) == 10
    assert sum(one["paid"] for one in said) <= 10_000
    sums = totals(path)
    assert sums["spent"] == sums["rows"] == sum(one["paid"] for one in said)
    assert (sums["reserved"], sums["running"]) == (0, 0)


def test_a_process_that_is_killed_again_and_again_leaves_nothing_free_and_nothing_lost(path: str) -> None:
    for _ in range(4):
        process = start(path, 0)
        assert process.stdout is not None
        recorded = [process.stdout.readline() for _ in range(20)]  # calls that it had whole
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].splitlines()
        sums = totals(path)
        assert sums["calls"] >= len(recorded) + len(rest) - 1  # the last line may be cut
        assert sums["spent"] == sums["rows"]

    async def after_the_lease() -> dict[str, int]:
        async with open_sqlite(path, clock=lambda: attrs.evolve(real(), now=real().now + 20)):
            return totals(path)

    sums = trio.run(after_the_lease)
    assert sums["spent"] == sums["rows"] + sums["charged"]
    assert (sums["reserved"], sums["running"]) == (0, 0)
