"""The arithmetic of routing/limits.py over the tables of a SQLite file, so that processes share what is in use.

All functions run inside a transaction; moments are whole milliseconds of a clock that never goes back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import attrs

from openai_gateway.routing.limits import (
    Demand,
    Left,
    Limits,
    Measure,
    Outcome,
    Period,
    Refusal,
    Reservation,
    hardest,
)
from openai_gateway.routing.window import EXACT, RESOLUTION, WINDOW

_WINDOW: Final = round(WINDOW * 1000)
_RESOLUTION: Final = round(RESOLUTION * 1000)
_RPM, _TPM = 0, 1
_LAST: Final = {
    "began": "SELECT began FROM charges WHERE key = ? AND measure = ? ORDER BY began DESC LIMIT 1",
    "until": "SELECT until FROM charges WHERE key = ? AND measure = ? ORDER BY began DESC LIMIT 1",
}
_MEASURES: Final = {_RPM: Measure.RPM, _TPM: Measure.TPM}


@attrs.frozen(kw_only=True)
class Moment:
    """`now` is the store's clock, `wall` Unix time, both in milliseconds."""

    now: int
    wall: int

    def period(self, of: Period) -> str:
        """The day or month of UTC, as its budget is kept under."""
        return datetime.fromtimestamp(self.wall / 1000, UTC).strftime("%Y-%m-%d" if of == "day" else "%Y-%m")

    def until_next(self, of: Period) -> int:
        """Whole seconds, at least 1, until the period is over."""
        now = datetime.fromtimestamp(self.wall / 1000, UTC)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        end = day + timedelta(days=1) if of == "day" else (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        return max(1, -(-(end - now) // timedelta(seconds=1)))


@attrs.frozen(kw_only=True)
class _Held:
    """What a reservation holds of one key: when its charges began, None for what it has none of."""

    key: str
    request: int | None
    tokens: int | None
    asked: int
    place: bool
    money: int | None
    period: str


def reserve(
    connection: sqlite3.Connection,
    demand: Demand,
    *,
    id: str,  # noqa: A002 - as the field
    process: str,
    moment: Moment,
) -> Outcome:
    """Let the call in by all its limits, or say which it meets."""
    refusals = [refusal for limits in demand.limits for refusal in _refusals(connection, limits, demand, moment)]
    if refusals:
        return hardest(refusals)
    held = [_take(connection, limits, demand, moment) for limits in demand.limits]
    content = json.dumps([attrs.astuple(one) for one in held])
    connection.execute("INSERT INTO reservations VALUES (?, ?, ?)", (id, process, content))
    left = tuple(one for limits in demand.limits for one in _left(connection, limits, moment))
    return Reservation(id=id, demand=demand, left=left)


def settle(connection: sqlite3.Connection, id: str, tokens: int, money: int, moment: Moment) -> None:  # noqa: A002
    """The call is over. One whose process was taken for dead was charged in full; what it spent replaces that."""
    found = connection.execute("DELETE FROM reservations WHERE id = ? RETURNING held", (id,)).fetchone()
    if found is None:
        _correct(connection, id, money)
        return
    for held in _read(found[0]):
        _free_place(connection, held)
        if held.tokens is not None:
            _change(connection, held.key, _TPM, held.tokens, max(0, tokens) - held.asked, now=moment.now)
        if held.money is not None:
            _spend(connection, held, reserved=-held.money, spent=money)


def refund(connection: sqlite3.Connection, id: str, moment: Moment) -> None:  # noqa: A002 - the field's name
    """It is as if the call had not been."""
    found = connection.execute("DELETE FROM reservations WHERE id = ? RETURNING held", (id,)).fetchone()
    for held in () if found is None else _read(found[0]):
        _free_place(connection, held)
        if held.request is not None:
            _change(connection, held.key, _RPM, held.request, -1, now=moment.now)
        if held.tokens is not None:
            _change(connection, held.key, _TPM, held.tokens, -held.asked, now=moment.now)
        if held.money is not None:
            _spend(connection, held, reserved=-held.money, spent=0)


def charge_the_dead(connection: sqlite3.Connection, moment: Moment) -> int:
    """Close what processes reserved whose lease is over: nobody can tell what they spent, so it is all of it."""
    dead = [name for (name,) in connection.execute("SELECT process FROM leases WHERE until <= ?", (moment.now,))]
    orphans = "SELECT id, held FROM reservations WHERE process = ? OR process NOT IN (SELECT process FROM leases)"
    count = 0
    for process in [*dead, ""]:
        connection.execute("DELETE FROM leases WHERE process = ?", (process,))
        for id_, content in connection.execute(orphans, (process,)).fetchall():
            connection.execute("DELETE FROM reservations WHERE id = ?", (id_,))
            count += 1
            for held in _read(content):
                _free_place(connection, held)
                if held.money is not None:
                    _spend(connection, held, reserved=-held.money, spent=held.money)
                    values = (id_, held.key, held.period, held.money, moment.wall)
                    connection.execute("INSERT INTO charged VALUES (?, ?, ?, ?, ?)", values)
    return count


def spent(connection: sqlite3.Connection, limits: Limits, moment: Moment) -> int:
    """What counts against the budget now, reserved money too."""
    row = connection.execute(
        "SELECT reserved + spent FROM budgets WHERE key = ? AND period = ?", (limits.key, moment.period(limits.period))
    ).fetchone()
    return 0 if row is None else int(row[0])


def _refusals(connection: sqlite3.Connection, limits: Limits, demand: Demand, moment: Moment) -> Iterator[Refusal]:
    windows = ((_RPM, None if demand.is_more else limits.rpm, 1), (_TPM, limits.tpm, demand.tokens))
    for measure, most, asked in windows:
        if most is not None and (excess := _used(connection, limits.key, measure, moment.now) + asked - most) > 0:
            seconds = None if asked > most else _frees_in(connection, limits.key, measure, excess, moment.now)
            yield Refusal(limits=limits, measure=_MEASURES[measure], most=most, asked=asked, seconds=seconds)
    most = limits.max_parallel
    if most is not None and not demand.is_more and _running(connection, limits.key) >= most:
        yield Refusal(limits=limits, measure=Measure.MAX_PARALLEL, most=most, asked=1, seconds=1 if most else None)
    most = limits.budget
    if most is not None and spent(connection, limits, moment) + demand.money > most:
        seconds = None if demand.money > most else moment.until_next(limits.period)
        yield Refusal(limits=limits, measure=Measure.BUDGET, most=most, asked=demand.money, seconds=seconds)


def _take(connection: sqlite3.Connection, limits: Limits, demand: Demand, moment: Moment) -> _Held:
    has_place = limits.max_parallel is not None and not demand.is_more
    if has_place:
        connection.execute(
            "INSERT INTO places VALUES (?, 1) ON CONFLICT DO UPDATE SET running = running + 1", (limits.key,)
        )
    counts = limits.rpm is not None and not demand.is_more
    held = _Held(
        key=limits.key,
        request=_charge(connection, limits.key, _RPM, 1, moment.now) if counts else None,
        tokens=None if limits.tpm is None else _charge(connection, limits.key, _TPM, demand.tokens, moment.now),
        asked=demand.tokens,
        place=has_place,
        money=None if limits.budget is None else demand.money,
        period=moment.period(limits.period),
    )
    if held.money is not None:
        _spend(connection, held, reserved=held.money, spent=0)
    return held


def _left(connection: sqlite3.Connection, limits: Limits, moment: Moment) -> Iterator[Left]:
    for measure, most in ((_RPM, limits.rpm), (_TPM, limits.tpm)):
        if most is not None:
            used = _used(connection, limits.key, measure, moment.now)
            seconds = _seconds(_last(connection, limits.key, measure, "until") or moment.now, moment.now)
            yield Left(key=limits.key, measure=_MEASURES[measure], most=most, left=max(0, most - used), seconds=seconds)


def _read(content: str) -> list[_Held]:
    names = [field.name for field in attrs.fields(_Held)]
    return [_Held(**dict(zip(names, values, strict=True))) for values in json.loads(content)]


def _free_place(connection: sqlite3.Connection, held: _Held) -> None:
    if held.place:
        connection.execute("UPDATE places SET running = running - 1 WHERE key = ?", (held.key,))


def _running(connection: sqlite3.Connection, key: str) -> int:
    row = connection.execute("SELECT running FROM places WHERE key = ?", (key,)).fetchone()
    return 0 if row is None else int(row[0])


def _spend(connection: sqlite3.Connection, held: _Held, *, reserved: int, spent: int) -> None:
    connection.execute(
        "INSERT INTO budgets VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET reserved = reserved + excluded.reserved, spent = spent + excluded.spent",
        (held.key, held.period, reserved, spent),
    )


def _correct(connection: sqlite3.Connection, id_: str, money: int) -> None:
    for key, period, charged in connection.execute(
        "DELETE FROM charged WHERE id = ? RETURNING key, period, money", (id_,)
    ).fetchall():
        connection.execute(
            "UPDATE budgets SET spent = spent + ? WHERE key = ? AND period = ?", (money - charged, key, period)
        )


def _window(connection: sqlite3.Connection, key: str, measure: int) -> tuple[int, int]:
    row: Any = connection.execute(
        "SELECT used, entries FROM windows WHERE key = ? AND measure = ?", (key, measure)
    ).fetchone()
    return (0, 0) if row is None else row


def _add(connection: sqlite3.Connection, key: str, measure: int, used: int, entries: int) -> None:
    connection.execute(
        "INSERT INTO windows VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET used = used + excluded.used, entries = entries + excluded.entries",
        (key, measure, used, entries),
    )


def _used(connection: sqlite3.Connection, key: str, measure: int, now: int) -> int:
    """The sum of what counts at `now`; what no longer does is forgotten."""
    used, entries = _window(connection, key, measure)
    oldest = connection.execute(
        "SELECT until FROM charges WHERE key = ? AND measure = ? ORDER BY began LIMIT 1", (key, measure)
    ).fetchone()
    if entries and oldest is not None and oldest[0] <= now:
        gone = connection.execute(
            "DELETE FROM charges WHERE key = ? AND measure = ? AND until <= ? RETURNING amount", (key, measure, now)
        ).fetchall()
        freed = sum(amount for (amount,) in gone)
        _add(connection, key, measure, -freed, -len(gone))
        used -= freed
    return used


def _charge(connection: sqlite3.Connection, key: str, measure: int, amount: int, now: int) -> int:
    """Count `amount` from `now` on, as `Window.charge` does; what comes back stands for it in `_change`."""
    if not amount:
        return now
    _, entries = _window(connection, key, measure)
    last = _last(connection, key, measure, "began")
    shares = last is not None and now - last <= (_RESOLUTION if entries >= EXACT else 0)
    began = last if last is not None and shares else now
    connection.execute(
        "INSERT INTO charges VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, until = excluded.until",
        (key, measure, began, now + _WINDOW, amount),
    )
    _add(connection, key, measure, amount, 0 if shares else 1)
    return began


def _change(connection: sqlite3.Connection, key: str, measure: int, began: int, difference: int, *, now: int) -> None:
    """Correct a charge: what is taken off no longer counts, what is added counts from `now`, when it was found."""
    _used(connection, key, measure, now)
    if difference >= 0:
        _charge(connection, key, measure, difference, now)
        return
    row = connection.execute(
        "UPDATE charges SET amount = amount + ? WHERE key = ? AND measure = ? AND began = ? RETURNING amount",
        (difference, key, measure, began),
    ).fetchone()
    if row is None:  # its minute is over
        return
    if not row[0]:
        connection.execute("DELETE FROM charges WHERE key = ? AND measure = ? AND began = ?", (key, measure, began))
    _add(connection, key, measure, difference, 0 if row[0] else -1)


def _frees_in(connection: sqlite3.Connection, key: str, measure: int, amount: int, now: int) -> int:
    """Whole seconds, at least 1, until so much of what counts now counts no more."""
    freed, until = 0, now
    for began_until, part in connection.execute(
        "SELECT until, amount FROM charges WHERE key = ? AND measure = ? ORDER BY began", (key, measure)
    ):
        freed, until = freed + part, began_until
        if freed >= amount:
            break
    return max(1, _seconds(until, now))


def _seconds(until: int, now: int) -> int:
    return -(-(until - now) // 1000)


def _last(connection: sqlite3.Connection, key: str, measure: int, column: Literal["began", "until"]) -> int | None:
    """Of the charge that was made last."""
    row = connection.execute(_LAST[column], (key, measure)).fetchone()
    return None if row is None else int(row[0])
