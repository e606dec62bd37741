"""The store that is one SQLite file: shared by the processes of a machine, and there again after a restart."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from openai_gateway.engine.beside import beside
from openai_gateway.engine.store import By, Owned
from openai_gateway.engine.store.book import Book, Moment
from openai_gateway.engine.store.database import Database
from openai_gateway.engine.store.lines import Lines
from openai_gateway.errors import GatewayError
from openai_gateway.routing.ledger import SUMMED, Row, Sum
from openai_gateway.routing.limits import Closing, Demand, Limits, Outcome, Refusal, Reservation, Used
from openai_gateway.routing.virtual_keys import VirtualKey

_RENEW: Final = 5.0  # seconds
_CLOSES_IN: Final = 10.0  # seconds that the last work may take
_PRUNED: Final = 5_000  # rows in one transaction, so that no call waits long behind it
_UNCLOSED: Final = 10_000  # ends of calls that are kept to be told again

_ROW: Final = tuple(field.name for field in attrs.fields(Row))
_SELECT: Final = f"SELECT {', '.join(_ROW)} FROM ledger WHERE at >= ? AND at < ?"  # noqa: S608 - our own names
_SUM: Final[Mapping[By, str]] = {
    by: f"SELECT {by}, {', '.join(f'sum({name})' for name in SUMMED)} FROM sums"  # noqa: S608 - the same
    " WHERE day >= date(? / 1000, 'unixepoch') AND day <= date((? - 1) / 1000, 'unixepoch') AND (? IS NULL OR key = ?)"
    f" GROUP BY {by} ORDER BY {by}"
    for by in ("day", "model", "key")
}


def _boot() -> str:
    """Tells this run of the machine from all others: its clock begins anew with each."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # no Linux: then the clock is taken for one that goes on, which costs at most a minute's windows
        return ""


def _now() -> Moment:
    """A clock that no setting of the time moves, and that goes on while the machine sleeps, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Moment(now=time.clock_gettime(clock), wall=time.time())


@asynccontextmanager
async def open_sqlite(
    path: str, *, clock: Callable[[], Moment] = _now, boot: Callable[[], str] = _boot
) -> AsyncIterator[SqliteStore]:
    """The store of this file, which is made if it is not there. Raises GatewayError where it cannot be used."""
    process = secrets.token_hex(8)
    book = Book(process, clock)
    writer, reader = Database(path, book), Database(path)
    writer.start()
    reader.start()
    store = SqliteStore(writer, reader, book, process)
    try:
        await store.begin(boot())
        async with beside(store.keep_alive):
            yield store
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSES_IN):
            await store.end()
            await reader.aclose()
            await writer.aclose()


class SqliteStore:
    """Made by `open_sqlite`."""

    def __init__(self, writer: Database, reader: Database, book: Book, process: str) -> None:
        self._writer = writer
        self._reader = reader
        self._book = book
        self._process = process
        self._count = 0
        self._lines = Lines()
        self._unclosed: deque[tuple[Sequence[Closing], Row | None]] = deque(maxlen=_UNCLOSED)

    async def begin(self, boot: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            known = connection.execute("SELECT boot FROM clock").fetchone()
            if known is None or known[0] != boot:
                self._book.start_anew(connection)
                connection.execute("DELETE FROM clock")
                connection.execute("INSERT INTO clock VALUES (?)", (boot,))

        await self._writer.do(work)
        await self._writer.do(self._book.renew)

    async def end(self) -> None:
        """Whoever leaves in peace has settled all; what could not be told is told once more."""
        try:
            await self.renew()
            await self._writer.do(self._book.leave)
        except GatewayError:  # then the lease runs out by itself
            return

    async def keep_alive(self) -> None:
        """Say that this process lives, charge those that do not, and tell again what could not be told."""
        while True:
            await trio.sleep(_RENEW)
            try:
                await self.renew()
            except GatewayError:
                continue  # each call that needs the store says so; the next turn may find it back

    async def renew(self) -> None:
        """One turn of that. Raises GatewayError."""
        await self._writer.do(self._book.renew)
        while self._unclosed:
            end = self._unclosed.popleft()  # so that nobody else tells it meanwhile
            try:
                await self._conclude(*end)
            except BaseException:
                self._unclosed.appendleft(end)
                raise

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Outcome:
        return await (self._lines.wait(demand, self._reserve) if wait else self._reserve(demand))

    async def _reserve(self, demand: Demand) -> Outcome:
        self._count += 1
        id_ = f"{self._process}-{self._count}"

        def undo(outcome: Outcome) -> Callable[[sqlite3.Connection], None]:
            if isinstance(outcome, Refusal):
                return lambda _: None
            closing = Closing(reservation=outcome, used=None)
            return lambda connection: self._book.close(connection, closing)

        return await self._writer.do(lambda _: self._book.reserve(demand, id_), keys=_keys(demand), undo=undo)

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        await self.conclude([Closing(reservation=reservation, used=Used(tokens=tokens, money=money))], None)

    async def refund(self, reservation: Reservation) -> None:
        await self.conclude([Closing(reservation=reservation, used=None)], None)

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        """As the protocol says; an end that could not be told is told again, until the store has heard of it."""
        try:
            await self._conclude(closings, row)
        except GatewayError:
            self._unclosed.append((closings, row))
            raise

    async def _conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        def work(connection: sqlite3.Connection) -> None:
            for closing in closings:
                self._book.close(connection, closing)
            if row is not None:
                self._book.write(row)

        keys = tuple(key for closing in closings for key in _keys(closing.reservation.demand))
        await self._writer.do(work, keys=keys)

    async def check(self) -> None:
        await self._writer.do(lambda connection: _execute(connection, "SELECT 1", ()))

    async def key_of(self, digest: str) -> VirtualKey | None:
        def work(connection: sqlite3.Connection) -> VirtualKey | None:
            found = connection.execute("SELECT content FROM keys WHERE digest = ?", (digest,)).fetchone()
            return None if found is None else VirtualKey.read(found[0])

        return await self._reader.do(work)

    async def keys(self) -> tuple[VirtualKey, ...]:
        def work(connection: sqlite3.Connection) -> tuple[VirtualKey, ...]:
            return tuple(
                VirtualKey.read(content)
                for (content,) in connection.execute("SELECT content FROM keys ORDER BY number")
            )

        return await self._reader.do(work)

    async def put_key(self, key: VirtualKey) -> None:
        content = key.written()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO keys (id, digest, content) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, content = excluded.content",
                (key.id, key.digest, content),
            )

        await self._writer.do(work)

    async def spent(self, limits: Sequence[Limits]) -> Mapping[str, int]:
        keys = tuple(one.key for one in limits)
        return await self._writer.do(lambda _: {one.key: self._book.spent(one) for one in limits}, keys=keys)

    async def rows(self, *, since: int, until: int, limit: int, key: str | None = None) -> tuple[Row, ...]:
        chosen = f"{_SELECT} AND (? IS NULL OR key = ?) ORDER BY number DESC LIMIT ?"

        def work(connection: sqlite3.Connection) -> tuple[Row, ...]:
            return tuple(_row(values) for values in connection.execute(chosen, (since, until, key, key, limit)))

        return await self._reader.do(work)

    async def sums(self, by: By, *, since: int, until: int, key: str | None = None) -> tuple[Sum, ...]:
        names = ("name", *SUMMED)

        def work(connection: sqlite3.Connection) -> tuple[Sum, ...]:
            found = connection.execute(_SUM[by], (since, until, key, key))
            return tuple(Sum(**dict(zip(names, values, strict=True))) for values in found)

        return await self._reader.do(work)

    async def own(self, owned: Owned) -> None:
        values = (owned.kind, owned.id, owned.key, owned.provider, owned.made)
        sql = "INSERT INTO owned VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        await self._writer.do(lambda connection: _execute(connection, sql, values))

    async def owner_of(self, kind: str, id: str) -> Owned | None:  # noqa: A002 - the field's name
        sql = "SELECT kind, id, key, provider, made FROM owned WHERE kind = ? AND id = ?"
        found = await self._reader.do(lambda connection: connection.execute(sql, (kind, id)).fetchone())
        return None if found is None else _owned(found)

    async def owned(self, kind: str, key: str | None) -> tuple[Owned, ...]:
        sql = (
            "SELECT kind, id, key, provider, made FROM owned WHERE kind = ? AND (? IS NULL OR key = ?)"
            " ORDER BY made DESC, id"
        )
        found = await self._reader.do(lambda connection: connection.execute(sql, (kind, key, key)).fetchall())
        return tuple(map(_owned, found))

    async def disown(self, kind: str, id: str) -> None:  # noqa: A002 - the field's name
        sql = "DELETE FROM owned WHERE kind = ? AND id = ?"
        await self._writer.do(lambda connection: _execute(connection, sql, (kind, id)))

    async def prune(self, *, before: int, most: int) -> int:
        sql = (
            "DELETE FROM ledger WHERE number IN (SELECT number FROM ledger WHERE at < ?"
            " OR number <= (SELECT max(number) FROM ledger) - ? ORDER BY number LIMIT ?)"
        )
        values, total = (before, most, _PRUNED), 0
        while gone := await self._writer.do(lambda connection: connection.execute(sql, values).rowcount):
            total += gone
        return total


def _execute(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> None:
    connection.execute(sql, values)


def _keys(demand: Demand) -> tuple[str, ...]:
    return tuple([limits.key for limits in demand.limits])  # a list first: a generator takes twice as long for one


def _row(values: Sequence[Any]) -> Row:
    found = dict(zip(_ROW, values, strict=True))
    return Row(**{**found, "estimated": bool(found["estimated"]), "cached": bool(found["cached"])})


def _owned(values: Sequence[Any]) -> Owned:
    kind, id_, key, provider, made = values
    return Owned(kind=kind, id=id_, key=key, provider=provider, made=made)
