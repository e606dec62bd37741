"""One MCP conversation without I/O: bytes in, events out; answers in, bytes out.

connection.receive_data(data)                        # what came; b"" when the peer has closed
while (event := connection.next_event()) is not None:
    ...                                              # start the work, or cancel it
connection.answer(call, result)                      # or fail(), or progress(); then finished()
stream.send(connection.data_to_send())
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, assert_never

from openai_gateway.wire.strict import dumps
from openai_gateway_mcp.protocol import dress, jsonrpc, params, rounds
from openai_gateway_mcp.protocol.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    OVERLOADED,
    PARSE_ERROR,
    RESOURCE_NOT_FOUND,
    Fault,
    LocalProtocolError,
    ResourceNotFound,
)
from openai_gateway_mcp.protocol.events import Call, CallCancelled, Era, Event, Level, Remark, TasksWatched
from openai_gateway_mcp.protocol.flights import BatchReply, Flight, Flights, Listen, State
from openai_gateway_mcp.protocol.jsonrpc import Batch, Id, Invalid, Message, Notification, Request, Response
from openai_gateway_mcp.protocol.lines import LineBuffer, TooLong
from openai_gateway_mcp.protocol.model import InputRequired, Result, Server, Task, TaskCreated
from openai_gateway_mcp.protocol.revisions import NEWEST_LEGACY, REVISIONS, TASKS, Revision, negotiate
from openai_gateway_mcp.protocol.rounds import Seal

# A batch multiplies what one line may ask for; go-ethereum's RPC server allows as many entries.
MAX_BATCH: Final = 1_000

# list of the server → (what a listen must have asked for, what it is told)
_NOTICES: Final = {
    "tools": ("toolsListChanged", "notifications/tools/list_changed"),
    "prompts": ("promptsListChanged", "notifications/prompts/list_changed"),
    "resources": ("resourcesListChanged", "notifications/resources/list_changed"),
}


class Outgoing(NamedTuple):
    """One message to be sent, without a line end; a response (or the array of a batch's), or a notification."""

    data: bytes
    is_response: bool
    code: int | None = None
    """That of the error which it is."""


class Connection:
    """The server's side of one conversation, both eras and all revisions interleaved on it.

    What MCP leaves no choice about (initialize, discovery, ping, the lists, unknown methods, bad messages) is
    answered here; the application sees the calls that are its own to answer, and their cancellation. Whatever order
    the verbs are called in, a request is answered at most once, never after its cancellation, and a notification never.

    `max_message_bytes`: of one line. `max_in_flight`: calls handed out at once; up to `max_parked` further ones (and
    `max_parked_bytes`) wait in order. `max_listens`: open `subscriptions/listen`, which count as no call.
    `legacy`: the revision of what comes without modern `_meta`, until an `initialize` settles it. `says_cancelled`: a
    listen that we end is told `notifications/cancelled` before its result, as it is to be where messages share a wire.
    `seal` authenticates the state of requests that take several rounds, for `principal`, who is the caller.
    """

    def __init__(
        self,
        server: Server,
        *,
        max_message_bytes: int = 16 * 2**20,
        max_in_flight: int = 256,
        max_parked: int = 4096,
        max_parked_bytes: int = 64 * 2**20,
        max_listens: int = 64,
        legacy: Revision = NEWEST_LEGACY,
        says_cancelled: bool = True,
        seal: Seal | None = None,
        principal: str = "",
    ) -> None:
        self._server = server
        self._legacy = legacy
        self._says_cancelled = says_cancelled
        self._seal = seal
        self._principal = principal
        self._has_legacy_client = False
        self._max_message_bytes = max_message_bytes
        self._max_listens = max_listens
        self._lines = LineBuffer(max_message_bytes)
        self._flights = Flights(max_running=max_in_flight, max_parked=max_parked, max_parked_bytes=max_parked_bytes)
        self._events: deque[CallCancelled | Remark | TasksWatched] = deque()
        self._out: list[Outgoing] = []
        self._at_eof = False
        self._closed = False

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take in what the peer sent; b"" says that it has closed its side."""
        if self._at_eof:
            raise LocalProtocolError("data after the end")
        if data:
            self._lines.receive_data(data)
        else:
            self._at_eof = True
            self._lines.receive_eof()

    def receive_message(self, message: Message | Batch, size: int) -> None:
        """Take in one message that came by itself, `size` bytes long; where messages are lines, see `receive_data`."""
        if isinstance(message, Batch):
            self._take_batch(message, size)
        else:
            self._take(message, size, None)

    def next_event(self) -> Event | None:
        """The next thing for the application to do; None until more data comes (or a slot is free)."""
        while not self._closed:
            if self._events:
                return self._events.popleft()
            work = self._flights.maybe_start()
            if work is not None:
                return work
            line = self._lines.next_line()
            if line is None:
                if not self._at_eof:
                    return None
                self._end_listens()
                if not self._events:
                    return None
                continue
            self._take_line(line)
        return None

    @property
    def calls_in_flight(self) -> int:
        """Calls that wait, or whose task is not finished."""
        return len(self._flights)

    @property
    def is_settled(self) -> bool:
        """Whether nothing that came is still to be answered, listens included."""
        return self._flights.are_settled

    # --- out --------------------------------------------------------------------------------------------------------

    def answer(self, call: Call, result: Result) -> None:
        """Answer a call; nothing, if it was cancelled meanwhile. LocalProtocolError if it is answered already.

        Raises Fault for an InputRequired that this client cannot be asked; then the call is still to be answered.
        """
        flight = self._flights.running(call)
        if self._may_answer(flight):
            encoded = dumps(self._dress(result, flight))
            self._settle(flight, Outgoing(jsonrpc.result_bytes(flight.id, encoded), is_response=True))

    def _dress(self, result: Result, flight: Flight) -> dict[str, Any]:
        if isinstance(result, TaskCreated):
            if not (self._server.offers_tasks and params.knows_tasks(flight.work.call.capabilities)):
                raise LocalProtocolError("this client takes no task for an answer")
            return dress.task_created(result, self._server, flight.revision)
        if not isinstance(result, InputRequired):
            return dress.dress(result, self._server, flight.revision)
        call = flight.work.call
        rounds.check(result, call.method, call.capabilities, is_modern=call.era is Era.MODERN)
        state = result.state
        if state is not None:
            if self._seal is None:
                raise LocalProtocolError("a state needs a seal")
            state = self._seal.close(state, self._principal, call.method, flight.params)
        return dress.complete(rounds.shape(result, state), self._server, flight.revision, result_type="input_required")

    def fail(self, call: Call, error: Fault | ResourceNotFound) -> None:
        """Answer a call with an error; otherwise as `answer`."""
        flight = self._flights.running(call)
        if self._may_answer(flight):
            fault = _not_found(error, flight.revision) if isinstance(error, ResourceNotFound) else error
            self._settle(flight, _error(flight.id, fault))

    def progress(self, call: Call, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress, if the client asked for it and the call is open. A value that does not grow is dropped."""
        if any(isinstance(value, float) and not math.isfinite(value) for value in (progress, total)):
            raise LocalProtocolError("progress must be a finite number")
        flight = self._flights.running(call)
        is_news = flight.reported is None or progress > flight.reported
        if flight.token is None or flight.state is not State.RUNNING or not is_news:
            return
        flight.reported = progress
        members: dict[str, Any] = {"progressToken": flight.token, "progress": progress}
        if total is not None:
            members["total"] = total
        if message is not None and flight.revision.hints:
            members["message"] = message
        self._emit(jsonrpc.notification_bytes("notifications/progress", members), is_response=False)

    def task_changed(self, call: Call, task: Task) -> None:
        """Tell the subscription that `call` watches for. Nothing, once it has ended."""
        flight = self._flights.running(call)
        if flight.state is State.RUNNING and isinstance(self._flights.holder(call.id), Listen):
            shape = dress.task_shape(task, self._server, flight.revision)
            self._notify_listen(call.id, "notifications/tasks", shape)

    def finished(self, call: Call) -> None:
        """The task that ran the call is gone: its slot is free. Called once for every call, however it ended."""
        flight = self._flights.running(call)
        if isinstance(flight.work, TasksWatched):
            flight.state = State.ANSWERED
            holder = self._flights.holder(call.id)
            if isinstance(holder, Listen) and holder.watch is call:
                holder.watch = None
        if flight.state is State.RUNNING:
            self.fail(call, Fault(INTERNAL_ERROR, "Internal error"))
        self._flights.finish(flight)

    def offer(self, server: Server) -> None:
        """Change what is offered, as a reload will; whoever listens is told which lists are new."""
        old, self._server = self._server, server
        if self._closed:
            return
        for name, (wanted, method) in _NOTICES.items():
            if getattr(old, name) != getattr(server, name):
                self._announce(wanted, method)

    def close(self) -> None:
        """End the conversation from our side: listens get their farewell, every call is withdrawn, no line is read."""
        self._end_listens()
        self._flights.cancel_all()
        self._closed = True

    def data_to_send(self) -> bytes:
        """Whole lines, to be sent in this order; b"" when there is nothing."""
        data = b"".join([message.data + b"\n" for message in self._out])
        self._out.clear()
        return data

    def messages_to_send(self) -> list[Outgoing]:
        """The same, message by message."""
        messages, self._out = self._out, []
        return messages

    # --- messages ---------------------------------------------------------------------------------------------------

    def _take_line(self, line: bytes | TooLong) -> None:
        if isinstance(line, TooLong):
            text = f"Parse error: a message is longer than {self._max_message_bytes} bytes"
            self._emit(jsonrpc.error_bytes(None, PARSE_ERROR, text))
            return
        self.receive_message(jsonrpc.read_line(line), len(line))

    def _take(self, message: Message, size: int, batch: BatchReply | None) -> None:
        match message:
            case Request():
                self._take_request(message, size, batch)
            case Notification():
                self._take_notification(message)
            case Response():
                self._remark(Level.DEBUG, f"ignored a response that nobody asked for: id {params.shown(message.id)}")
            case Invalid():
                self._reply(_error(message.id, Fault(message.code, message.message)), batch)
            case _ as never:
                assert_never(never)

    def _take_batch(self, batch: Batch, size: int) -> None:
        problem = self._batch_problem(batch)
        if problem:
            self._emit(jsonrpc.error_bytes(None, INVALID_REQUEST, f"Invalid Request: {problem}"))
            return
        reply = BatchReply()
        for entry in batch.entries:
            self._take(jsonrpc.read_message(entry), size // len(batch.entries), reply)
        reply.whole = True
        self._maybe_send_batch(reply)

    def _batch_problem(self, batch: Batch) -> str | None:
        if not self._legacy.batches:
            return f"a message is one JSON object, {self._legacy.name} has no batches"
        if not batch.entries:
            return "a batch has at least one message"
        if len(batch.entries) > MAX_BATCH:
            return f"a batch has at most {MAX_BATCH} messages"
        return None

    def _take_notification(self, message: Notification) -> None:
        if message.method == "notifications/cancelled":
            self._take_cancellation(message)
        elif message.method == "notifications/initialized":
            self._has_legacy_client = True
        elif message.method in self._server.extensions or any(message.method in r.methods for r in REVISIONS.values()):
            text = f"{message.method} came without an id: that makes it a notification, which is never answered"
            self._remark(Level.WARNING, text)
        else:
            self._remark(Level.DEBUG, f"ignored the notification {params.shown(message.method)}")

    def _take_cancellation(self, message: Notification) -> None:
        id_ = jsonrpc.read_id(message.params.get("requestId"))
        holder = None if id_ is None else self._flights.holder(id_)
        if isinstance(holder, Listen):
            self._release_listen(holder)
        elif isinstance(holder, Flight):
            reason = message.params.get("reason")
            if self._flights.cancel(holder):
                text = reason if isinstance(reason, str) else ""
                self._events.append(CallCancelled(call=holder.work.call, reason=text))
            self._no_longer_awaited(holder)
        else:
            self._remark(Level.DEBUG, "ignored a cancellation of what is not in flight")

    # --- requests ---------------------------------------------------------------------------------------------------

    def _take_request(self, request: Request, size: int, batch: BatchReply | None) -> None:
        try:
            if self._flights.is_taken(request.id):
                raise Fault(INVALID_REQUEST, "Invalid Request: this id is in flight already")
            meta = params.mapping(request.params, "_meta")
            revision = params.revision_of(request.method, meta, self._legacy)
            if batch is not None and (revision.era is Era.MODERN or request.method == "initialize"):
                raise Fault(INVALID_REQUEST, "Invalid Request: this cannot be part of a batch")
            if not self._is_served(request.method, revision):
                raise params.method_not_found(request.method, revision.era)
            if request.method == "subscriptions/listen":
                self._open_listen(request, revision)
            elif (inline := _INLINE.get(request.method)) is not None:
                result = inline(self, request, revision)
                reply = Outgoing(jsonrpc.result_bytes(request.id, result), is_response=True)
                self._reply(reply, batch, request.id)
            else:
                self._park(request, meta, revision, size, batch)
        except Fault as fault:
            self._reply(_error(request.id, fault), batch, request.id)

    def _is_served(self, method: str, revision: Revision) -> bool:
        if method in TASKS and not self._server.offers_tasks:
            return False
        return method in revision.methods or method in self._server.extensions

    def _park(
        self, request: Request, meta: params.Params, revision: Revision, size: int, batch: BatchReply | None
    ) -> None:
        token = params.progress_token(meta)
        call = Call(
            id=request.id,
            method=request.method,
            revision=revision.name,
            era=revision.era,
            wants_progress=token is not None,
            meta=meta,
            **self._rounds(request, meta, revision),
        )
        work = params.read_work(call, request.params, self._server)
        if not self._flights.has_room_for(size):
            raise Fault(OVERLOADED, "Too many calls are waiting; try again when some are answered")
        self._flights.park(
            Flight(work=work, revision=revision, token=token, params=request.params, batch=batch, size=size)
        )
        if batch is not None:
            batch.awaited += 1

    def _rounds(self, request: Request, meta: params.Params, revision: Revision) -> dict[str, Any]:
        """What a call knows of the client and of rounds before it. Raises Fault."""
        if revision.era is Era.LEGACY:
            return {}
        known: dict[str, Any] = {"capabilities": meta[params.CAPABILITIES]}
        if request.method in rounds.METHODS:
            known["input_responses"] = rounds.input_responses(request.params)
            known["state"] = rounds.request_state(request.params, self._seal, self._principal, request.method)
        return known

    def _initialize(self, request: Request, _: Revision) -> bytes:
        self._legacy = negotiate(params.protocol_version(request.params))
        return dumps(dress.initialize_result(self._server, self._legacy))

    def _list(self, request: Request, revision: Revision) -> bytes:
        params.check_cursor(request.params)
        return dress.list_bytes(request.method, self._server, revision)

    def _discover(self, _: Request, revision: Revision) -> bytes:
        return dumps(dress.discover_result(self._server, revision))

    def _ping(self, _: Request, __: Revision) -> bytes:
        return b"{}"

    def _set_level(self, request: Request, _: Revision) -> bytes:
        params.check_log_level(request.params)
        return b"{}"

    def _subscribe(self, request: Request, _: Revision) -> bytes:
        params.string(request.params, "uri")
        return b"{}"

    # --- listens ----------------------------------------------------------------------------------------------------

    def _open_listen(self, request: Request, revision: Revision) -> None:
        wants = params.notification_filter(request.params)
        task_ids = self._watched(request)
        if len(self._flights.listens()) >= self._max_listens:
            raise Fault(OVERLOADED, f"At most {self._max_listens} subscriptions may be open")
        listen = Listen(id=request.id, revision=revision, wants=wants)
        self._flights.hold(request.id, listen)
        agreed: dict[str, Any] = dict.fromkeys(sorted(wants), True)
        if task_ids:
            agreed["taskIds"] = list(task_ids)
        self._notify_listen(request.id, "notifications/subscriptions/acknowledged", {"notifications": agreed})
        if task_ids:
            self._watch(request, listen, task_ids)

    def _watched(self, request: Request) -> tuple[str, ...]:
        if not self._server.offers_tasks:
            return ()
        ids = params.watched_tasks(request.params)
        if ids:
            params.check_knows_tasks(params.mapping(request.params, "_meta")[params.CAPABILITIES])
        return ids

    def _watch(self, request: Request, listen: Listen, task_ids: tuple[str, ...]) -> None:
        """Have the application watch the tasks, by a call that has no answer of its own."""
        meta = params.mapping(request.params, "_meta")
        listen.watch = Call(
            id=request.id,
            method=request.method,
            revision=listen.revision.name,
            era=listen.revision.era,
            wants_progress=False,
            meta=meta,
            capabilities=meta[params.CAPABILITIES],
        )
        work = TasksWatched(call=listen.watch, task_ids=task_ids)
        self._flights.start(
            Flight(work=work, revision=listen.revision, token=None, params=request.params, batch=None, size=0)
        )
        self._events.append(work)

    def _release_listen(self, listen: Listen) -> None:
        self._flights.release(listen.id)
        if listen.watch is not None:
            self._flights.running(listen.watch).state = State.CANCELLED
            self._events.append(CallCancelled(call=listen.watch, reason=""))

    def _announce(self, wanted: str, method: str) -> None:
        if self._has_legacy_client:
            self._emit(jsonrpc.notification_bytes(method), is_response=False)
        for listen in self._flights.listens():
            if wanted in listen.wants:
                self._notify_listen(listen.id, method, {})

    def _end_listens(self) -> None:
        for listen in self._flights.listens():
            self._release_listen(listen)
            if self._says_cancelled:
                self._notify_listen(listen.id, "notifications/cancelled", {"requestId": listen.id})
            tagged = {"_meta": {dress.SUBSCRIPTION_ID: listen.id}}
            result = dumps(dress.complete(tagged, self._server, listen.revision))
            self._emit(jsonrpc.result_bytes(listen.id, result))

    def _notify_listen(self, id_: Id, method: str, members: dict[str, Any]) -> None:
        tagged = {**members, "_meta": {dress.SUBSCRIPTION_ID: id_}}
        self._emit(jsonrpc.notification_bytes(method, tagged), is_response=False)

    # --- replies ----------------------------------------------------------------------------------------------------

    def _may_answer(self, flight: Flight) -> bool:
        if isinstance(flight.work, TasksWatched):
            return False  # its subscription is answered when that ends
        if flight.state is State.ANSWERED:
            raise LocalProtocolError(f"{flight.work.call.method} {flight.id!r} is answered already")
        return flight.state is State.RUNNING

    def _settle(self, flight: Flight, reply: Outgoing) -> None:
        flight.state = State.ANSWERED
        self._flights.release(flight.id)
        self._reply(reply, flight.batch, flight.id)
        self._no_longer_awaited(flight)

    def _reply(self, reply: Outgoing, batch: BatchReply | None, id_: Id | None = None) -> None:
        """Send a response, or put it into its batch, where its id stays taken until the array goes out."""
        if batch is None:
            self._out.append(reply)
            return
        batch.replies.append(reply.data)
        if id_ is not None and not self._flights.is_taken(id_):
            self._flights.hold(id_, batch)
            batch.ids.append(id_)

    def _no_longer_awaited(self, flight: Flight) -> None:
        if flight.batch is not None:
            flight.batch.awaited -= 1
            self._maybe_send_batch(flight.batch)

    def _maybe_send_batch(self, batch: BatchReply) -> None:
        if not batch.is_due:
            return
        for id_ in batch.ids:
            self._flights.release(id_)
        if batch.replies:
            self._emit(b"[%b]" % b",".join(batch.replies))

    def _emit(self, message: bytes, *, is_response: bool = True) -> None:
        self._out.append(Outgoing(message, is_response))

    def _remark(self, level: Level, text: str) -> None:
        self._events.append(Remark(level=level, text=text))


def _error(id_: Id | None, fault: Fault) -> Outgoing:
    data = jsonrpc.error_bytes(id_, fault.code, fault.message, fault.data)
    return Outgoing(data, is_response=True, code=fault.code)


def _not_found(error: ResourceNotFound, revision: Revision) -> Fault:
    code = RESOURCE_NOT_FOUND if revision.era is Era.LEGACY else INVALID_PARAMS
    return Fault(code, f"Resource not found: {params.shown(error.uri)}", {"uri": error.uri})


# What the core answers by itself, at once: method → how.
_INLINE: Final[dict[str, Callable[[Connection, Request, Revision], bytes]]] = {
    "initialize": Connection._initialize,  # noqa: SLF001 - the table is part of the class, below it only to name its methods
    "server/discover": Connection._discover,  # noqa: SLF001
    "ping": Connection._ping,  # noqa: SLF001
    "logging/setLevel": Connection._set_level,  # noqa: SLF001
    "resources/subscribe": Connection._subscribe,  # noqa: SLF001
    "resources/unsubscribe": Connection._subscribe,  # noqa: SLF001
    "tools/list": Connection._list,  # noqa: SLF001
    "prompts/list": Connection._list,  # noqa: SLF001
    "resources/list": Connection._list,  # noqa: SLF001
    "resources/templates/list": Connection._list,  # noqa: SLF001
}
