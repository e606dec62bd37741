"""The rules that a server is held to, a row a rule: how strict the specification is, and where it says so."""

from __future__ import annotations

import enum
from typing import Final

import attrs

_SPEC: Final = "https://modelcontextprotocol.io/specification/2026-07-28"
_LEGACY: Final = "https://modelcontextprotocol.io/specification/2025-11-25"
_JSONRPC: Final = "https://www.jsonrpc.org/specification"


class Level(enum.Enum):
    MUST = "MUST"
    SHOULD = "SHOULD"
    ROBUST = "robustness"
    """No specification says it; a server that does otherwise is easily brought down, or lets its client wait."""


@attrs.frozen
class Rule:
    id: str
    level: Level
    says: str
    reference: str


RULES: Final = (
    Rule("wire", Level.MUST, "whatever stands on stdout is a message", f"{_SPEC}/basic/transports/stdio"),
    Rule("envelope", Level.MUST, "a message has the members that JSON-RPC gives it, and no others", f"{_SPEC}/basic"),
    Rule("asked", Level.MUST, "an answer has the id of a request", f"{_SPEC}/basic#responses"),
    Rule("once", Level.MUST, "a request has one answer", f"{_JSONRPC}#response_object"),
    Rule("answered", Level.MUST, "a request is answered", f"{_JSONRPC}#response_object"),
    Rule("withdrawn", Level.MUST, "what was cancelled gets no answer any more", f"{_SPEC}/basic/transports/stdio"),
    Rule("withdrawn-legacy", Level.SHOULD, "what was cancelled gets no answer any more",
         f"{_LEGACY}/basic/utilities/cancellation"),
    Rule("silence", Level.MUST, "a notification is not answered", f"{_SPEC}/basic#notifications"),
    Rule("result", Level.MUST, "a result has the shape that its revision gives it", f"{_SPEC}/schema"),
    Rule("dress", Level.MUST, "a result of the modern era says its type, and how long it may be kept",
         f"{_SPEC}/basic#responses"),
    Rule("no-method", Level.MUST, "an unknown method is answered with -32601", f"{_JSONRPC}#error_object"),
    Rule("no-version", Level.MUST, "an unknown version is answered with -32022", f"{_SPEC}/basic/versioning"),
    Rule("meta", Level.MUST, "a modern request without its capabilities is refused", f"{_SPEC}/basic#meta"),
    Rule("progress-increases", Level.MUST, "progress increases", f"{_SPEC}/basic/patterns/progress"),
    Rule("progress-asked", Level.MUST, "progress is told of a call that runs and asked for it",
         f"{_SPEC}/basic/patterns/progress"),
    Rule("no-requests", Level.MUST, "a server of the modern era makes no requests", f"{_SPEC}/basic/transports/stdio"),
    Rule("ping", Level.MUST, "a ping is answered with an empty result", f"{_LEGACY}/basic/utilities/ping"),
    Rule("http-accepted", Level.MUST, "a notification that is taken is answered with 202 and nothing else",
         f"{_SPEC}/basic/transports/streamable-http"),
    Rule("http-media", Level.MUST, "a request is answered with JSON or with a stream of events",
         f"{_SPEC}/basic/transports/streamable-http"),
    Rule("http-fault", Level.ROBUST, "what a client says is no fault of the server (5xx)",
         f"{_SPEC}/basic/transports/streamable-http"),
    Rule("http-connection", Level.ROBUST, "what is posted gets a whole answer",
         f"{_SPEC}/basic/transports/streamable-http"),
    Rule("goes-on", Level.ROBUST, "the server lives as long as its input is open", f"{_SPEC}/basic/transports/stdio"),
    Rule("ends", Level.SHOULD, "the server ends when its input does", f"{_SPEC}/basic/transports/stdio"),
)  # fmt: skip
BY_ID: Final = {rule.id: rule for rule in RULES}


@attrs.frozen
class Deviation:
    """A rule that was not kept."""

    rule: Rule
    about: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """Two with the same one are one finding."""
        return self.rule.id, self.about
