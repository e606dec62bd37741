"""What the chunks of a stream and whole answers say, and a whole answer taken apart into chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from openai_gateway.routing.calls import Json, Usage

_BESIDE_CONTENT: Final = (
    "reasoning_content", "reasoning", "reasoning_details", "refusal", "tool_calls", "function_call", "audio", "images",
    "thinking_blocks", "anthropic_blocks",
)  # fmt: skip
_WRITTEN: Final = frozenset({"content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call"})
_FAILED: Final = frozenset({"error", "abort"})
"""finish_reasons that OpenAI does not have: OpenRouter says "error" where the provider behind it failed on the way,
vLLM and SGLang say "abort" where the engine dropped the request (it shuts down, or is scaled down)."""

_INPUT: Final = ("prompt_tokens", "input_tokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens")

TOO_MANY: Final = 2**53
"""Tokens that no call has; up to here every reader of JSON holds an integer exactly (RFC 8259, 6), a float too."""


def has_content(chunk: Json) -> bool:
    """Whether the chunk brings something a caller would miss: text, reasoning, a refusal, a tool call, audio.

    A delta with only a role, and an empty one, do not stop the first-byte clock.
    """
    for choice in _choices(chunk):
        delta = _mapping(choice.get("delta"))
        if choice.get("text") or _says(delta.get("content")) or any(delta.get(name) for name in _BESIDE_CONTENT):
            return True
    return False


def plain_text_of(chunk: Json) -> str | None:
    """The text that the chunk adds to a single answer, "" for none; None where it adds or ends something else."""
    text = ""
    for choice in _choices(chunk):
        delta = _mapping(choice.get("delta"))
        content = delta.get("content")
        if choice.get("index", 0) != 0 or choice.get("finish_reason") or not isinstance(content, str | None):
            return None
        if any(delta.get(name) for name in _BESIDE_CONTENT):
            return None
        text += content or ""
    return text


def output_bytes(body: Json) -> int:
    """Bytes of UTF-8 that a model wrote in a chunk or a whole answer, reasoning and tool calls included."""
    size = 0
    for choice in _choices(body):
        said = _mapping(choice.get("delta") or choice.get("message")) or {"content": choice.get("text")}
        for name, value in said.items():
            if name in _WRITTEN:
                size += _size(value)
    return size


def usage_of(body: Json) -> Usage | None:
    """The usage of a whole answer or of any chunk, in either of OpenAI's spellings; None where there is none.

    None also where a count is no number of tokens: what cannot be read is not 0, and is estimated instead.
    """
    usage = _mapping(_mapping(body).get("usage"))
    said = _first(usage, _INPUT), _first(usage, _OUTPUT)
    counted = _count(said[0]), _count(said[1])
    if said == (None, None) or counted[0] is None or counted[1] is None:
        return None
    input_details = _mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    output_details = _mapping(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    return Usage(
        input=counted[0],
        output=counted[1],
        cached_input=_count(input_details.get("cached_tokens")) or 0,
        reasoning=_count(output_details.get("reasoning_tokens")) or 0,
    )


def finish_reasons(body: Json) -> list[tuple[int, str | None]]:
    """Index and finish_reason of each choice of a whole answer or a chunk; what has another shape is passed over."""
    found: list[tuple[int, str | None]] = []
    for choice in _choices(body):
        index, reason = choice.get("index"), choice.get("finish_reason")
        found.append((index if isinstance(index, int) else 0, reason if isinstance(reason, str) and reason else None))
    return found


def finish_reason_of(body: Json) -> str | None:
    """The finish_reason of the first choice that has one, in a whole answer or a chunk."""
    for _, reason in finish_reasons(body):
        if reason is not None:
            return reason
    return None


def failed_finish(finishes: Iterable[tuple[int, str | None]]) -> str | None:
    """Of `finish_reasons`, that of a choice which the server and not the model ended: its answer is cut; else None."""
    for _, reason in finishes:
        if reason in _FAILED:
            return reason
    return None


def as_chunks(answer: Mapping[str, Json]) -> tuple[dict[str, Json], ...]:
    """A whole answer as the chunks of a stream that says the same: one a choice, and the usage as the last.

    Those of a text_completion look like the whole.
    """
    head = {name: value for name, value in answer.items() if name not in {"choices", "usage"}}
    if head.get("object") != "text_completion":
        head["object"] = "chat.completion.chunk"
    chunks = [{**head, "choices": [_as_delta(choice)]} for choice in _choices(answer)]
    if answer.get("usage") is not None:
        chunks.append({**head, "choices": [], "usage": answer["usage"]})
    return tuple(chunks)


def _as_delta(choice: Mapping[str, Json]) -> dict[str, Json]:
    if "message" not in choice and "text" in choice:
        return dict(choice)
    delta = dict(_mapping(choice.get("message")))
    calls = _list(delta.get("tool_calls"))
    if calls:
        delta["tool_calls"] = [{"index": index, **_mapping(call)} for index, call in enumerate(calls)]
    rest = {name: value for name, value in choice.items() if name not in {"message", "finish_reason"}}
    return {"index": 0, **rest, "delta": delta, "finish_reason": choice.get("finish_reason")}


def _choices(body: Json) -> list[Mapping[str, Json]]:
    return [choice for choice in _list(_mapping(body).get("choices")) if isinstance(choice, dict)]


def _mapping(value: Json) -> Mapping[str, Any]:
    # dict, here and below: this is JSON that was read, and asking for an abstract class costs a chunk as much as h11.
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Any]:
    return value if isinstance(value, list) else []


def _says(content: Json) -> bool:
    """Whether there is any text in a `content`: a string, or parts as of Mistral's reasoning models."""
    if isinstance(content, list):
        return any(_says(part) for part in content)
    if isinstance(content, dict):
        return any(_says(value) for name, value in content.items() if name != "type")
    return isinstance(content, str) and content != ""


def _size(value: Json) -> int:
    """Bytes of all strings in a value of a few levels, as these members are."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return sum(_size(member) for member in value.values())
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _first(members: Mapping[str, Json], names: tuple[str, ...]) -> Json:
    """What stands under the first of the names that is there; None for none of them."""
    for name in names:
        if (value := members.get(name)) is not None:
            return value
    return None


def _count(said: Json) -> int | None:
    """Tokens, 0 where nothing is said; None for what is no number of them."""
    if said is None:
        return 0
    if isinstance(said, float) and said.is_integer():  # of a server that knows no integers
        said = int(said)
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < TOO_MANY else None
