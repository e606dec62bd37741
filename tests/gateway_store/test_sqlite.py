"""The SQLite store: exact among processes, and nothing lost whoever dies."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from openai_gateway.engine.store.book import Book, Moment
from openai_gateway.engine.store.schema import set_up
from openai_gateway.engine.store.sqlite import SqliteStore, open_sqlite
from openai_gateway.engine.store.sqlite import _now as real
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.limits import Closing, Limits, Measure, Reservation, Used
from openai_gateway.routing.virtual_keys import VirtualKey, digest_of
from tests.gateway_store.asking import KEY, ROW, asks, let_in, refused
from tests.gateway_store.conftest import Clock
from tests.gateway_store.load import totals


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


async def test_what_the_calls_of_one_turn_ask_is_one_transaction(path: str, clock: Clock) -> None:
    begun = threading.Event()

    def seen() -> Moment:  # a transaction looks at the clock
        begun.set()
        return clock()

    async with open_sqlite(path, clock=seen, boot=lambda: "one") as store:
        begun.clear()
        came_early = []

        async def ask() -> None:
            with_this = store.reserve(asks(tokens=1))
            came_early.append(begun.wait(0.02))  # holds this turn up, not the store's thread, if it has anything to do
            assert isinstance(await with_this, Reservation)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert came_early == [False] * 3


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
    sqlite: SqliteStore, path: str
) -> None:
    await sqlite.put_key(VirtualKey(id="key_1", digest=digest_of("a")))
    await let_in(sqlite, asks())
    with closing(sqlite3.connect(path)) as direct, direct:
        direct.execute("UPDATE uses SET spending = 'nonsense', version = version + 1")
        direct.execute("UPDATE keys SET content = 'nonsense'")
    for attempt in (sqlite.reserve(asks()), sqlite.key_of(digest_of("a"))):
        with pytest.raises(GatewayError, match="holds what cannot be read") as caught:
            await attempt
        assert caught.value.status == 503
    await let_in(sqlite, asks(Limits(key="other", title="other", rpm=1)))
    assert await sqlite.key_of(digest_of("b")) is None


def test_a_commit_that_fails_leaves_all_as_it_was_before_it(path: str, clock: Clock) -> None:
    """Only what the book says is looked at: a disk that fails exactly then is not to be had."""
    Path(path).parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        set_up(connection, 1)
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


def test_whoever_opens_a_new_file_at_once_makes_it_once(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def open_it(path: Path) -> int:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            together.wait()
            set_up(connection, 60)
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
            return int(tables)

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            found = list(threads.map(open_it, [tmp_path / f"{number}.db"] * 8))
            assert found == [9] * 8


def test_whoever_holds_the_file_too_long_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                set_up(connection, 0.01)
            holder.execute("ROLLBACK")
            set_up(connection, 1)


async def test_nobody_else_can_read_the_file(sqlite: SqliteStore, path: str) -> None:
    await sqlite.check()
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
