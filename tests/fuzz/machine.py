"""A client and an application at once, doing anything in any order, while a ledger is kept of what may follow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import Fault, LocalProtocolError, ResourceNotFound
from openai_gateway_mcp.protocol.events import CallCancelled, Remark, Work
from openai_gateway_mcp.protocol.model import ExtensionResult
from tests.fuzz.application import FAULT, Opening, name_of
from tests.fuzz.census import CENSUS
from tests.fuzz.laws import Sketch, messages, read_out
from tests.fuzz.ledger import Asked, Batch, Id, Ledger
from tests.fuzz.offer import CHANGED, SERVER
from tests.fuzz.oracle_params import CAPABILITIES, VERSION

IDS = st.sampled_from([1, "1", 2, "2", "ünd", "😀", 10**30])
TOKENS = st.sampled_from([None, 1, "1", "ü"])
ERAS = st.sampled_from([{}, {VERSION: "2026-07-28", CAPABILITIES: {}}])
CUTS = st.sampled_from([1, 2, 3, 7, 10_000])
PICKS = st.sampled_from(range(6))
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "ToolCalled": ("tools/call", {"name": "chat", "arguments": {"prompt": "ü"}}),
    "ResourceRead": ("resources/read", {"uri": "openai://models"}),
    "PromptAsked": ("prompts/get", {"name": "ask", "arguments": {"question": "?"}}),
    "CompletionAsked": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": {"name": "model", "value": ""}},
    ),
    "ExtensionCalled": ("models/list", {}),
}
RESULT = ExtensionResult(value={})


class Conversations(RuleBasedStateMachine):
    """One conversation; `opening` makes the connection, so that a faulty one can be put in its place."""

    opening: Opening = Connection
    fuzzed: str | None = None  # the name under which the census counts it

    @initialize(
        max_in_flight=st.sampled_from([1, 2, 3]),
        max_parked=st.sampled_from([0, 1, 4]),
        version=st.sampled_from([None, "2025-03-26"]),
    )
    def open(self, max_in_flight: int, max_parked: int, version: str | None) -> None:
        limits = {"max_in_flight": max_in_flight, "max_parked": max_parked, "max_listens": 2, "max_message_bytes": 5000}
        self.connection = type(self).opening(SERVER, **limits)
        self.ledger = Ledger(max_in_flight=max_in_flight, max_parked=max_parked)
        self.has_batches = version is not None
        self.has_initialized = False
        self.is_at_eof = self.is_closed = False
        self.offered: str | None = None  # the list that differs from SERVER's at the moment
        self.said: list[Sketch] = []
        self.happened: list[Sketch] = []
        if version:
            self._send(_request("first", "initialize", {"protocolVersion": version}), 10_000)
            assert self._step() == [("result", "first")]

    # --- the client -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_listening)
    @rule(id_=IDS, kind=st.sampled_from(sorted(CALLS)), token=TOKENS, era=ERAS, cuts=CUTS)
    def call(self, id_: Id, kind: str, token: Id | None, era: dict[str, Any], cuts: int) -> None:
        refusal = self._refusal(id_)
        if refusal is None:
            self.ledger.waiting.append(Asked(id_, token))
        self._send(_call(id_, kind, token, era), cuts)
        assert self._step() == ([] if refusal is None else [("error", id_, refusal)])

    @precondition(lambda self: self.is_listening)
    @rule(
        id_=IDS,
        method=st.sampled_from(
            [("ping", None), ("tools/list", None), ("no/such", -32601), ("server/discover", -32602)]
        ),
        cuts=CUTS,
    )
    def ask(self, id_: Id, method: tuple[str, int | None], cuts: int) -> None:
        """What the core answers by itself, however full the slots are."""
        name, code = method
        code = -32600 if self.ledger.is_taken(id_) else code
        self._send(_request(id_, name, {}), cuts)
        assert self._step() == [("error", id_, code) if code else ("result", id_)]

    @precondition(lambda self: self.is_listening)
    @rule(era=ERAS)
    def list_what_is_offered(self, era: dict[str, Any]) -> None:
        server = CHANGED[self.offered] if self.offered else SERVER
        for kind, member in (("tools", "name"), ("prompts", "description"), ("resources", "uri")):
            self._send(_request("lists", f"{kind}/list", {"_meta": era}), 10_000)
            assert self._step() == [("result", "lists")]
            shown = messages(self.sent)[-1]["result"][kind]
            assert [item[member] for item in shown] == [getattr(item, member) for item in getattr(server, kind)]

    @precondition(lambda self: self.is_listening)
    @rule(line=st.sampled_from([(b"{", -32700), (b"\xff", -32700), (b"x" * 5001, -32700), (b"7", -32600), (b"", None)]))
    def babble(self, line: tuple[bytes, int | None]) -> None:
        self._receive(line[0] + b"\n")
        assert self._step() == ([("error", None, line[1])] if line[1] else [])

    @precondition(lambda self: self.is_listening)
    @rule(
        method=st.sampled_from(["tools/call", "ping", "no/such", "notifications/progress", "notifications/initialized"])
    )
    def notify(self, method: str) -> None:
        """A notification, also one that should have been a request, is never answered."""
        self.has_initialized |= method == "notifications/initialized"
        self._send({"jsonrpc": "2.0", "method": method, "params": {"name": "chat"}}, 10_000)
        assert self._step() == []

    @precondition(lambda self: self.is_listening)
    @rule(id_=IDS, cuts=CUTS)
    def cancel(self, id_: Id, cuts: int) -> None:
        told = self.ledger.cancel(id_)
        self._send(_cancellation(id_), cuts)
        assert self._step(cancelled=told) == []

    @precondition(lambda self: self.is_listening and self.has_batches)
    @rule(
        entries=st.lists(
            st.one_of(
                st.tuples(st.sampled_from(["call", "call", "ping"]), IDS, TOKENS),
                st.tuples(st.just("note"), st.none(), st.none()),
                st.tuples(st.just("junk"), st.none(), st.none()),
            ),
            min_size=1,
            max_size=5,
        ),
        cuts=CUTS,
    )
    def batch(self, entries: list[tuple[str, Any, Any]], cuts: int) -> None:
        batch = Batch()
        self.ledger.batches.append(batch)
        self._send([self._entry(batch, *entry) for entry in entries], cuts)
        assert self._step() == []

    def _entry(self, batch: Batch, kind: str, id_: Id, token: Id | None) -> Any:
        if kind == "note":
            return {"jsonrpc": "2.0", "method": "ping"}
        if kind == "junk":
            batch.expected.append(("error", None, -32600))
            return 7
        refusal = self._refusal(id_) if kind == "call" else (-32600 if self.ledger.is_taken(id_) else None)
        if refusal is not None:
            batch.expected.append(("error", id_, refusal))
        elif kind == "ping":
            batch.expected.append(("result", id_, None))
        else:
            asked = Asked(id_, token, batch)
            self.ledger.waiting.append(asked)
            batch.calls.append(asked)
        if refusal != -32600 and (kind == "ping" or refusal is not None):
            batch.ids.add(id_)
        return _request(id_, "ping", {}) if kind == "ping" else _call(id_, "ToolCalled", token, {})

    @precondition(lambda self: self.is_listening)
    @rule(id_=IDS, wants=st.sets(st.sampled_from(sorted(CHANGED))))
    def listen(self, id_: Id, wants: set[str]) -> None:
        meta = {VERSION: "2026-07-28", CAPABILITIES: {}}
        params = {"_meta": meta, "notifications": dict.fromkeys(sorted(wants), True)}
        self._send(_request(id_, "subscriptions/listen", params), 10_000)
        if self.ledger.is_taken(id_):
            expected: list[Sketch] = [("error", id_, -32600)]
        elif len(self.ledger.listens) == 2:
            expected = [("error", id_, 1008)]
        else:
            self.ledger.listens[id_] = wants
            expected = [("note", "notifications/subscriptions/acknowledged", id_)]
        assert self._step() == expected

    @precondition(lambda self: self.is_listening and len(self.said) > 8)
    @rule(cut_off=st.booleans())
    def end(self, cut_off: bool) -> None:
        if cut_off:
            self._receive(b'{"jsonrpc":"2.0",')
        self.is_at_eof = True
        self._receive(b"")
        farewell = [*([("error", None, -32700)] if cut_off else []), *self._farewell()]
        assert self._step() == farewell

    def _farewell(self) -> list[Sketch]:
        listens = list(self.ledger.listens)
        self.ledger.listens.clear()
        return [sketch for id_ in listens for sketch in (("note", "notifications/cancelled", id_), ("result", id_))]

    # --- the application --------------------------------------------------------------------------------------------

    @precondition(lambda self: any(call.is_open for call in self.ledger.running))
    @rule(pick=PICKS, outcome=st.sampled_from(["result", "fault", "not found"]))
    def answer(self, pick: int, outcome: str) -> None:
        self._answer(self._pick([call for call in self.ledger.running if call.is_open], pick), outcome)

    def _answer(self, call: Asked, outcome: str) -> None:
        assert call.work is not None
        if outcome == "result":
            self.connection.answer(call.work, RESULT)
            expected: tuple[str, Id, int | None] = ("result", call.id, None)
        elif outcome == "fault":
            self.connection.fail(call.work, Fault(FAULT, "no"))
            expected = ("error", call.id, FAULT)
        else:
            self.connection.fail(call.work, ResourceNotFound("openai://x"))
            expected = ("error", call.id, -32602 if call.work.era.value == "modern" else -32002)
        self._note_answer(call, expected)

    def _note_answer(self, call: Asked, expected: tuple[str, Id, int | None]) -> None:
        call.is_answered = True
        if call.batch is not None:
            call.batch.expected.append(expected)
            call.batch.ids.add(call.id)
            assert self._step() == []
        else:
            assert self._step() == [expected if expected[2] else expected[:2]]

    @precondition(lambda self: any(not call.is_open for call in self.ledger.running))
    @rule(pick=PICKS)
    def answer_what_is_over(self, pick: int) -> None:
        """After a cancellation nothing happens; after an answer it is our own mistake. Nothing goes out for either."""
        call = self._pick([call for call in self.ledger.running if not call.is_open], pick)
        assert call.work is not None
        if call.is_cancelled:
            self.connection.answer(call.work, RESULT)
            self.connection.fail(call.work, Fault(FAULT, "no"))
        else:
            with pytest.raises(LocalProtocolError):
                self.connection.answer(call.work, RESULT)
        self.connection.progress(call.work, 1e6)
        assert self._step() == []

    @precondition(lambda self: self.ledger.running)
    @rule(pick=PICKS, value=st.sampled_from([1, 2, 2.5, 3, 10**400]))
    def progress(self, pick: int, value: float) -> None:
        call = self._pick(self.ledger.running, pick)
        assert call.work is not None
        self.connection.progress(call.work, value, message="ünd")
        is_told = call.is_open and call.token is not None and value > call.reported
        if is_told:
            call.reported = value
        assert self._step() == ([("note", "notifications/progress", call.token, value)] if is_told else [])

    @precondition(lambda self: self.ledger.running)
    @rule(pick=PICKS)
    def finish(self, pick: int) -> None:
        self._finish(self._pick(self.ledger.running, pick))

    def _finish(self, call: Asked) -> None:
        assert call.work is not None
        self.connection.finished(call.work)
        self.ledger.running.remove(call)
        if call.is_open:
            self._note_answer(call, ("error", call.id, -32603))
        else:
            assert self._step() == []
        with pytest.raises(LocalProtocolError):
            self.connection.finished(call.work)

    @precondition(lambda self: not self.is_closed)
    @rule(change=st.sampled_from(sorted(CHANGED)))
    def offer(self, change: str) -> None:
        """The server changes one list, or changes it back; whoever listens for it is told."""
        told = self.offered or change
        self.offered = None if self.offered else change
        self.connection.offer(CHANGED[change] if self.offered else SERVER)
        method = f"notifications/{told.removesuffix('ListChanged')}/list_changed"
        listeners = [id_ for id_, wants in self.ledger.listens.items() if told in wants]
        assert self._step() == [
            ("note", method, id_) for id_ in [*([None] if self.has_initialized else []), *listeners]
        ]

    @precondition(lambda self: self.is_closed or len(self.said) > 16)
    @rule()
    def close(self) -> None:
        """Our own end: listens get their farewell, and every call is withdrawn, the parked ones and batches too.
        What the client still says is not heard; closing once more does nothing."""
        self.is_closed = True
        self.connection.close()
        for call in self.ledger.running:
            call.is_cancelled |= call.is_open
        self.ledger.waiting.clear()
        self.ledger.batches.clear()
        if not self.is_at_eof:
            self._send(_request("late", "ping", {}), 10_000)
        assert self._step() == self._farewell()

    @property
    def is_listening(self) -> bool:
        return not (self.is_closed or self.is_at_eof)

    # --- the wire ---------------------------------------------------------------------------------------------------

    def _send(self, value: Any, cuts: int) -> None:
        line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        for start in range(0, len(line), cuts):
            self._receive(line[start : start + cuts])

    def _receive(self, data: bytes) -> None:
        self.connection.receive_data(data)

    def _step(self, *, cancelled: Asked | None = None) -> list[Sketch]:
        """Take all events and all bytes. Calls must start in order, a cancellation come as told; returns what was said,
        batches' arrays left out, since they are checked here."""
        withdrawn = []
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, CallCancelled):
                withdrawn.append(event.call)
            elif not isinstance(event, Remark):
                self._start(event)
            self.happened.append((name_of(event),))
        assert withdrawn == ([] if cancelled is None else [cancelled.work])
        self.sent = self.connection.data_to_send()
        said = read_out(self.sent)
        self.said += said
        return self.ledger.hear_arrays(said)

    def _start(self, event: Work) -> None:
        assert self.ledger.waiting, "a call started that does not wait"
        call = self.ledger.waiting.popleft()
        assert (event.call.id, type(event.call.id)) == (call.id, type(call.id))
        assert event.call.wants_progress == (call.token is not None)
        call.work = event.call
        self.ledger.running.append(call)

    def _pick(self, calls: list[Asked], pick: int) -> Asked:
        return calls[pick % len(calls)]

    def _refusal(self, id_: Id) -> int | None:
        if self.ledger.is_taken(id_):
            return -32600
        return None if self.ledger.has_room() else 1008

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def no_more_calls_run_than_may(self) -> None:
        ledger = self.ledger
        assert len(ledger.running) <= ledger.max_in_flight
        assert len(ledger.running) == ledger.max_in_flight or not ledger.waiting
        assert self.connection.calls_in_flight == len(ledger.running) + len(ledger.waiting)

    def teardown(self) -> None:
        """Whatever happened: when every task has ended, every call that was not cancelled has its one answer."""
        while self.ledger.running:
            self._finish(self.ledger.running[0])
        assert not self.ledger.waiting
        assert not self.ledger.batches
        assert self.connection.calls_in_flight == 0
        if self.fuzzed:
            CENSUS.count(self.fuzzed, self.said, self.happened)


def _request(id_: Id, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def _call(id_: Id, kind: str, token: Id | None, meta: dict[str, Any]) -> dict[str, Any]:
    method, params = CALLS[kind]
    meta = meta if token is None else {**meta, "progressToken": token}
    return _request(id_, method, {**params, "_meta": meta} if meta else params)


def _cancellation(id_: Id) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
