"""Scripts of one conversation with the protocol core: `>>` what the client sends, `<<` what must come of it.

    play >> request(1, "ping") << response(1, {})
    play >> request(2, "tools/call", name="chat") << handed(ToolCalled, 2, name="chat")
    play.answer(2, ToolResult(content=(Text("hi"),)))
    play << response(2, {...})

Everything that comes out has to be claimed, in order, before the next step: what is not written after `<<` must not
happen, and a playbook that ends with something unclaimed fails. Every message out is also judged by its revision's
schema.
"""

from __future__ import annotations

import enum
import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import Call, CallCancelled, Event, Level, Remark, Work
from openai_gateway_mcp.protocol.model import Result, Server, Task
from tests import schema_oracle

Json = Any

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"


class Eof(enum.Enum):
    """The client closes its side."""

    EOF = enum.auto()


EOF = Eof.EOF


# --- what the client sends ------------------------------------------------------------------------------------------


def request(id_: Json, method: str, **params: Json) -> Json:
    """A request of the legacy era; without params the member is absent."""
    message = {"jsonrpc": "2.0", "id": id_, "method": method}
    return message | {"params": params} if params else message


def meta(version: str = "2026-07-28", **more: Json) -> dict[str, Json]:
    """The `_meta` that every request of the modern era carries."""
    return {VERSION: version, CAPABILITIES: {}, CLIENT_INFO: {"name": "playbook", "version": "1"}, **more}


def modern(id_: Json, method: str, **params: Json) -> Json:
    """A request of the modern era."""
    return request(id_, method, **{"_meta": meta(), **params})


def notification(method: str, **params: Json) -> Json:
    """A notification: a request without an id."""
    message = {"jsonrpc": "2.0", "method": method}
    return message | {"params": params} if params else message


def initialize(id_: Json = 0, version: str = "2025-11-25") -> Json:
    """The opening of the legacy era."""
    client = {"name": "playbook", "version": "1"}
    return request(id_, "initialize", protocolVersion=version, capabilities={}, clientInfo=client)


def cancel(id_: Json, **more: Json) -> Json:
    """The client withdraws a request."""
    return notification("notifications/cancelled", requestId=id_, **more)


# --- what must come of it -------------------------------------------------------------------------------------------


def response(id_: Json, result: Json) -> Json:
    """Exactly this success."""
    return {"jsonrpc": "2.0", "id": id_, "result": result}


@attrs.frozen
class Failure:
    """An error response with this id and code whose message has these words in it; `data` only where it is given."""

    id: Json
    code: int
    words: str = ""
    data: Json = attrs.field(default=..., kw_only=True)

    def check(self, message: Json) -> None:
        assert message.keys() == {"jsonrpc", "id", "error"}, message
        assert message["jsonrpc"] == "2.0"
        assert_same(message["id"], self.id)
        assert message["error"]["code"] == self.code, message
        assert isinstance(message["error"]["message"], str)
        assert self.words in message["error"]["message"], message
        if self.data is not ...:
            assert_same(message["error"]["data"], self.data)


@attrs.frozen
class Handed:
    """An event of this type for the request with this id, whose attributes have these values."""

    type: type[Work]
    id: Json
    attributes: Mapping[str, Json]

    def check(self, event: Event) -> None:
        assert isinstance(event, self.type), event
        assert_same(event.call.id, self.id)
        for name, value in self.attributes.items():
            assert getattr(event, name) == value, event


@attrs.frozen
class Withdrawn:
    """The application is told that the call with this id is cancelled."""

    id: Json
    reason: str = ""

    def check(self, event: Event) -> None:
        assert isinstance(event, CallCancelled), event
        assert_same(event.call.id, self.id)
        assert event.reason == self.reason


@attrs.frozen
class Remarked:
    """A remark for the log, of this level and with these words in it."""

    level: Level
    words: str = ""

    def check(self, event: Event) -> None:
        assert isinstance(event, Remark), event
        assert event.level is self.level
        assert self.words in event.text


def failure(id_: Json, code: int, words: str = "", *, data: Json = ...) -> Failure:
    """This error."""
    return Failure(id_, code, words, data=data)


def handed(type_: type[Work], id_: Json, **attributes: Json) -> Handed:
    """The application is handed this call."""
    return Handed(type_, id_, attributes)


def assert_same(actual: Json, expected: Json) -> None:
    """Equal as JSON, so that 1, 1.0, true and "1" all differ, and so do absent and null; members have no order."""
    assert json.dumps(actual, sort_keys=True) == json.dumps(expected, sort_keys=True)


# --- the judge ------------------------------------------------------------------------------------------------------


class Judge:
    """Holds every message out against the schema of the revision that it belongs to."""

    def __init__(self) -> None:
        self._legacy = "2025-11-25"
        self._asked: dict[str, deque[tuple[str, str]]] = defaultdict(deque)  # id as JSON → (revision, method), by age
        self._tokens: dict[str, str] = {}  # progress token as JSON → revision

    def saw(self, sent: Json) -> None:
        """Remember what the client asked."""
        match sent:
            case [*entries]:
                for entry in entries:
                    self.saw(entry)
            case {"id": id_, "method": str(method)}:
                params = sent.get("params")
                asked = params.get("_meta") if isinstance(params, dict) else None
                asked = asked if isinstance(asked, dict) else {}
                revision = "2026-07-28" if VERSION in asked else self._legacy
                self._asked[json.dumps(id_)].append((revision, method))
                self._tokens[json.dumps(asked.get("progressToken"))] = revision
            case {"method": "notifications/cancelled", "params": {"requestId": id_}}:
                self._asked[json.dumps(id_)].clear()

    def judge(self, message: Json) -> None:
        """One message out, or a batch's array of them."""
        if isinstance(message, list):
            for entry in message:
                self.judge(entry)
            return
        revision, method = self._context(message)
        if method == "initialize" and "result" in message:
            revision = self._legacy = message["result"]["protocolVersion"]
        schema_oracle.check(revision, method, message)

    def _context(self, message: Json) -> tuple[str, str | None]:
        params = message.get("params", {})
        if "progressToken" in params:
            return self._tokens[json.dumps(params["progressToken"])], None
        if SUBSCRIPTION_ID in params.get("_meta", {}):
            return "2026-07-28", None
        asked = self._asked[json.dumps(message.get("id"))]
        if not asked:
            return self._legacy, None
        return asked.pop() if "error" in message else asked.popleft()  # an id in flight is refused to the later one


# --- the playbook ---------------------------------------------------------------------------------------------------


class Playbook:
    """One conversation. `answer` and `fail` end the call's task too; `connection` and `pump` allow finer steps."""

    def __init__(self, server: Server, **limits: Any) -> None:
        self.connection = Connection(server, **limits)
        self.calls: dict[Json, Call] = {}  # by wire id: the last call that was handed over
        self._lines: deque[Json] = deque()
        self._events: deque[Event] = deque()
        self._judge = Judge()

    def __rshift__(self, sent: Json) -> Playbook:
        """The client sends a message (or a raw line, as bytes), or closes."""
        self.assert_finished()
        if isinstance(sent, bytes):
            self.connection.receive_data(sent)
        elif sent is EOF:
            self.connection.receive_data(b"")
        else:
            self._judge.saw(sent)
            self.connection.receive_data(json.dumps(sent).encode() + b"\n")
        return self.pump()

    def __lshift__(self, expected: Json) -> Playbook:
        """The next event, or the next line out, is this."""
        if isinstance(expected, Handed | Withdrawn | Remarked):
            assert self._events, f"no event where {expected} should be"
            expected.check(self._events.popleft())
        elif isinstance(expected, Failure):
            expected.check(self.line())
        else:
            assert_same(self.line(), expected)
        return self

    def line(self) -> Json:
        """Claim the next line out, to look at it more closely."""
        assert self._lines, "nothing came out"
        return self._lines.popleft()

    def result(self, id_: Json) -> Json:
        """Claim the next line out, a success for this id, and look at its result."""
        message = self.line()
        assert message.keys() == {"jsonrpc", "id", "result"}, message
        assert_same(message["id"], id_)
        return message["result"]

    def everything(self) -> list[Json]:
        """Claim all lines out and all events, whatever they are."""
        lines = list(self._lines)
        self._lines.clear()
        self._events.clear()
        return lines

    def answer(self, id_: Json, result: Result) -> Playbook:
        """The application answers the call and its task ends."""
        self.connection.answer(self.calls[id_], result)
        return self.finish(id_)

    def fail(self, id_: Json, error: Fault | ResourceNotFound) -> Playbook:
        """The application fails the call and its task ends."""
        self.connection.fail(self.calls[id_], error)
        return self.finish(id_)

    def progress(self, id_: Json, progress: float, total: float | None = None, message: str | None = None) -> Playbook:
        """The application reports progress of the call."""
        self.connection.progress(self.calls[id_], progress, total, message)
        return self.pump()

    def task_changed(self, id_: Json, task: Task) -> Playbook:
        """The application tells the subscription of this id what became of a task."""
        self.connection.task_changed(self.calls[id_], task)
        return self.pump()

    def finish(self, id_: Json) -> Playbook:
        """The task that ran the call is gone."""
        self.connection.finished(self.calls[id_])
        return self.pump()

    def offer(self, server: Server) -> Playbook:
        """The application offers something else from now on."""
        self.connection.offer(server)
        return self.pump()

    def close(self) -> Playbook:
        """We end the conversation."""
        self.connection.close()
        return self.pump()

    def pump(self) -> Playbook:
        """Take up what the connection has for us, as a session does after each step."""
        while (event := self.connection.next_event()) is not None:
            self._events.append(event)
            if not isinstance(event, CallCancelled | Remark):
                self.calls[event.call.id] = event.call
        data = self.connection.data_to_send()
        assert not data or data.endswith(b"\n")
        assert data.isascii()
        for message in map(json.loads, data.splitlines()):
            self._judge.judge(message)
            self._lines.append(message)
        return self

    def assert_finished(self) -> None:
        """Nothing has come out or was handed over that nobody wrote down."""
        assert not self._lines, f"unclaimed lines: {list(self._lines)}"
        assert not self._events, f"unclaimed events: {list(self._events)}"


@contextmanager
def playbook(server: Server, **limits: Any) -> Iterator[Playbook]:
    """A playbook that must be finished at the end."""
    play = Playbook(server, **limits)
    yield play
    play.assert_finished()
