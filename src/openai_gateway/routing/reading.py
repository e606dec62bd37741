"""A stream on its way in: which of its chunks may go on, what it has told so far, and whether it ended or was cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from openai_gateway.routing.assemble import (
    as_chunks,
    failed_finish,
    finish_reasons,
    has_content,
    output_bytes,
    plain_text_of,
    usage_of,
)
from openai_gateway.routing.attempts import Cause, Failure
from openai_gateway.routing.calls import Chunk, Json, Usage
from openai_gateway.routing.classify import classify_event, error_in, failure_of
from openai_gateway.routing.dialects.dialect import EventDecoder
from openai_gateway.routing.endpoints import CHAT, Endpoint
from openai_gateway.routing.plan import Target
from openai_gateway.routing.prefill import Continuation
from openai_gateway.secret import Redactor
from openai_gateway.wire import sse
from openai_gateway.wire.strict import JsonError, dumps, loads

MAX_HELD_EVENTS: Final = 64
MAX_HELD_BYTES: Final = 256 * 1024
MAX_CONTINUED_BYTES: Final = 2**20
"""Of an answer that is kept to be gone on with: twice what the longest that a model writes (128,000 tokens) has."""


@attrs.define(kw_only=True)
class Reading:
    """Bytes in, chunks out; no await and no clock.

    Chunks before the first real content are held back, so that another target can still be asked in their stead; past
    64 of them or 256 KiB they go on all the same. After `failure` is set nothing more comes.

    `before` is the text that the caller has from earlier attempts ("" for none); None where nobody could go on from a
    text, or from one so long. `continuation` rewrites the chunks of an answer that goes on from it. `written` counts
    the bytes that the model wrote, `head` is what the chunks of this answer have in common, `choices` how many choices
    were asked for.
    """

    target: Target
    redactor: Redactor
    decode: EventDecoder
    show_usage: bool
    endpoint: Endpoint = CHAT
    choices: int = 1
    before: str | None = None
    continuation: Continuation | None = None
    head: Mapping[str, Json] = attrs.field(factory=dict)
    written: int = 0
    model: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    content: bool = False
    passed_on: bool = False
    done: bool = False
    malformed: int = 0
    failure: Failure | None = None
    _events: int = 0
    _chunks: int = 0
    _bytes: int = 0
    _texts: list[str] = attrs.field(factory=list)
    _unfinished: set[int] = attrs.field(factory=set)
    _finished: set[int] = attrs.field(factory=set)
    _only_usage: tuple[bytes, Mapping[str, Json]] | None = None
    _held: list[Chunk] = attrs.field(factory=list)
    _held_bytes: int = 0
    _decoder: sse.Decoder = attrs.field(factory=sse.Decoder)

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that may go on now; b"" is the end. Sets `done`, or `failure`, when the stream is over."""
        self._bytes += len(data)
        passed: list[Chunk] = []
        try:
            for event in self._decoder.feed(data):
                if isinstance(event, sse.Event):
                    self._events += 1
                    passed += self._event(event)
        except sse.EventTooLarge as error:
            self._fail(Cause.TOO_LARGE, str(error))
        if not data and not self.done and self.failure is None:
            self._end()
        if self.done:
            passed += self._last()
        self.passed_on = self.passed_on or bool(passed)
        return passed

    @property
    def is_whole(self) -> bool:
        """Whether every choice has its finish_reason: many servers leave [DONE] out, and some do not even hang up."""
        return self.finish_reason is not None and not self._unfinished and len(self._finished) >= self.choices

    def reframed(self, answer: Mapping[str, Json]) -> list[Chunk]:
        """The chunks of a whole answer that came in the place of the stream."""
        for json in as_chunks(answer):
            if self.show_usage or not self._only_counts(json):
                self._hold(dumps(json), json)
        return self._release()

    def broke(self, cause: Cause, detail: str) -> Failure:
        """The failure of this stream for a cause from outside, such as a clock."""
        failure = failure_of(cause, target=self.target, redactor=self.redactor, detail=detail)
        return self._with_what_came(failure)

    def _with_what_came(self, failure: Failure) -> Failure:
        delivered = None if self.before is None else "".join((self.before, *self._texts)) or None
        return attrs.evolve(failure, after_content=self.passed_on, delivered=delivered)

    def _event(self, event: sse.Event) -> list[Chunk]:
        passed: list[Chunk] = []
        for data in self.decode(event):
            if self.done or self.failure is not None:
                break
            if data.strip() == b"[DONE]":
                self._end_said()
            elif (json := self._json(data)) is not None:
                passed += self._chunk(data, json)
        return passed

    def _json(self, data: bytes) -> Mapping[str, Json] | None:
        """The object, None for an event that is to be skipped."""
        try:
            json = loads(data)
        except JsonError:
            json = None
        if not isinstance(json, dict):
            self.malformed += 1
            return None
        return json

    def _chunk(self, data: bytes, json: Mapping[str, Json]) -> list[Chunk]:
        if error_in(json) is not None:
            failure = classify_event(json, target=self.target, redactor=self.redactor)
            self.failure = self._with_what_came(failure)
            return []
        finishes = tuple(finish_reasons(json))
        if (reason := failed_finish(finishes)) is not None:
            self._fail(Cause.CUT, f"finish_reason {reason}")
            return []
        self._note(json, finishes)
        if not self._only_counts(json):
            self._hold(data, json)
        elif self.show_usage:
            self._only_usage = data, json
        full = len(self._held) > MAX_HELD_EVENTS or self._held_bytes > MAX_HELD_BYTES
        return self._release() if self.content or self.passed_on or full else []

    def _hold(self, data: bytes, json: Mapping[str, Json]) -> None:
        if self.continuation is not None:
            rewritten = self.continuation.chunk(json)
            if rewritten is None:
                return
            data, json = dumps(rewritten), rewritten
        self._held.append(Chunk(data=data, json=json))
        self._held_bytes += len(data)

    def _note(self, json: Mapping[str, Json], finishes: Iterable[tuple[int, str | None]]) -> None:
        self._chunks += 1
        self.written += output_bytes(json)
        if self.before is not None:
            self._note_text(json)
        if self.model is None and isinstance(json.get("model"), str):
            self.model = json["model"] or None
        self.usage = usage_of(json) or self.usage
        self.content = self.content or has_content(json)
        if not self.endpoint.has_choices:
            self._note_type(json)
        for index, finish_reason in finishes:
            self._unfinished.add(index)
            if finish_reason is not None:
                self._unfinished.discard(index)
                self._finished.add(index)
                self.finish_reason = self.finish_reason or finish_reason

    def _note_type(self, json: Mapping[str, Json]) -> None:
        """What an event without choices says by its type; the Responses API has the usage in the response."""
        kind = json.get("type") if isinstance(json.get("type"), str) else ""
        self.content = self.content or kind not in self.endpoint.begins
        self.usage = usage_of(json.get("response")) or self.usage
        self.done = kind in self.endpoint.ends

    def _note_text(self, json: Mapping[str, Json]) -> None:
        text = plain_text_of(json)
        if text is None:
            self.before = None  # a tool call, reasoning, an end: nobody can go on from that
        elif self.written > MAX_CONTINUED_BYTES:
            self.before = None
            self._texts.clear()
        elif text:
            self._texts.append(text)
        if not self.head:
            self.head = {name: json[name] for name in ("id", "created") if name in json}

    def _last(self) -> list[Chunk]:
        """What is left to pass on at the end: of chunks that only count exactly one, for some servers send more."""
        if self._only_usage is not None:
            self._hold(*self._only_usage)
        return self._release()

    def _only_counts(self, json: Mapping[str, Json]) -> bool:
        """The chunk that we asked for: a caller who did not ask for it sees the stream as it would be without it."""
        return self.endpoint.has_choices and not json.get("choices") and isinstance(json.get("usage"), dict)

    def _release(self) -> list[Chunk]:
        released, self._held, self._held_bytes = self._held, [], 0
        self.passed_on = self.passed_on or bool(released)
        return released

    def _end_said(self) -> None:
        if self._chunks:
            self.done = True
        else:
            self._fail(Cause.CUT, "nothing came before [DONE]")

    def _end(self) -> None:
        if self.is_whole or (self._chunks and not self.endpoint.has_choices and not self.endpoint.ends):
            self.done = True
        elif self._bytes and not self._events:
            self._fail(Cause.MALFORMED, "it is no stream of events")
        else:
            self._fail(Cause.CUT, "")

    def _fail(self, cause: Cause, detail: str) -> None:
        self.failure = self.broke(cause, detail)
