"""The audit log: who changed what, and who was refused, as lines that vouch for each other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import attrs
import trio

from openai_gateway.engine.beside import beside
from openai_gateway.errors import GatewayError, Kind

_LOG: Final = logging.getLogger(__name__)
_FIRST: Final = "0" * 64
_TAIL: Final = 64 * 1024  # bytes in which the last line is looked for; none is longer
_MOST_REFUSALS: Final = 100
"""Lines a minute that say who was refused; what is more is one line that says how many: nobody fills the disk so."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What a look at a log came to: how many lines are sound, the hash of the last of them, and what is wrong."""

    lines: int
    last: str
    wrong: str = ""


def chained(entry: dict[str, Any], before: str) -> str:
    """The line of an entry after the one with the hash `before`; its own hash is over all the rest of it."""
    content = {**entry, "prev": before}
    return json.dumps({**content, "hash": _hash(content)}, sort_keys=True)


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def verify(file: TextIO) -> Verdict:
    """Read a log from its beginning. Lines that were cut off at its end leave no trace: compare `last` with a note."""
    before, number = _FIRST, 0
    for number, line in enumerate(file, 1):
        try:
            entry = json.loads(line)
            claimed = entry.pop("hash")
            sound = line.endswith("\n") and line == json.dumps({**entry, "hash": claimed}, sort_keys=True) + "\n"
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return Verdict(lines=number - 1, last=before, wrong=f"line {number} is no entry")
        if not sound or claimed != _hash(entry):
            return Verdict(lines=number - 1, last=before, wrong=f"line {number} was changed")
        if entry.get("prev") != before:
            return Verdict(lines=number - 1, last=before, wrong=f"before line {number} something is missing")
        before = claimed
    return Verdict(lines=number, last=before)


class Audit:
    """Made by `open_audit`. Several processes may write one file: each line is put behind the last under a lock."""

    def __init__(self, path: str, wall: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._wall = wall
        self._minute = 0
        self._refusals = 0
        self._pending: list[dict[str, Any]] = []
        self._came = trio.Event()
        self._writing = trio.Lock()

    async def note(self, event: str, *, actor: str, **facts: str | int | None) -> None:
        """Write an entry, for good. Raises GatewayError where that cannot be done."""
        entry = self._entry(event, actor, facts)
        await trio.to_thread.run_sync(self._append, [entry])

    def refused(self, *, actor: str, **facts: str | int | None) -> None:
        """Note a refusal, soon; of too many in a minute only how many."""
        minute = int(self._wall() // 60)
        if minute != self._minute:
            self._tell_how_many()
            self._minute, self._refusals = minute, 0
        self._refusals += 1
        if self._refusals <= _MOST_REFUSALS:
            self._pending.append(self._entry("refused", actor, facts))
            self._came.set()

    async def refused_last(self, most: int) -> Sequence[Mapping[str, Any]]:
        """The newest refusals, newest first; none where the log cannot be read."""
        return await trio.to_thread.run_sync(self._refused_last, most)

    def _refused_last(self, most: int) -> Sequence[Mapping[str, Any]]:
        try:
            with self._path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
                lines = log.read().split(b"\n")
        except OSError:
            return ()
        found: list[Mapping[str, Any]] = []
        for line in reversed(lines):
            with contextlib.suppress(ValueError):  # the first may be half of one
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == "refused" and "status" in entry:
                    found.append(entry)
        return found[:most]

    async def write_refusals(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            await self._write_pending()

    async def flush(self) -> None:
        """Write what is pending."""
        self._tell_how_many()
        await self._write_pending()

    async def _write_pending(self) -> None:
        """Where that cannot be done the log says so: whoever was refused stays refused, and the others are served."""
        async with self._writing:  # so that `flush` waits for what another task took and has not written yet
            pending, self._pending = self._pending, []
            if not pending:
                return
            try:
                await trio.to_thread.run_sync(self._append, pending)
            except GatewayError as error:
                _LOG.error("%d refusal(s) are not in the audit log: %s", len(pending), error)

    def _tell_how_many(self) -> None:
        more = self._refusals - _MOST_REFUSALS
        if more > 0:
            self._pending.append(self._entry("refused", "-", {"more": more}))
            self._came.set()

    def _entry(self, event: str, actor: str, facts: dict[str, str | int | None]) -> dict[str, Any]:
        return {"time": round(self._wall(), 3), "event": event, "actor": actor, **facts}

    def _append(self, entries: list[dict[str, Any]]) -> None:
        try:
            with self._locked() as file:
                before, end = _last_of(file)
                lines = []
                for entry in entries:
                    lines.append(line := chained(entry, before))
                    before = json.loads(line)["hash"]
                os.ftruncate(file, end)  # a line that a killed process left half written is no entry
                os.lseek(file, end, os.SEEK_SET)
                os.write(file, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            message = f"The audit log {self._path} cannot be written: {error.strerror or error}."
        else:
            return
        raise GatewayError(kind=Kind.STORE, message=message, retry_after=1)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        import fcntl  # noqa: PLC0415 - Windows has none, and the other commands are for it too

        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)  # which lets go of the lock


def _last_of(file: int) -> tuple[str, int]:
    """The hash of the last whole line, and where the file ends behind it."""
    size = os.fstat(file).st_size
    start = max(0, size - _TAIL)
    tail = os.pread(file, size - start, start)
    whole = tail.rfind(b"\n") + 1
    if not whole:
        return _FIRST, 0 if not start else size
    line = tail[tail.rfind(b"\n", 0, whole - 1) + 1 : whole]
    try:
        return str(json.loads(line)["hash"]), start + whole
    except (ValueError, KeyError, TypeError):
        return _FIRST, start + whole  # `verify` says what is wrong with it


@asynccontextmanager
async def open_audit(path: str, *, wall: Callable[[], float] = time.time) -> AsyncIterator[Audit]:
    """The log of this file; what is pending is written at the end."""
    audit = Audit(path, wall)
    try:
        async with beside(audit.write_refusals):
            yield audit
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await audit.flush()
