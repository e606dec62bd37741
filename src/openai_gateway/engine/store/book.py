"""Limits and the ledger of a SQLite file, kept by one process beside others: what a transaction reads, and writes."""

from __future__ import annotations

import functools
import json
import operator
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from openai_gateway.routing.ledger import SUMMED, Row, summed
from openai_gateway.routing.limiter import Held, Spending, Use, period_of
from openai_gateway.routing.limits import Closing, Demand, Limits, Outcome, Reservation, Used, hardest
from openai_gateway.routing.window import EXACT, Window

LEASE: Final = 15.0  # seconds after which a process that says nothing is taken for dead
_RESOLUTION: Final = 0.5
"""Seconds that charges of a large limit may share, so that a window is 120 numbers to write and not thousands."""
_REMEMBERED: Final = 10_000  # keys

_ROW: Final = ("at", *(field.name for field in attrs.fields(Row) if field.name != "at"))
# Ten times as fast as attrs.astuple, which looks into each value for further classes.
_VALUES: Final = operator.attrgetter(*_ROW[1:])
_HELD: Final = operator.attrgetter(*(field.name for field in attrs.fields(Held)))


@functools.cache
def _places(columns: int, count: int) -> str:
    """Places for so many rows of values."""
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * count)}"


def _more(names: Iterable[str]) -> str:
    return ", ".join(f"{name} = {name} + excluded.{name}" for name in names)


_FIELDS: Final = ("key", "version", "running", "requests", "tokens", "spending")
_VERSIONS: Final = "SELECT key, version FROM uses WHERE key IN (SELECT value FROM json_each(?))"
_LOAD: Final = f"SELECT {', '.join(_FIELDS)} FROM uses WHERE key IN (SELECT value FROM json_each(?))"  # noqa: S608 - our names
_STORE: Final = f"INSERT OR REPLACE INTO uses ({', '.join(_FIELDS)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - the same
_AT_ONCE: Final = 16
"""Rows of one statement. Each statement lets go of the interpreter, so a row alone is dear; and a statement is compiled
once for each number of rows."""
_RESERVED: Final = "INSERT INTO reservations (id, process, held)"
_CLOSED: Final = "DELETE FROM reservations WHERE id IN (SELECT value FROM json_each(?))"
_CHARGED: Final = "INSERT INTO charged (id, key, period, money, at)"
_LEDGER: Final = f"INSERT INTO ledger ({', '.join(_ROW)})"
_SUMS: Final = f"INSERT INTO sums (day, model, key, {', '.join(SUMMED)})"
_OR_MORE: Final = f"ON CONFLICT DO UPDATE SET {_more(SUMMED)}"
_ORPHANS: Final = (
    "SELECT id, held FROM reservations WHERE process NOT IN (SELECT process FROM leases WHERE until > ?) LIMIT 10000"
)


@attrs.frozen(kw_only=True)
class Moment:
    """`now` is the store's clock, which never goes back, `wall` Unix time; both in seconds."""

    now: float
    wall: float


class Book:
    """Used by one thread: `begin`, any of the verbs, `flush`; then `keep`, or `forget` where the transaction failed."""

    def __init__(self, process: str, clock: Callable[[], Moment]) -> None:
        self._process = process
        self._clock = clock
        self._uses: dict[str, Use] = {}
        self._versions: dict[str, int] = {}
        self._written: int | None = None
        """SQLite's own word (data_version), to one connection, on whether another has written since."""
        self._current: set[str] = set()
        """Keys whose use was read since then."""
        self._open: dict[str, tuple[Held, ...]] = {}
        self._disowned: set[str] = set()
        """Reservations that were charged because this process was taken for dead."""
        self._clear()

    def _clear(self) -> None:
        self._moment = Moment(now=0.0, wall=0.0)
        self._dirty: set[str] = set()
        self._let_in: list[str] = []
        self._closed: list[tuple[str, tuple[Held, ...]]] = []
        self._rows: list[Row] = []
        self._charged: list[tuple[str, Held]] = []

    def begin(self, connection: sqlite3.Connection, keys: Iterable[str]) -> None:
        """What is in use of these keys, as it is now."""
        self._moment = self._clock()
        (written,) = connection.execute("PRAGMA data_version").fetchone()
        if written != self._written:  # by somebody else: then it is not known what has become of anything
            self._written = written
            self._current.clear()
            lease = connection.execute("SELECT until FROM leases WHERE process = ?", (self._process,)).fetchone()
            if lease is None:
                self._disowned.update(self._open)
                self._open.clear()
                self._renew(connection)
        self._load(connection, set(keys))

    def renew(self, connection: sqlite3.Connection) -> None:
        """This process lives; what those reserved that do not is charged, for nobody can tell what they spent."""
        self._renew(connection)
        orphans = connection.execute(_ORPHANS, (self._moment.now,)).fetchall()
        held = {id_: _read(content) for id_, content in orphans}
        self._load(connection, {one.key for all_held in held.values() for one in all_held})
        for id_, all_held in held.items():
            self._closed.append((id_, ()))
            for one in all_held:
                used = Used(tokens=one.asked, money=one.money or 0)
                self._use(one.key).give_back(one, used, self._moment.now)
                if one.money is not None:
                    self._charged.append((id_, one))
        connection.execute("DELETE FROM leases WHERE until <= ?", (self._moment.now,))

    def leave(self, connection: sqlite3.Connection) -> None:
        """This process ends; what it has not closed is charged by whoever comes next."""
        connection.execute("DELETE FROM leases WHERE process = ?", (self._process,))

    def start_anew(self, connection: sqlite3.Connection) -> None:
        """The machine was started anew, and its clock with it: no window of before means anything."""
        connection.execute("DELETE FROM leases")
        self.renew(connection)
        self.flush(connection)
        connection.execute("UPDATE uses SET running = 0, requests = x'', tokens = x'', version = version + 1")
        self.forget()

    def reserve(self, demand: Demand, id_: str) -> Outcome:
        """Let the call in by all its limits, or say which it meets."""
        now, wall = self._moment.now, self._moment.wall
        refusals = [
            refusal
            for limits in demand.limits
            for refusal in self._fit(limits).refusals(limits, demand, now, wall, first=True)
        ]
        if refusals:
            return hardest(refusals)
        self._open[id_] = tuple(self._use(limits.key).take(limits, demand, now, wall) for limits in demand.limits)
        self._let_in.append(id_)
        left = tuple(one for limits in demand.limits for one in self._use(limits.key).left(limits, now))
        return Reservation(id=id_, demand=demand, left=left)

    def close(self, connection: sqlite3.Connection, closing: Closing) -> None:
        """The first word on a reservation counts, no other."""
        id_ = closing.reservation.id
        all_held = self._open.pop(id_, None)
        if all_held is not None:
            self._closed.append((id_, all_held))
            for held in all_held:
                self._use(held.key).give_back(held, closing.used, self._moment.now)
        elif id_ in self._disowned:
            self._correct(connection, id_, 0 if closing.used is None else closing.used.money)

    def write(self, row: Row) -> None:
        """Its moment is that of the transaction."""
        self._rows.append(row)

    def spent(self, limits: Limits) -> int:
        """What counts against the budget now. Nothing is changed by asking."""
        return self._uses[limits.key].against(limits, self._moment.wall)

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write all that has changed."""
        at = round(self._moment.wall * 1000)
        if self._dirty:
            connection.executemany(_STORE, [self._stored(key) for key in self._dirty])
        if self._let_in:
            reserved = [(id_, self._process, _written(self._open[id_])) for id_ in self._let_in if id_ in self._open]
            _insert(connection, _RESERVED, reserved)
        if self._closed:
            connection.execute(_CLOSED, (json.dumps([id_ for id_, _ in self._closed]),))
        if self._charged:
            _insert(connection, _CHARGED, [(i, h.key, h.period, h.money, at) for i, h in self._charged])
        if self._rows:
            _insert(connection, _LEDGER, [(at, *_VALUES(row)) for row in self._rows])
            _insert(connection, _SUMS, _summed(self._rows, period_of(at / 1000, "day")), _OR_MORE)

    def keep(self) -> None:
        """The transaction is for good."""
        self._clear()

    def forget(self) -> None:
        """The transaction failed: all is as it was before it, and is read anew."""
        for id_ in self._let_in:
            self._open.pop(id_, None)
        self._open.update((id_, held) for id_, held in self._closed if held)
        self._uses.clear()
        self._versions.clear()
        self._written = None  # the next connection counts from elsewhere
        self._clear()

    def _renew(self, connection: sqlite3.Connection) -> None:
        until = self._moment.now + LEASE
        connection.execute("INSERT OR REPLACE INTO leases (process, until) VALUES (?, ?)", (self._process, until))

    def _load(self, connection: sqlite3.Connection, keys: set[str]) -> None:
        if len(self._uses) > _REMEMBERED:
            self._uses.clear()
            self._versions.clear()
            self._current.clear()
        keys = keys - self._current
        if not keys:
            return
        found = dict(connection.execute(_VERSIONS, (json.dumps(sorted(keys)),)).fetchall())
        stale = [key for key, version in found.items() if self._versions.get(key) != version]
        if stale:
            for key, version, running, requests, tokens, spending in connection.execute(_LOAD, (json.dumps(stale),)):
                self._versions[key] = version
                self._uses[key] = Use(
                    requests=_window(requests), tokens=_window(tokens), running=running, spending=_spending(spending)
                )
        for key in keys - found.keys():
            self._versions[key] = 0
            self._uses[key] = Use()
        self._current |= keys

    def _use(self, key: str) -> Use:
        self._dirty.add(key)
        return self._uses[key]

    def _fit(self, limits: Limits) -> Use:
        """A small limit is kept to the moment, a large one by the half second."""
        use = self._uses[limits.key]
        for window, most in ((use.requests, limits.rpm), (use.tokens, limits.tpm)):
            window.exact = EXACT if most is None or most <= EXACT else 0
            window.resolution = _RESOLUTION
        return use

    def _stored(self, key: str) -> tuple[Any, ...]:
        use = self._uses[key]
        self._versions[key] += 1
        spending = json.dumps({period: [one.reserved, one.spent] for period, one in use.spending.items()})
        return key, self._versions[key], use.running, use.requests.pack(), use.tokens.pack(), spending

    def _correct(self, connection: sqlite3.Connection, id_: str, money: int) -> None:
        """What the call really spent takes the place of what was charged for it."""
        self._disowned.discard(id_)
        found = connection.execute("DELETE FROM charged WHERE id = ? RETURNING key, period, money", (id_,)).fetchall()
        for key, period, charged in found:
            self._use(key).spending.setdefault(period, Spending()).spent += money - charged


def _insert(connection: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]], then: str = "") -> None:
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        values = [value for row in some for value in row]
        connection.execute(f"{into} {_places(len(some[0]), len(some))} {then}", values)


def _window(data: bytes) -> Window:
    return Window.unpack(data, resolution=_RESOLUTION)


def _spending(text: str) -> dict[str, Spending]:
    return {period: Spending(reserved=reserved, spent=spent) for period, (reserved, spent) in json.loads(text).items()}


def _written(held: tuple[Held, ...]) -> str:
    return json.dumps([_HELD(one) for one in held])


def _read(content: str) -> tuple[Held, ...]:
    names = [field.name for field in attrs.fields(Held)]
    return tuple(Held(**dict(zip(names, values, strict=True))) for values in json.loads(content))


def _summed(rows: Sequence[Row], day: str) -> list[tuple[Any, ...]]:
    """The rows of a day by model and key."""
    sums: dict[tuple[str, str], tuple[int, ...]] = {}
    for row in rows:
        names, added = (row.model, row.key), summed(row)
        sums[names] = tuple(map(operator.add, sums[names], added)) if names in sums else added
    return [(day, *names, *amounts) for names, amounts in sums.items()]
