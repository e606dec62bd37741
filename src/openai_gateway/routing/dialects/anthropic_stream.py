"""A stream of the Messages API as one of OpenAI's, event by event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from openai_gateway.routing.calls import Json
from openai_gateway.routing.dialects.anthropic_answer import (
    THINKING,
    arguments_of,
    extras_of,
    finish_reason,
    head_of,
    is_call,
    is_more,
    openai_usage,
    refusal_of,
    stop_of,
    text,
    tool_call,
)
from openai_gateway.routing.dialects.dialect import EventDecoder
from openai_gateway.wire.sse import Event
from openai_gateway.wire.strict import JsonError, dumps, loads

Delta = dict[str, Json]
_DONE: Final = b"[DONE]"


def events() -> EventDecoder:
    """A decoder for one stream: it remembers the blocks that are open, and the usage so far."""
    return _Stream()


@attrs.define(kw_only=True)
class _Block:
    """One content block as far as it came; `call` is the place of a tool call among its kind."""

    content: dict[str, Any]
    call: int = 0
    _pieces: dict[str, list[str]] = attrs.field(factory=dict)
    _citations: list[Json] = attrs.field(factory=list)

    def grow(self, delta: Mapping[str, Json]) -> None:
        """One more piece of what the delta names, whatever that is: a text, a signature, arguments; or a citation."""
        for name, piece in delta.items():
            if name == "citation":
                self._citations.append(piece)
            elif name != "type" and isinstance(piece, str):
                # Put together at the end alone: to add each to what is there already would take quadratic time.
                self._pieces.setdefault(name, []).append(piece)

    def close(self) -> str:
        """Put the pieces onto the content; the arguments that came, as they were written."""
        arguments = "".join(self._pieces.pop("partial_json", ()))
        for name, pieces in self._pieces.items():
            self.content[name] = text(self.content.get(name)) + "".join(pieces)
        if self._citations:
            began = self.content.get("citations")
            self.content["citations"] = [*(began if isinstance(began, list) else ()), *self._citations]
        if arguments:
            self.content["input"] = _read(arguments)
        return arguments


@attrs.define
class _Stream:
    _head: dict[str, Json] = attrs.field(factory=lambda: head_of({}))
    _usage: dict[str, Json] = attrs.field(factory=dict)
    _open: dict[Json, _Block] = attrs.field(factory=dict)
    _calls: int = 0
    _held: list[Mapping[str, Json]] = attrs.field(factory=list)
    _is_more: bool = False
    _listed: dict[str, int] = attrs.field(factory=dict)

    def __call__(self, event: Event) -> Sequence[bytes]:
        """The data of the chunks. What is no JSON object goes on as it is: the reader of the stream counts it."""
        try:
            json = loads(event.data)
        except JsonError:
            return (event.data,)
        if not isinstance(json, dict):
            return (event.data,)
        kind = text(json.get("type")) or event.name
        if kind == "error" or json.get("error"):
            return (event.data if json.get("error") else dumps({"error": json}),)
        step = _STEPS.get(kind)
        return () if step is None else step(self, json)

    def started(self, json: Mapping[str, Json]) -> Sequence[bytes]:
        message = _mapping(json.get("message"))
        self._head = head_of(message)
        self._usage = dict(_mapping(message.get("usage")))
        return (self._chunk({"role": "assistant", "content": ""}),)

    def block_started(self, json: Mapping[str, Json]) -> Sequence[bytes]:
        block = _Block(content=dict(_mapping(json.get("content_block"))))
        self._open[_index(json)] = block
        if is_call(block.content):
            block.call = self._calls
            self._calls += 1
            return self._chunks({"tool_calls": [{"index": block.call, **tool_call(block.content, "")}]})
        return self._chunks(*self._said(block.content))

    def block_continued(self, json: Mapping[str, Json]) -> Sequence[bytes]:
        block = self._open.setdefault(_index(json), _Block(content={"type": "text"}))
        delta = _mapping(json.get("delta"))
        block.grow(delta)
        piece = text(delta.get("partial_json"))
        if piece and is_call(block.content):
            return self._chunks({"tool_calls": [{"index": block.call, "function": {"arguments": piece}}]})
        return self._chunks(*self._said(delta))

    def block_stopped(self, json: Mapping[str, Json]) -> Sequence[bytes]:
        block = self._open.pop(_index(json), None)
        return () if block is None else self._chunks(*self._closed(block))

    def _said(self, piece: Mapping[str, Json]) -> Sequence[Delta]:
        """What a piece of a text or of thinking says."""
        said = {"content": text(piece.get("text")), "reasoning_content": text(piece.get("thinking"))}
        return [{name: words} for name, words in said.items() if words]

    def _closed(self, block: _Block) -> Sequence[Delta]:
        """What is sent at the block's end: arguments that came in no piece, and the block itself where it is wanted."""
        came, content = block.close(), block.content
        deltas: list[Delta] = []
        if is_call(content) and not came:
            deltas.append({"tool_calls": [{"index": block.call, "function": {"arguments": arguments_of(content)}}]})
        if text(content.get("type")) in THINKING:
            deltas.append(self._entry("thinking_blocks", content))
        return [*deltas, *self._as_it_came(content)]

    def _as_it_came(self, content: Mapping[str, Json]) -> Sequence[Delta]:
        """All blocks in their order, as soon as one of them is more than OpenAI's message can say."""
        self._held.append(content)
        self._is_more = self._is_more or is_more(content)
        if not self._is_more:
            return ()
        held, self._held = self._held, []
        return [self._entry("anthropic_blocks", one) for one in held]

    def _entry(self, name: str, value: Mapping[str, Json]) -> Delta:
        """One more of a list, under an index: those who put deltas together need one."""
        at = self._listed.get(name, 0)
        self._listed[name] = at + 1
        return {name: [{**value, "index": at}]}

    def message_changed(self, json: Mapping[str, Json]) -> Sequence[bytes]:
        """The counts are those of the whole message so far."""
        self._usage |= {name: value for name, value in _mapping(json.get("usage")).items() if value is not None}
        delta = _mapping(json.get("delta"))
        reason = finish_reason(delta.get("stop_reason"))
        if reason is None:
            return ()
        left = [one for block in self._open.values() for one in self._closed(block)]
        self._open.clear()
        last = self._chunk(refusal_of(delta), finish_reason=reason, choice=stop_of(delta), **extras_of(delta))
        return (*self._chunks(*left), last)

    def stopped(self, _json: Mapping[str, Json]) -> Sequence[bytes]:
        usage = {**self._headed(), "choices": [], "usage": openai_usage(self._usage)}
        return (dumps(usage), _DONE) if self._usage else (_DONE,)

    def _headed(self) -> dict[str, Json]:
        return {**self._head, "object": "chat.completion.chunk"}

    def _chunks(self, *deltas: Delta) -> Sequence[bytes]:
        return tuple(self._chunk(delta) for delta in deltas)

    def _chunk(
        self, delta: Delta, *, finish_reason: str | None = None, choice: Mapping[str, Json] | None = None, **more: Json
    ) -> bytes:
        only = {"index": 0, "delta": delta, "finish_reason": finish_reason, **(choice or {})}
        return dumps({**self._headed(), "choices": [only], **more})


def _read(arguments: str) -> Json:
    try:
        return loads(arguments)
    except JsonError:
        return arguments


def _index(json: Mapping[str, Json]) -> int:
    index = json.get("index")
    return index if isinstance(index, int) else 0


def _mapping(value: Json) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_STEPS: Final[Mapping[str, Callable[[_Stream, Mapping[str, Json]], Sequence[bytes]]]] = {
    "message_start": _Stream.started,
    "content_block_start": _Stream.block_started,
    "content_block_delta": _Stream.block_continued,
    "content_block_stop": _Stream.block_stopped,
    "message_delta": _Stream.message_changed,
    "message_stop": _Stream.stopped,
}
"""The events that say something; a ping does not, and what is not known yet is passed over, as the API asks."""
