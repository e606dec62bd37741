"""A second, simpler model of the server, made from the specification and sharing no code with it.

From the bytes of a whole conversation and the plan of the application it tells every message that must go out, in
order, with its exact error code, and every event that the application must see.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs

from tests.fuzz import reference_json
from tests.fuzz.application import FAULT, Act, Limits
from tests.fuzz.laws import Sketch
from tests.fuzz.oracle_params import OVERLOADED, Refused, judge, read_id, revision_of

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"

Id = str | int


@attrs.define(eq=False)
class Array:
    """The answer to a batch as it fills; `ids` are taken until it goes out."""

    replies: list[Sketch] = attrs.field(factory=list)
    ids: list[Id] = attrs.field(factory=list)
    awaited: int = 0
    whole: bool = False


@attrs.define(eq=False)
class Entry:
    """One call."""

    id: Id
    event: str
    revision: str
    token: Id | None
    size: int
    array: Array | None
    act: Act | None = None


class Oracle:
    """`said` and `happened` fill as `hear` is told the conversation."""

    def __init__(self, plan: Sequence[Act], limits: Limits) -> None:
        self._acts = itertools.cycle(plan)
        self._limits = limits
        self._legacy = LEGACY[-1]
        self._taken: dict[Id, Entry | Array | None] = {}  # None: a listen
        self._listens: list[Id] = []
        self._waiting: deque[Entry] = deque()
        self._running: list[Entry] = []
        self._withdrawn = 0  # running calls cancelled by this line: the application hears of it when the line is read
        self.said: list[Sketch] = []
        self.happened: list[Sketch] = []

    def hear(self, stream: bytes) -> None:
        """A whole conversation, up to the end of every call."""
        for number, line in enumerate(stream.split(b"\n")):
            self._line(line, is_first=number == 0)
            self._start()
        for id_ in self._listens:
            self.said += [("note", "notifications/cancelled", id_), ("result", id_)]
        while self._running:
            entry = self._running.pop(0)
            if entry.act is Act.HOLD:
                self._settle(entry, ("result", entry.id))
            self._start()

    # --- lines --------------------------------------------------------------------------------------------------------

    def _line(self, line: bytes, *, is_first: bool) -> None:
        if len(line) > self._limits.max_message_bytes:
            self.said.append(("error", None, -32700))
            return
        if is_first:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip(b" \t\r")
        if not line:
            return
        try:
            value = reference_json.read(line)
        except ValueError:
            self.said.append(("error", None, -32700))
            return
        if isinstance(value, list):
            self._batch(value, len(line))
        else:
            self._message(value, len(line), None)

    def _batch(self, entries: list[Any], size: int) -> None:
        if self._legacy != "2025-03-26" or not 1 <= len(entries) <= 1000:
            self.said.append(("error", None, -32600))
            return
        array = Array()
        for entry in entries:
            self._message(entry, size // len(entries), array)
        array.whole = True
        self._maybe_send(array)

    def _message(self, value: Any, size: int, array: Array | None) -> None:
        if not isinstance(value, dict):
            self._say(("error", None, -32600), array)
            return
        id_, method = read_id(value.get("id")), value.get("method")
        if not isinstance(method, str):
            if "method" not in value and ("result" in value or "error" in value):
                self.happened.append(("Remark",))
            else:
                self._say(("error", id_, -32600), array)
        elif "id" not in value:
            self._notification(method, value.get("params"))
        elif id_ is None or value.get("jsonrpc") != "2.0" or "result" in value or "error" in value:
            self._say(("error", id_, -32600), array)
        elif not isinstance(value.get("params"), (dict, type(None))):
            self._say(("error", id_, -32602), array)
        else:
            self._request(id_, method, value.get("params") or {}, size, array)

    def _notification(self, method: str, params: Any) -> None:
        if method == "notifications/initialized":
            return
        if method != "notifications/cancelled":
            self.happened.append(("Remark",))
            return
        id_ = read_id(params.get("requestId")) if isinstance(params, dict) else None
        if id_ is None or id_ not in self._taken or isinstance(self._taken[id_], Array):
            self.happened.append(("Remark",))
            return
        holder = self._taken.pop(id_)
        if not isinstance(holder, Entry):
            self._listens.remove(id_)
            return
        if holder in self._running:
            self._running.remove(holder)
            self._withdrawn += 1
            self.happened.append(("CallCancelled", id_))
        else:
            self._waiting.remove(holder)
        self._no_longer_awaited(holder)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _request(self, id_: Id, method: str, params: dict[str, Any], size: int, array: Array | None) -> None:
        if id_ in self._taken:
            self._say(("error", id_, -32600), array)
            return
        try:
            revision = revision_of(method, params, self._legacy)
            if array is not None and (revision == MODERN or method == "initialize"):
                raise Refused(-32600)
            event = judge(method, params, is_modern=revision == MODERN)
            if event is not None:
                self._accept(Entry(id_, event, revision, _token(params), size, array))
                return
            if method == "subscriptions/listen":
                self._listen(id_)
                return
        except Refused as refused:
            self._say(("error", id_, refused.code), array, id_)
            return
        if method == "initialize":
            wanted = params["protocolVersion"]
            self._legacy = wanted if wanted in LEGACY else LEGACY[-1]
        self._say(("result", id_), array, id_)

    def _listen(self, id_: Id) -> None:
        if len(self._listens) >= self._limits.max_listens:
            raise Refused(OVERLOADED)
        self._listens.append(id_)
        self._taken[id_] = None
        self.said.append(("note", "notifications/subscriptions/acknowledged", id_))

    def _accept(self, entry: Entry) -> None:
        limits, calls = self._limits, len(self._running) + self._withdrawn + len(self._waiting)
        held = sum(waiter.size for waiter in self._waiting)
        fits = held + entry.size <= limits.max_parked_bytes
        if calls >= limits.max_in_flight and (calls >= limits.max_in_flight + limits.max_parked or not fits):
            raise Refused(OVERLOADED)
        self._waiting.append(entry)
        self._taken[entry.id] = entry
        if entry.array is not None:
            entry.array.awaited += 1

    def _start(self) -> None:
        self._withdrawn = 0
        while self._waiting and len(self._running) < self._limits.max_in_flight:
            entry = self._waiting.popleft()
            self.happened.append((entry.event, entry.id))
            entry.act = next(self._acts)
            self._act(entry, entry.act)

    def _act(self, entry: Entry, act: Act) -> None:
        if act is Act.REPORT and entry.token is not None:
            self.said += [("note", "notifications/progress", entry.token, value) for value in (1, 2)]
        if act in (Act.HOLD, Act.LINGER):
            self._running.append(entry)
        if act is not Act.HOLD:
            not_found = -32602 if entry.revision == MODERN else -32002
            codes = {Act.FAIL: FAULT, Act.NOT_FOUND: not_found, Act.VANISH: -32603}
            self._settle(entry, ("error", entry.id, codes[act]) if act in codes else ("result", entry.id))

    # --- answers ------------------------------------------------------------------------------------------------------

    def _settle(self, entry: Entry, answer: Sketch) -> None:
        del self._taken[entry.id]
        self._say(answer, entry.array, entry.id)
        self._no_longer_awaited(entry)

    def _say(self, answer: Sketch, array: Array | None, id_: Id | None = None) -> None:
        if array is None:
            self.said.append(answer)
            return
        array.replies.append(answer)
        if id_ is not None and id_ not in self._taken:
            self._taken[id_] = array
            array.ids.append(id_)

    def _no_longer_awaited(self, entry: Entry) -> None:
        if entry.array is not None:
            entry.array.awaited -= 1
            self._maybe_send(entry.array)

    def _maybe_send(self, array: Array) -> None:
        if not array.whole or array.awaited:
            return
        for id_ in array.ids:
            del self._taken[id_]
        if array.replies:
            self.said.append(("array", tuple(array.replies)))


def _token(params: dict[str, Any]) -> Id | None:
    return read_id((params.get("_meta") or {}).get("progressToken"))
