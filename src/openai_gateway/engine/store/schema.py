"""The tables of the SQLite store, and how a file of an older version becomes one of this."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

_APPLICATION: Final = 0x6F677731  # "ogw1", so that `file` and we tell it from any other SQLite file

_PAUSE: Final = 0.002  # seconds; another process needs some ms to make the file

_TABLES: Final = """
CREATE TABLE clock (boot TEXT NOT NULL);
CREATE TABLE leases (process TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE uses (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, running INTEGER NOT NULL, requests BLOB NOT NULL,
    tokens BLOB NOT NULL, spending TEXT NOT NULL
);
CREATE TABLE reservations (id TEXT PRIMARY KEY, process TEXT NOT NULL, held TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX reservations_of ON reservations (process);
CREATE TABLE charged (
    id TEXT, key TEXT, period TEXT NOT NULL, money INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (id, key)
) WITHOUT ROWID;
CREATE TABLE ledger (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, at INTEGER NOT NULL, key TEXT NOT NULL, endpoint TEXT NOT NULL,
    model TEXT NOT NULL, target TEXT NOT NULL, status INTEGER NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cached_input INTEGER NOT NULL, reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL, cached INTEGER NOT NULL, money INTEGER NOT NULL, elapsed INTEGER NOT NULL,
    first_byte INTEGER
);
CREATE INDEX ledger_at ON ledger (at);
CREATE TABLE sums (
    day TEXT, model TEXT, key TEXT, calls INTEGER NOT NULL, failed INTEGER NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, cached_input INTEGER NOT NULL, reasoning INTEGER NOT NULL, money INTEGER NOT NULL,
    PRIMARY KEY (day, model, key)
) WITHOUT ROWID;
CREATE TABLE keys (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL UNIQUE, content TEXT NOT NULL
);
CREATE TABLE owned (
    kind TEXT, id TEXT, key TEXT NOT NULL, provider TEXT NOT NULL, made INTEGER NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
"""

_STEPS: Final = (_TABLES,)
"""What makes each version of the one before it; the file says its own in `user_version`."""


def set_up(connection: sqlite3.Connection, patience: float) -> None:
    """Make an opened file ready. Raises sqlite3.Error, also for a file of another program or of a later version.

    Others may be opening the same new file, and SQLite does not wait for them where the journal changes its mode: it is
    asked again for as long as `patience` says, in seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            _set_up(connection)
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)
        else:
            break


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")  # one look at both, while another process may be making them
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if tables and application != _APPLICATION:
        raise sqlite3.DatabaseError("the file belongs to another program")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_STEPS):
        raise sqlite3.DatabaseError("the file was written by a later version of openai-gateway")
    for step in _STEPS[version:]:
        for statement in filter(str.strip, step.split(";")):
            connection.execute(statement)
    if version < len(_STEPS):
        connection.execute(f"PRAGMA user_version = {len(_STEPS)}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute("COMMIT")
