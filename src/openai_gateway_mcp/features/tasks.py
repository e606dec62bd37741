"""Calls that go on after their request was answered: the tasks extension of 2026-07-28.

https://github.com/modelcontextprotocol/ext-tasks, specification/draft/tasks.md
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from openai_gateway_mcp.features.shelf import new_handle
from openai_gateway_mcp.protocol.errors import INTERNAL_ERROR, INVALID_PARAMS, Fault
from openai_gateway_mcp.protocol.model import InputRequest, Task, TaskStatus, ToolResult
from openai_gateway_mcp.transports.calls import Reporter

if TYPE_CHECKING:  # SQLite, which a start without --state does not wait for
    from openai_gateway_mcp.features.state import State

Json = Any
Run = Callable[["Job"], Awaitable[ToolResult]]
Dress = Callable[[ToolResult], Mapping[str, Json]]

SECONDS_KEPT: Final = 3600
POLL_MS: Final = 2_000
MAX_RUNNING: Final = 64
"""Tasks of one caller that run at once; further calls come back partial at the soft deadline, as without tasks."""
MAX_RUNNING_OF_ALL: Final = 512

_LOG: Final = logging.getLogger(__name__)
_MAX_KEPT: Final = 1_024  # of all callers
_SECONDS_TO_SAVE: Final = 5.0
_KIND: Final = "task"


@attrs.define(eq=False)
class Job:
    """A call on its way, which a task has or has not been made of yet; to the call it is the Reporter."""

    owner: str
    dress: Dress
    reporter: Reporter
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    due: trio.Event = attrs.field(factory=trio.Event)
    """It is done, or has something to ask: nobody need wait any longer to see whether it becomes a task."""
    became_task: trio.Event = attrs.field(factory=trio.Event)
    result: ToolResult | None = None
    error: Exception | None = None
    made: Task | None = None
    until: float = math.inf
    version: int = 0
    changed: Callable[[], None] = lambda: None
    _answers: dict[str, Mapping[str, Json]] = attrs.field(factory=dict)
    _answered: trio.Event = attrs.field(factory=trio.Event)

    @property
    def wanted(self) -> bool:
        return self.made is not None or self.reporter.wanted

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """To the caller, and once it is a task into the task's own message, which is there to be asked for."""
        if self.made is None:
            self.reporter.progress(progress, total, message)
        elif message is not None and not self.made.status.is_final:
            self.made = attrs.evolve(self.made, message=message, updated=_now())

    def task(self, task: Task) -> None:
        """A call watches no task."""

    async def ask(self, requests: Mapping[str, InputRequest]) -> Mapping[str, Mapping[str, Json]]:
        """What the client answers to each, once it has answered all. It becomes a task by that. No name comes twice."""
        self.due.set()
        await self.became_task.wait()
        self._answers, self._answered = {}, trio.Event()
        self.show(TaskStatus.INPUT_REQUIRED, requests=dict(requests))
        await self._answered.wait()
        return self._answers

    def receive(self, responses: Mapping[str, Mapping[str, Json]]) -> None:
        """What was not asked for, or is answered already, is passed over."""
        open_ = {} if self.made is None else dict(self.made.requests)
        given = {name: response for name, response in responses.items() if open_.pop(name, None) is not None}
        if given:
            self._answers.update(given)
            self.show(TaskStatus.INPUT_REQUIRED if open_ else TaskStatus.WORKING, requests=open_)
        if given and not open_:
            self._answered.set()

    def show(self, status: TaskStatus, **what: Any) -> None:
        """What it is now, unless it has ended. Whoever watches is told."""
        if self.made is not None and not self.made.status.is_final:
            self.made = attrs.evolve(self.made, status=status, updated=_now(), **what)
            self.version += 1
            self.changed()


class _Nobody:
    """Who waits for a task of an earlier process."""

    wanted = False

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None: ...
    def task(self, task: Task) -> None: ...


def _dressed_already(_result: ToolResult) -> Mapping[str, Json]:
    raise RuntimeError("the call of this task ended in an earlier process")


_NOBODY: Final = _Nobody()


class Tasks:
    """Of all callers; each finds its own. `start_soon` is that of the nursery in which they run.

    `state` keeps them beyond the process, whose end those that ran then do not survive.
    """

    def __init__(self, start_soon: Callable[..., None], state: State | None = None) -> None:
        self._start_soon = start_soon
        self._state = state
        self._jobs: dict[str, Job] = {}
        self._changed = trio.lowlevel.ParkingLot()

    async def load(self) -> None:
        """What the state kept of an earlier process. Called once, before any other."""
        for row in [] if self._state is None else await self._state.load(_KIND):
            value = dict(row.value)
            task = Task(id=row.id, status=TaskStatus(value.pop("status")), poll_ms=POLL_MS, **value)
            job = Job(owner=row.owner, dress=_dressed_already, reporter=_NOBODY, made=task, changed=self._tell)
            job.until = trio.current_time() + row.until - time.time()
            job.done.set()
            self._jobs[row.id] = job
            if not task.status.is_final:
                await self._end(job)

    def has_room(self, owner: str) -> bool:
        """Whether this caller may have one more running."""
        running = [job.owner for job in self._jobs.values() if not job.done.is_set()]
        return len(running) < MAX_RUNNING_OF_ALL and running.count(owner) < MAX_RUNNING

    async def run(
        self, owner: str, run: Run, reporter: Reporter, dress: Dress, *, patience: float
    ) -> ToolResult | Task:
        """The result of `run`, or the task that it is after `patience` seconds. Raises what it raises until then.

        Whoever is cancelled while waiting has cancelled it.
        """
        job = Job(owner=owner, dress=dress, reporter=reporter, changed=self._tell)
        self._start_soon(self._carry_out, job, run)
        try:
            with trio.move_on_after(patience):
                await job.due.wait()
        except trio.Cancelled:
            job.scope.cancel()
            raise
        if not job.done.is_set():
            made = self._made(job)
            await self._save(job, made)
            return made
        if job.error is not None:
            raise job.error
        if job.result is None:
            raise Fault(INTERNAL_ERROR, "The server is stopping")
        return job.result

    def get(self, owner: str, task_id: str) -> Task:
        """Raises Fault where there is no such task, or not for this caller."""
        return self._shown(self._job(owner, task_id))

    def cancel(self, owner: str, task_id: str) -> None:
        """The provider is told at once. Nothing, where it has ended. Raises Fault as `get`."""
        job = self._job(owner, task_id)
        if not job.done.is_set():
            job.scope.cancel()
            job.show(TaskStatus.CANCELLED, message="Cancelled by the client.", requests={})

    def update(self, owner: str, task_id: str, responses: Mapping[str, Mapping[str, Json]]) -> None:
        """The client's answers to what the task asked for. Raises Fault as `get`."""
        self._job(owner, task_id).receive(responses)

    async def watch(self, owner: str, task_ids: Sequence[str], tell: Callable[[Task], None]) -> None:
        """Tell each task as it is, and again whenever its status changes, until all have ended."""
        told: dict[str, int] = {}
        while True:
            jobs = {one: job for one in task_ids if (job := self._maybe(owner, one)) is not None}
            for task_id, job in jobs.items():
                if told.get(task_id) != job.version:
                    told[task_id] = job.version
                    tell(self._shown(job))
            if all(self._shown(job).status.is_final for job in jobs.values()):
                await trio.lowlevel.checkpoint()
                return
            await self._changed.park()

    def _tell(self) -> None:
        self._changed.unpark_all()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _carry_out(self, job: Job, run: Run) -> None:
        try:
            with job.scope:
                job.result = await run(job)
        except Exception as error:  # noqa: BLE001 - the top of a task: whoever waits is told, or the task says so
            job.error = error
        finally:
            job.done.set()
            job.due.set()
            if job.made is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _SECONDS_TO_SAVE):
                    await self._end(job)

    async def _end(self, job: Job) -> None:
        """Kept first and shown then: whoever saw a result finds it in the next process too."""
        outcome, shown = _outcome(job), self._shown(job)
        await self._save(job, shown if shown.status.is_final else attrs.evolve(shown, **outcome))
        job.show(**outcome)

    async def _save(self, job: Job, task: Task) -> None:
        if self._state is None:
            await trio.lowlevel.checkpoint()
            return
        from openai_gateway_mcp.features.state import Row  # noqa: PLC0415 - SQLite, for --state alone

        names = ("created", "updated", "ttl_ms", "message", "result", "error")
        value = {"status": task.status.value, **{name: getattr(task, name) for name in names}}
        until = time.time() + job.until - trio.current_time()
        await self._state.save(Row(kind=_KIND, id=task.id, owner=job.owner, until=until, value=value))

    def _made(self, job: Job) -> Task:
        self._forget_old()
        now = _now()
        job.until = trio.current_time() + SECONDS_KEPT
        job.made = Task(
            id=new_handle(),
            status=TaskStatus.WORKING,
            created=now,
            updated=now,
            ttl_ms=SECONDS_KEPT * 1000,
            poll_ms=POLL_MS,
        )
        self._jobs[job.made.id] = job
        job.became_task.set()
        return job.made

    def _shown(self, job: Job) -> Task:
        if job.made is None:
            raise RuntimeError("no task was made of this call")
        return job.made

    def _job(self, owner: str, task_id: str) -> Job:
        job = self._maybe(owner, task_id)
        if job is None:
            raise Fault(INVALID_PARAMS, "There is no such task; it may have expired")
        return job

    def _maybe(self, owner: str, task_id: str) -> Job | None:
        job = self._jobs.get(task_id)
        return None if job is None or job.owner != owner or job.until <= trio.current_time() else job

    def _forget_old(self) -> None:
        """Those that nobody may ask for any more, and of too many the oldest that have ended."""
        now = trio.current_time()
        ended = [task_id for task_id, job in self._jobs.items() if job.done.is_set()]
        old = [task_id for task_id in ended if self._jobs[task_id].until <= now]
        too_many = ended[: max(0, len(self._jobs) - _MAX_KEPT)]
        for task_id in {*old, *too_many}:
            del self._jobs[task_id]


def _outcome(job: Job) -> dict[str, Any]:
    """What a task is once its call has ended: members of Task."""
    over: dict[str, Any] = {"message": "", "requests": {}}
    if job.result is not None:
        return {**over, "status": TaskStatus.COMPLETED, "result": job.dress(job.result)}
    if job.error is None and job.scope.cancel_called:
        return {**over, "status": TaskStatus.CANCELLED}
    if job.error is None:
        error = Fault(INTERNAL_ERROR, "The server was stopped while this task ran; call the tool again.")
    elif isinstance(job.error, Fault):
        error = job.error
    else:
        _LOG.warning("a task failed: %s", type(job.error).__name__)
        _LOG.debug("a task failed", exc_info=job.error)  # which may quote anything
        error = Fault(INTERNAL_ERROR, "Internal error")
    told = {"code": error.code, "message": error.message}
    return {**over, "status": TaskStatus.FAILED, "message": error.message, "error": told}


def _now() -> str:
    """ISO 8601, in milliseconds; the standard library's datetime costs a start a millisecond."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03}Z"
