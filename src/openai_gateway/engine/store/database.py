"""One SQLite file in a thread of its own, which does all that waits for it in one transaction."""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from openai_gateway.engine.store.book import Book
from openai_gateway.engine.store.schema import set_up
from openai_gateway.errors import GatewayError, Kind

T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)
Work = Callable[[sqlite3.Connection], T]

_BUSY: Final = 5.0  # seconds that another process may hold the file; its transactions take milliseconds
_MOST: Final = 512  # pieces of work in one transaction, from where on no more is taken in


@attrs.define(eq=False)
class _Job(Generic[T]):
    work: Work[T]
    keys: tuple[str, ...] = ()
    done: trio.Event = attrs.field(factory=trio.Event)
    result: Any = None
    error: Exception | None = None


class Database:
    """Work is done in the order in which it comes, as much at once as is waiting: so many calls share a commit.

    A transaction is on disk for whoever outlives this process as soon as it is committed; with `synchronous = NORMAL` a
    machine that loses its power may lose the last moments, never the file.
    """

    def __init__(self, path: str, book: Book | None = None) -> None:
        """Without a book nothing is written, so that nobody is held up by it."""
        self._path = path
        self._book = book
        self._asked: list[_Job[Any]] = []
        """What this turn of the scheduler asked for."""
        self._jobs: queue.SimpleQueue[Sequence[_Job[Any]] | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def aclose(self) -> None:
        """What was asked for is done first."""
        self._hand_over()
        self._jobs.put(None)
        await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)

    async def do(
        self, work: Work[T], *, keys: tuple[str, ...] = (), undo: Callable[[T], Work[None]] | None = None
    ) -> T:
        """The result of `work`, for good; the book is open at the pages of `keys` for it.

        Whoever is cancelled while waiting has what `undo` makes of the result done.

        Raises GatewayError where the file cannot be read or written.
        """
        job = _Job(work, keys)
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._ask(job)
        try:
            await job.done.wait()
        except trio.Cancelled:
            if undo is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 3 * _BUSY):
                    await job.done.wait()
                    if job.error is None:
                        await self._ask(_Job(undo(job.result), keys))
            raise
        if job.error is not None:
            raise _unusable(job.error)
        result: T = job.result
        return result

    async def _ask(self, job: _Job[Any]) -> None:
        """With all that this turn of trio's scheduler asks for: whoever asked first gives it over, in the next turn.

        Given over one by one, the first would wake the thread, which takes the interpreter from the other calls and
        opens a transaction for too few.
        """
        self._asked.append(job)
        if len(self._asked) == 1:
            try:
                await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                self._hand_over()

    def _hand_over(self) -> None:
        if self._asked:  # a transaction for nothing would renew the lease of a process that has left
            self._jobs.put(self._asked)
            self._asked = []

    def _run(self) -> None:
        is_over = False
        while not is_over and (first := self._jobs.get()) is not None:
            jobs = list(first)
            with contextlib.suppress(queue.Empty):
                while len(jobs) < _MOST and not is_over:
                    more = self._jobs.get_nowait()
                    is_over = more is None
                    jobs.extend(more or ())
            self._do_all(jobs)
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_tell, jobs)
        if self._connection is not None:
            self._connection.close()

    def _do_all(self, jobs: Sequence[_Job[Any]]) -> None:
        """All in one transaction; where that fails each in one of its own, so that only what is at fault fails."""
        try:
            with self._transaction({key for job in jobs for key in job.keys}) as connection:
                for job in jobs:
                    job.result = job.work(connection)
        except Exception as error:  # noqa: BLE001 - the pump of all work: a fault of one piece must not end the thread
            if len(jobs) == 1:
                jobs[0].error = error
            else:
                for job in jobs:
                    self._do_all([job])

    @contextlib.contextmanager
    def _transaction(self, keys: set[str]) -> Iterator[sqlite3.Connection]:
        connection = self._connection = self._connection or self._opened()
        book = self._book
        try:
            connection.execute("BEGIN" if book is None else "BEGIN IMMEDIATE")
            if book is not None:
                book.begin(connection, keys)
            yield connection
            if book is not None:
                book.flush(connection)
            connection.execute("COMMIT")
            if book is not None:
                book.keep()
        except BaseException:
            if book is not None:
                book.forget()
            self._connection = None  # whatever is wrong with it, the next one may be better
            connection.close()  # which rolls back
            raise

    def _opened(self) -> sqlite3.Connection:
        path = Path(self._path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            set_up(connection, _BUSY)
        except BaseException:
            connection.close()
            raise
        return connection


def _tell(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        job.done.set()


def _unusable(error: Exception) -> GatewayError:
    """A row that cannot be read is an unusable store too, and only the log has the whole of it."""
    if isinstance(error, sqlite3.Error | OSError):
        message = f"The gateway's store cannot be used: {error}."
    else:
        _LOG.error("The gateway's store holds what cannot be read.", exc_info=error)
        message = "The gateway's store holds what cannot be read; the log says more."
    return GatewayError(kind=Kind.STORE, message=message, retry_after=1)
