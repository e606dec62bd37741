"""What outlives the process where `--state` names a file: tasks and conversations, in SQLite."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from openai_gateway.errors import ConfigError

Json = Any
_LOG: Final = logging.getLogger(__name__)

_APPLICATION: Final = 0x6F676D31  # "ogm1"
_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE rows (
    kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
"""


@attrs.frozen(kw_only=True)
class Row:
    """One thing that somebody may come back to. `until` is Unix time in seconds."""

    kind: str
    id: str
    owner: str
    until: float
    value: Mapping[str, Json] = attrs.field(repr=False)


class State:
    """The file of one process: nobody else may have it at the same time. Each method is done when it is on disk.

    Where nothing can be written, as on a full disk, that is said, and what was to be kept ends with this process: the
    answer it belongs to was paid for, and the one who waits for it has the better claim.
    """

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._now = now
        self._one = trio.CapacityLimiter(1)  # SQLite's connection is for one thread at a time

    async def save(self, row: Row) -> None:
        """In the place of the one with its kind and id. Shielded: what was told is kept, whoever leaves."""
        values = (row.kind, row.id, row.owner, row.until, json.dumps(row.value))
        with trio.CancelScope(shield=True):
            await self._write(lambda: self._replace(values))

    async def load(self, kind: str) -> list[Row]:
        """Those that have not expired, the ones that expire first before the others. What has is removed."""
        await self._write(self._forget)
        found = await self._do(
            lambda: self._connection.execute(
                "SELECT id, owner, until, value FROM rows WHERE kind = ? AND until > ? ORDER BY until",
                (kind, self._now()),
            ).fetchall()
        )
        return [
            Row(kind=kind, id=id_, owner=owner, until=until, value=json.loads(value))
            for id_, owner, until, value in found
        ]

    async def _do(self, act: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(act, limiter=self._one)

    async def _write(self, act: Callable[[], None]) -> None:
        try:
            await self._do(act)
        except sqlite3.Error as error:
            _LOG.error("The file of --state cannot be written: %s. What is new ends with this process.", error)

    def _replace(self, values: tuple[Any, ...]) -> None:
        self._forget()  # or the file of a process that runs for months would grow for as long
        self._connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", values)

    def _forget(self) -> None:
        self._connection.execute("DELETE FROM rows WHERE until <= ?", (self._now(),))


@asynccontextmanager
async def open_state(path: str, now: Callable[[], float] = time.time) -> AsyncIterator[State]:
    """Raises ConfigError for a file that cannot be used, or that another process has."""
    lock, connection = await trio.to_thread.run_sync(_opened, Path(path))
    try:
        yield State(connection, now)
    finally:
        connection.close()
        lock.close()


def _opened(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """The lock, which the system lets go when the process dies, and the file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in (path, _lock_of(path)):
            one.touch(mode=0o600)
        lock = sqlite3.connect(_lock_of(path), timeout=0, isolation_level=None, check_same_thread=False)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            return lock, _set_up(path)
        except BaseException:
            lock.close()
            raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise ConfigError(f"--state {path} is in use by another process; give each its own.") from None
        raise ConfigError(f"--state {path} cannot be used: {error}.") from None
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"--state {path} cannot be used: {error}.") from None


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _set_up(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if tables and (application, version) != (_APPLICATION, _VERSION):
            raise sqlite3.DatabaseError("it belongs to another program, or to another version of this one")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            connection.execute("BEGIN")
            connection.execute(_TABLES)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection
