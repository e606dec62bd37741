"""A scripted application on a connection: what it does with its n-th call is the n-th act of a plan."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import (
    Call,
    CallCancelled,
    CompletionAsked,
    Event,
    ExtensionCalled,
    PromptAsked,
    Remark,
    ResourceRead,
    TaskAsked,
    TasksWatched,
    TaskVerb,
    ToolCalled,
    Work,
)
from openai_gateway_mcp.protocol.model import (
    CompletionResult,
    ExtensionResult,
    PromptMessage,
    PromptResult,
    ResourceResult,
    ResourceText,
    Result,
    Role,
    Server,
    Task,
    TaskShown,
    TaskStatus,
    Text,
    ToolResult,
)
from tests.fuzz.laws import Sketch, read_out
from tests.fuzz.offer import SERVER

FAULT = 4711
Opening = Callable[..., Connection]


class Act(enum.Enum):
    """What becomes of one call. HOLD and LINGER keep its slot to the end, LINGER with the answer out at once."""

    ANSWER = enum.auto()
    REPORT = enum.auto()  # progress 1, 1 (no news, so not sent) and 2, then the answer
    FAIL = enum.auto()
    NOT_FOUND = enum.auto()
    VANISH = enum.auto()  # finished, and never answered
    HOLD = enum.auto()
    LINGER = enum.auto()


@attrs.frozen(kw_only=True)
class Limits:
    max_message_bytes: int = 4096
    max_in_flight: int = 2
    max_parked: int = 3
    max_parked_bytes: int = 600
    max_listens: int = 2


def plain_result(work: Work) -> Result:
    """The smallest result of the sort that was asked for."""
    match work:
        case ToolCalled():
            return ToolResult(content=(Text("ünd"),))
        case ResourceRead():
            return ResourceResult(contents=(ResourceText(uri=work.uri, text=""),))
        case PromptAsked():
            return PromptResult(description="", messages=(PromptMessage(role=Role.USER, content=Text("?")),))
        case CompletionAsked():
            return CompletionResult(values=("echo",), total=1, has_more=False)
        case ExtensionCalled():
            return ExtensionResult(value={"completion": {"values": []}})
        case TaskAsked():
            return TaskShown(a_task(work.task_id)) if work.verb is TaskVerb.GET else ExtensionResult(value={})
        case TasksWatched():
            return ExtensionResult(value={})


def a_task(task_id: str) -> Task:
    now = "2026-11-27T07:00:00.000Z"
    return Task(id=task_id, status=TaskStatus.WORKING, created=now, updated=now, ttl_ms=1000, poll_ms=10)


class Application:
    """Drives one connection. `events` and `sent` say what came out of it."""

    def __init__(
        self,
        plan: Sequence[Act],
        limits: Limits,
        *,
        opening: Opening = Connection,
        result: Callable[[Work], Result] = plain_result,
    ) -> None:
        self._connection = opening(SERVER, **attrs.asdict(limits))
        self._acts = itertools.cycle(plan)
        self._result = result
        self._open: dict[Call, Work] = {}  # not finished
        self._held: dict[Call, bool] = {}  # to be finished at the end; True: still to be answered
        self.events: list[Event] = []
        self.sent = b""

    def run(self, pieces: Iterable[bytes]) -> None:
        """A whole conversation: the pieces, the end of input, the end of every call."""
        for piece in pieces:
            if piece:
                self.receive(piece)
        self.end()

    def receive(self, data: bytes) -> None:
        self._connection.receive_data(data)
        self.pump()

    def offer(self, server: Server) -> None:
        self._connection.offer(server)
        self.pump()

    def end(self) -> None:
        self.receive(b"")
        while self._held:
            call, is_open = next(iter(self._held.items()))
            del self._held[call]
            if is_open:
                self._connection.answer(call, self._result(self._open[call]))
            self._finish(call)
            self.pump()
        assert self._connection.calls_in_flight == 0

    def pump(self) -> None:
        """Take every event there is and act on it at once."""
        while (event := self._connection.next_event()) is not None:
            self.events.append(event)
            match event:
                case CallCancelled():
                    self._withdraw(event.call)
                case Remark():
                    pass
                case _:
                    self._open[event.call] = event
                    self._act(event, next(self._acts))
        self.sent += self._connection.data_to_send()

    def _act(self, work: Work, act: Act) -> None:
        connection, call = self._connection, work.call
        if act is Act.FAIL:
            connection.fail(call, Fault(FAULT, "failed", {"why": "\u2028"}))
        elif act is Act.NOT_FOUND:
            connection.fail(call, ResourceNotFound("openai://nothing"))
        elif act is Act.REPORT:
            for value in (1, 1, 2):
                connection.progress(call, value, 2, "ünd")
        if act in (Act.ANSWER, Act.REPORT, Act.LINGER):
            connection.answer(call, self._result(work))
        if act in (Act.HOLD, Act.LINGER):
            self._held[call] = act is Act.HOLD
        else:
            self._finish(call)

    def _withdraw(self, call: Call) -> None:
        """A cancelled task may still try to answer: nothing of it may go out."""
        del self._held[call]
        self._connection.progress(call, 99)
        self._connection.answer(call, self._result(self._open[call]))
        self._finish(call)

    def _finish(self, call: Call) -> None:
        del self._open[call]
        self._connection.finished(call)

    # --- what came of it ---------------------------------------------------------------------------------------------

    @property
    def said(self) -> list[Sketch]:
        return read_out(self.sent)

    @property
    def happened(self) -> list[Sketch]:
        return [
            (name_of(event),) if isinstance(event, Remark) else (name_of(event), event.call.id) for event in self.events
        ]

    @property
    def structure(self) -> list[tuple[str, dict[str, Any]]]:
        """The events by value: calls are compared by identity, so that two runs never have equal ones."""
        return [(name_of(event), attrs.asdict(event)) for event in self.events]


def name_of(event: Event) -> str:
    return type(event).__name__
