"""The oracle: it is told what went to a server and what came back, and says which rules were not kept.

It knows a server from outside alone, so that any can be judged; it shares no code with ours. Where the standards leave
something open, or where an answer and a cancellation may have crossed, it says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs

from openai_gateway_mcp.fuzz.reading import Id, Kind, Reading, is_id, read
from openai_gateway_mcp.fuzz.rules import BY_ID, Deviation
from openai_gateway_mcp.fuzz.shapes import LEGACY, MODERN, dress_misfits, kind_of, result_misfits

Json = Any

VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
NO_METHOD, BAD_PARAMS, NO_VERSION = -32601, -32602, -32022

_BATCHES: Final = frozenset({"", "2024-11-05", "2025-03-26"})
"""One revision says that it has batches; the one before has all of JSON-RPC by reference; "" is none agreed yet."""

_LISTS: Final = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
_SHARED: Final = (*_LISTS, "tools/call", "resources/read", "prompts/get", "completion/complete")
_OF_LEGACY: Final = ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")
KNOWN: Final = frozenset({*_SHARED, *_OF_LEGACY, "server/discover", "subscriptions/listen"})
"""Methods that a server may have. Beyond them are extensions, and names that nobody has."""


@attrs.define(eq=False)
class Asked:
    """A request that was sent. `revision` is "" where the server has to say which one it takes."""

    id: Id
    method: str
    params: dict[str, Json]
    revision: str
    token: Id | None = None
    told: float | None = None
    is_withdrawn: bool = False
    waits: bool = False
    """In a batch: its answer waits for those of others, and a cancellation of what is completed may be ignored."""
    is_over: bool = False
    """The server has answered something that was said after the withdrawal."""
    answers: int = 0

    @property
    def is_modern(self) -> bool:
        return self.revision in MODERN


@attrs.define(eq=False)
class Judge:
    """`deviations` fill as it is told of a conversation."""

    deviations: list[Deviation] = attrs.field(factory=list)
    _revision: str = ""  # that of `initialize`, once it is agreed
    _asked: dict[tuple[type, Id], list[Asked]] = attrs.field(factory=dict)
    _loose: int = 0  # answers without an id that may still come: one for each line that could not be read
    _speaks_modern: bool = False
    _is_in_doubt: bool = False  # something was said that can be read in two ways: any answer may be one to it

    def sent(self, line: bytes) -> None:
        """A whole line that went to the server."""
        self._note(read(line))

    def heard(self, line: bytes) -> None:
        """A whole line that came back, without its newline."""
        try:
            value = json.loads(line.decode())
        except (ValueError, RecursionError):
            self._find("wire", "no JSON", f"it said {_short(line)}")
            return
        entries = value if isinstance(value, list) and self._revision in _BATCHES else [value]
        for entry in entries:
            if isinstance(entry, dict):
                self._message(entry)
            else:
                self._find("wire", "no message", f"it said {_short(line)}")

    def caught_up(self) -> None:
        """The server has answered the last thing that was said: it has read all the rest."""
        for asked in self._all():
            asked.is_over |= asked.is_withdrawn and bool(asked.method) and not asked.waits

    def refused(self, line: bytes) -> None:
        """A line was turned away below the protocol: its requests need no answer."""
        reading = read(line)
        for one in (reading, *reading.entries):
            if one.id is not None:
                for asked in self._asked.get(_key(one.id), ()):
                    asked.is_withdrawn = True

    def is_answered(self, id_: Id) -> bool:
        """Whether each request of this id has had an answer, or needs none any more."""
        return all(asked.answers or asked.is_withdrawn for asked in self._asked.get(_key(id_), ()))

    def owes(self) -> bool:
        """Whether answers are still to come that would be missed."""
        return not self._is_in_doubt and any(self._unanswered())

    def settled(self) -> None:
        """As much time has passed as any answer may take."""
        for asked in self._unanswered() if self.owes() else ():
            self._find("answered", _named(asked.method), f"{asked.method} (id {json.dumps(asked.id)}) was not answered")

    def stuck(self) -> None:
        """The server does not read what it is told."""
        self._find("goes-on", "stuck", "the server reads no more")

    def ended(self, status: int | None) -> None:
        """The server ended, and nobody had closed its input."""
        self._find("goes-on", "ended", f"the server ended with status {status}, its input still open")

    def outlived(self) -> None:
        """The server's input was closed, and it did not end in the time it had."""
        self._find("ends", "outlived", "the server went on after the end of its input")

    def _unanswered(self) -> Iterator[Asked]:
        for asked in self._all():
            if not (asked.answers or asked.is_withdrawn or asked.method == "subscriptions/listen"):
                yield asked

    # --- what was sent ----------------------------------------------------------------------------------------------

    def _note(self, reading: Reading, *, waits: bool = False) -> None:
        match reading.kind:
            case Kind.REQUEST if reading.id is not None:
                asked = Asked(reading.id, reading.method, reading.params, self._revision_of(reading))
                asked.token = _token(reading.params)
                asked.waits = waits
                several = self._asked.setdefault(_key(reading.id), [])
                # An id in flight is the client's fault: what becomes of the second is the server's to choose.
                asked.is_withdrawn = any(not one.answers for one in several)
                several.append(asked)
            case Kind.NOTIFICATION if reading.method == "notifications/cancelled":
                self._withdraw(reading.params.get("requestId"))
            case Kind.BATCH:
                self._loose += 1 + len(reading.entries)
                self._is_in_doubt |= self._revision != "2025-03-26"
                for entry in reading.entries:
                    self._note(entry, waits=True)
            case Kind.INVALID:
                self._loose += 1
                if reading.id is not None:  # it may be answered by its id, or be served by a lenient server
                    self._asked.setdefault(_key(reading.id), []).append(
                        Asked(reading.id, "", {}, "", token=_token(reading.params), is_withdrawn=True)
                    )
            case Kind.UNREADABLE | Kind.BLANK:
                self._loose += 1
            case Kind.OPEN:
                self._loose += 1
                self._is_in_doubt = True
            case _:
                pass

    def _revision_of(self, reading: Reading) -> str:
        meta = reading.params.get("_meta")
        if not isinstance(meta, dict) or VERSION not in meta:
            return self._revision
        said = meta[VERSION]
        if not isinstance(said, str) or not said.isascii() or not said.isprintable():
            return (
                ""  # a version that nobody knows, or wrong params, or what no header can say: it is the server's choice
            )
        return said if said in MODERN else "unknown"

    def _withdraw(self, id_: Json) -> None:
        if is_id(id_):
            for asked in self._asked.get(_key(id_), ()):
                asked.is_withdrawn |= asked.method != "initialize"

    def _all(self) -> Iterator[Asked]:
        for several in self._asked.values():
            yield from several

    # --- what came back -----------------------------------------------------------------------------------------------

    def _message(self, message: dict[str, Json]) -> None:
        if message.get("jsonrpc") != "2.0":
            self._find("envelope", "jsonrpc", f"no jsonrpc 2.0 in {_short(message)}")
        elif "method" in message:
            self._unasked(message)
        elif ("result" in message) == ("error" in message):
            self._find("envelope", "result or error", f"neither, or both, in {_short(message)}")
        else:
            self._answer(message)

    def _unasked(self, message: dict[str, Json]) -> None:
        method, params = message["method"], message.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            self._find("envelope", "method", f"no method, or no params, in {_short(message)}")
        elif "id" in message:
            if not is_id(message["id"]):
                self._find("envelope", "id", f"an id that is none in {_short(message)}")
            elif self._revision not in LEGACY:
                self._find("no-requests", method, f"it asked: {_short(message)}")
        elif method == "notifications/progress":
            self._progress(params)

    def _progress(self, params: dict[str, Json]) -> None:
        token, value = params.get("progressToken"), params.get("progress")
        asked = next(
            (one for one in self._all() if one.token == token and type(one.token) is type(token) and not one.answers),
            None,
        )
        if asked is None and self._is_in_doubt:
            return  # it may be of a request that we could not read, and the server could
        if asked is None:
            self._find("progress-asked", "token", f"progress for {_short(params)}, which no running call asked for")
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            self._find("envelope", "progress", f"no number: {_short(params)}")
        elif asked.told is not None and value <= asked.told:
            self._find("progress-increases", _named(asked.method), f"{value} came after {asked.told}")
        else:
            asked.told = value

    def _answer(self, message: dict[str, Json]) -> None:
        id_ = message.get("id")
        if "error" in message:
            self._error_shape(message["error"])
        elif not isinstance(message["result"], dict):
            self._find("envelope", "result", f"a result that is no object: {_short(message)}")
            return
        if id_ is None and "error" in message:
            if not self._loose:
                self._find("silence", "error without an id", f"nothing called for {_short(message)}")
            self._loose -= bool(self._loose)
            return
        if isinstance(id_, (str, int)) and is_id(id_):
            self._answer_to(id_, message)
        else:
            self._find("envelope", "id", f"an id that is {kind_of(id_)} in {_short(message)}")

    def _error_shape(self, error: Json) -> None:
        is_sound = isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)
        if not is_sound:
            self._find("envelope", "error", f"an error without its code or message: {_short(error)}")

    def _answer_to(self, id_: Id, message: dict[str, Json]) -> None:
        several = self._asked.get(_key(id_), [])
        asked = next((one for one in several if not one.answers), several[-1] if several else None)
        if asked is None:
            if not self._is_in_doubt:
                self._find("asked", "unknown id", f"nothing was asked by the id of {_short(message)}")
            return
        asked.answers += 1
        if asked.is_over and asked.answers == 1 and not self._is_in_doubt:
            rule = "withdrawn" if asked.is_modern else "withdrawn-legacy"
            self._find(
                rule, _named(asked.method), f"{asked.method} was cancelled, and answered later: {_short(message)}"
            )
        elif asked.answers > 1 and not self._is_in_doubt:
            self._find("once", _named(asked.method), f"a second answer: {_short(message)}")
        elif asked.method:
            self._content(asked, message)

    def _content(self, asked: Asked, message: dict[str, Json]) -> None:
        if "error" in message:
            code = message["error"].get("code") if isinstance(message["error"], dict) else None
            self._refusal(asked, code)
        else:
            self._result(asked, message["result"])

    def _refusal(self, asked: Asked, code: Json) -> None:
        if asked.method == "ping" and asked.revision in LEGACY and not asked.is_withdrawn:
            self._find("ping", "error", f"a ping was answered with the error {code}")
        elif asked.revision == "unknown" and asked.method in KNOWN and code != NO_VERSION and self._speaks_modern:
            self._find(
                "no-version", _named(asked.method), f"{asked.method} of an unknown version was answered with {code}"
            )
        elif asked.revision in LEGACY and "/" in asked.method and asked.method not in KNOWN and code != NO_METHOD:
            self._find("no-method", "code", f"the unknown method {asked.method!r} was answered with {code}")

    def _result(self, asked: Asked, result: dict[str, Json]) -> None:
        if asked.method == "initialize":
            self._agree(result)
        if asked.method == "server/discover":
            versions = result.get("supportedVersions")
            self._speaks_modern |= isinstance(versions, list) and any(one in MODERN for one in versions)
        if asked.is_modern and self._speaks_modern:
            if not isinstance(asked.params["_meta"].get(CAPABILITIES), dict):
                self._find("meta", _named(asked.method), f"{asked.method} was served without the client's capabilities")
            for misfit in dress_misfits(asked.method, result):
                self._find("dress", f"{_named(asked.method)}: {misfit}", f"{asked.method}: {misfit}")
        elif asked.revision == "unknown" and self._speaks_modern:
            self._find("no-version", _named(asked.method), f"{asked.method} of an unknown version was served")
        revision = asked.revision if asked.revision in (*LEGACY, *MODERN) else self._revision
        if revision:
            for misfit in result_misfits(asked.method, revision, result):
                self._find("result", f"{asked.method}: {misfit}", f"{asked.method} of {revision}: {misfit}")

    def _agree(self, result: dict[str, Json]) -> None:
        version = result.get("protocolVersion")
        if version in LEGACY:  # no other is agreed upon in this way
            self._revision = version

    def _find(self, rule: str, about: str, text: str) -> None:
        """`about` tells findings apart, and so has neither a place in a list nor a name that nobody knows."""
        self.deviations.append(Deviation(BY_ID[rule], re.sub(r"\[\d+\]", "[]", about), text))


def _named(method: str) -> str:
    return method if method in KNOWN else "another method"


def _key(id_: Id) -> tuple[type, Id]:
    return type(id_), id_


def _token(params: dict[str, Json]) -> Id | None:
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if is_id(token) else None


def _short(value: Json) -> str:
    text = repr(value) if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
