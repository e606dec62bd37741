"""Puts a stream of chat.completion.chunk objects together again, and takes a whole answer apart into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from openai_gateway.routing.calls import Json, Usage

_CONTENT: Final = (
    "content", "reasoning_content", "reasoning", "reasoning_details", "refusal", "tool_calls", "function_call", "audio",
    "images",
)  # fmt: skip
_TOO_MANY: Final = 2**53
"""Tokens that no call has; up to here every reader of JSON holds an integer exactly (RFC 8259, 6), a float too."""


def has_content(chunk: Json) -> bool:
    """Whether the chunk brings something a caller would miss: text, reasoning, a refusal, a tool call, audio.

    A delta with only a role, and an empty one, do not stop the first-byte clock.
    """
    return any(
        choice.get("text") or any(_mapping(choice.get("delta")).get(name) for name in _CONTENT)
        for choice in _choices(chunk)
    )


def usage_of(body: Json) -> Usage | None:
    """The usage of a whole answer or of any chunk, in either of OpenAI's spellings; None where there is none."""
    usage = _mapping(_mapping(body).get("usage"))
    if not usage:
        return None
    input_details = _mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    output_details = _mapping(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    return Usage(
        input=_count(usage, "prompt_tokens", "input_tokens"),
        output=_count(usage, "completion_tokens", "output_tokens"),
        cached_input=_count(input_details, "cached_tokens"),
        reasoning=_count(output_details, "reasoning_tokens"),
    )


def finish_reason_of(body: Json) -> str | None:
    """The finish_reason of the first choice that has one, in a whole answer or a chunk."""
    return next((reason for choice in _choices(body) if (reason := _string(choice.get("finish_reason")))), None)


def as_chunks(answer: Mapping[str, Json]) -> tuple[dict[str, Json], ...]:
    """A whole chat.completion as the chunks of a stream that says the same: one a choice, and the usage as the last."""
    head = {name: value for name, value in answer.items() if name not in {"choices", "usage"}}
    head["object"] = "chat.completion.chunk"
    chunks = [{**head, "choices": [_as_delta(choice)]} for choice in _choices(answer)]
    if answer.get("usage") is not None:
        chunks.append({**head, "choices": [], "usage": answer["usage"]})
    return tuple(chunks)


def _as_delta(choice: Mapping[str, Json]) -> dict[str, Json]:
    delta = dict(_mapping(choice.get("message")))
    calls = _list(delta.get("tool_calls"))
    if calls:
        delta["tool_calls"] = [{"index": index, **_mapping(call)} for index, call in enumerate(calls)]
    rest = {name: value for name, value in choice.items() if name not in {"message", "finish_reason"}}
    return {"index": 0, **rest, "delta": delta, "finish_reason": choice.get("finish_reason")}


@attrs.define
class Choice:
    """One choice so far."""

    finish_reason: str | None = None
    audio: dict[str, Json] = attrs.field(factory=dict)
    _texts: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    _tool_calls: dict[int, dict[str, Json]] = attrs.field(factory=dict, init=False)

    @property
    def content(self) -> str:
        return self._joined("content") or self._joined("text")

    @property
    def reasoning(self) -> str:
        """What came as `reasoning_content` (DeepSeek, vLLM, llama.cpp) or as `reasoning` (OpenRouter, Groq)."""
        return self._joined("reasoning_content") or self._joined("reasoning")

    @property
    def refusal(self) -> str:
        return self._joined("refusal")

    @property
    def tool_calls(self) -> list[dict[str, Json]]:
        """Whole OpenAI tool call objects, in the order of their index."""
        return [self._tool_calls[index] for index in sorted(self._tool_calls)]

    def feed(self, choice: Mapping[str, Json]) -> None:
        """Take in one entry of a chunk's `choices`."""
        delta = _mapping(choice.get("delta"))
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            self._add_text(name, delta.get(name))
        self._add_text("text", choice.get("text"))  # of the older completions endpoint
        for call in _list(delta.get("tool_calls")):
            self._add_tool_call(_mapping(call))
        self._add_audio(_mapping(delta.get("audio")))
        self.finish_reason = _string(choice.get("finish_reason")) or self.finish_reason

    def message(self) -> dict[str, Json]:
        """The assistant message that all deltas make."""
        message: dict[str, Json] = {"role": "assistant", "content": self.content or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        message["refusal"] = self.refusal or None
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        if self.audio:
            message["audio"] = self.audio
        return message

    def _joined(self, name: str) -> str:
        return "".join(self._texts.get(name, ()))

    def _add_text(self, name: str, piece: Json) -> None:
        if isinstance(piece, str) and piece:
            self._texts.setdefault(name, []).append(piece)

    def _add_tool_call(self, piece: Mapping[str, Json]) -> None:
        call = self._tool_calls.setdefault(
            self._index_of(piece), {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        function = _mapping(piece.get("function"))
        call["id"] = _string(piece.get("id")) or call["id"]
        call["type"] = _string(piece.get("type")) or call["type"]
        call["function"]["name"] = _string(function.get("name")) or call["function"]["name"]
        call["function"]["arguments"] += _string(function.get("arguments"))

    def _index_of(self, piece: Mapping[str, Json]) -> int:
        """Some servers leave the index out: then a new id is a new call; a piece without one goes on with the last."""
        index, id_ = piece.get("index"), piece.get("id")
        if isinstance(index, int):
            return index
        if id_ and all(call["id"] != id_ for call in self._tool_calls.values()):
            return len(self._tool_calls)
        same = (at for at, call in self._tool_calls.items() if call["id"] == id_)
        return next(same, max(self._tool_calls, default=0))

    def _add_audio(self, piece: Mapping[str, Json]) -> None:
        for name, value in piece.items():
            joined = name in {"data", "transcript"} and isinstance(value, str)
            self.audio[name] = _string(self.audio.get(name)) + value if joined else value


@attrs.define
class Assembly:
    """What a stream has said so far. What has the wrong shape is passed over: it went to the caller as it came."""

    usage: Usage | None = attrs.field(default=None, init=False)
    error: Json | None = attrs.field(default=None, init=False)
    _choices: dict[int, Choice] = attrs.field(factory=dict, init=False)
    _head: dict[str, Json] = attrs.field(factory=dict, init=False)
    _raw_usage: Json = attrs.field(default=None, init=False)

    def feed(self, chunk: Json) -> None:
        """Take in one event's JSON; `error` then holds an in-band error, if that is what it was."""
        body = _mapping(chunk)
        self.error = body.get("error") or self.error
        self._head |= {name: body[name] for name in ("id", "created", "model") if body.get(name)}
        for choice in _choices(body):
            index = choice.get("index")
            self._choices.setdefault(index if isinstance(index, int) else 0, Choice()).feed(choice)
        usage = usage_of(body)
        if usage is not None:
            self.usage, self._raw_usage = usage, body["usage"]

    @property
    def choices(self) -> Mapping[int, Choice]:
        """By index; the properties below are those of index 0."""
        return self._choices

    @property
    def text(self) -> str:
        return self._first.content

    @property
    def reasoning(self) -> str:
        return self._first.reasoning

    @property
    def refusal(self) -> str:
        return self._first.refusal

    @property
    def tool_calls(self) -> list[dict[str, Json]]:
        return self._first.tool_calls

    @property
    def audio(self) -> dict[str, Json]:
        return self._first.audio

    @property
    def finish_reason(self) -> str | None:
        return self._first.finish_reason

    @property
    def model(self) -> str:
        """The model's name as the upstream gave it."""
        return _string(self._head.get("model"))

    @property
    def is_finished(self) -> bool:
        """Whether every choice that began has its finish_reason, and one began: then no [DONE] is missed."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def answer(self) -> dict[str, Json]:
        """The whole chat.completion that the chunks make."""
        choices = [
            {"index": index, "message": choice.message(), "finish_reason": choice.finish_reason}
            for index, choice in sorted(self._choices.items())
        ]
        usage = {} if self._raw_usage is None else {"usage": self._raw_usage}
        return {**self._head, "object": "chat.completion", "choices": choices, **usage}

    @property
    def _first(self) -> Choice:
        return self._choices.get(0) or Choice()


def _choices(body: Json) -> Iterator[Mapping[str, Json]]:
    return (choice for choice in _list(_mapping(body).get("choices")) if isinstance(choice, Mapping))


def _mapping(value: Json) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Json) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _count(counts: Mapping[str, Json], *names: str) -> int:
    values = (counts.get(name) for name in names)
    return next((n for n in values if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < _TOO_MANY), 0)
