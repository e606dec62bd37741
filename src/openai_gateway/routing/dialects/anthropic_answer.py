"""Answers of the Messages API as OpenAI's chat completions.

What OpenAI's shape has no place for is kept beside it, under names of its own: `anthropic_blocks` is the content as it
came, to the letter and in its order, where that could not be made again from the rest (the API refuses thinking that
comes back changed: platform.claude.com, Thinking in tool and multi-turn workflows); `thinking_blocks` are those of
thinking alone, LiteLLM's name for them; the choice has its `stop_reason`, and the usage Anthropic's own counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from openai_gateway.routing.assemble import TOO_MANY
from openai_gateway.routing.calls import Json
from openai_gateway.wire.strict import dumps, loads

FINISH: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # not at its end: sent back as it is, it goes on
    "compaction": "length",  # the same
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_OF_MESSAGE: Final = frozenset({
    "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage",
    "object", "created", "choices",
})  # fmt: skip
_OF_STOP: Final = ("stop_reason", "stop_sequence", "stop_details")
_OF_TOOL_USE: Final = frozenset({"id", "type", "name", "input", "index", "function"})


def answer(body: bytes) -> bytes:
    """A message as a chat.completion; anything else (an error that came with status 200) as it came."""
    message = loads(body)
    if (
        not isinstance(message, dict)
        or message.get("type") != "message"
        or not isinstance(message.get("content"), list)
    ):
        return body
    return dumps(_completion(message))


def _completion(message: Mapping[str, Json]) -> dict[str, Json]:
    said = message_of([block for block in message["content"] if isinstance(block, Mapping)])
    choice = {
        "index": 0,
        "message": {**said, **refusal_of(message)},
        "finish_reason": finish_reason(message.get("stop_reason")),
        **stop_of(message),
    }
    completion = {**head_of(message), "object": "chat.completion", "choices": [choice]}
    if isinstance(message.get("usage"), Mapping):
        completion["usage"] = openai_usage(message["usage"])
    return {**completion, **extras_of(message)}


def head_of(message: Mapping[str, Json]) -> dict[str, Json]:
    """id, time and model. Anthropic says no time, and this floor has no clock: `created` is 0."""
    return {"id": text(message.get("id")), "created": 0, "model": text(message.get("model"))}


def extras_of(message: Mapping[str, Json]) -> dict[str, Json]:
    """What else stands in a message and says anything: its container, its diagnostics."""
    return {name: value for name, value in message.items() if name not in _OF_MESSAGE and value is not None}


def message_of(blocks: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """OpenAI's assistant message for these blocks."""
    texts = [text(block.get("text")) for block in blocks if block.get("type") == "text"]
    thinking = [block for block in blocks if text(block.get("type")) in THINKING]
    message: dict[str, Json] = {"role": "assistant", "content": "".join(texts) if texts else None}
    beside = {
        "reasoning_content": "".join(text(block.get("thinking")) for block in thinking),
        "tool_calls": [tool_call(block, arguments_of(block)) for block in blocks if is_call(block)],
        "thinking_blocks": thinking,
        "anthropic_blocks": list(blocks) if any(is_more(block) for block in blocks) else [],
    }
    return message | {name: value for name, value in beside.items() if value}


def is_call(block: Mapping[str, Json]) -> bool:
    """Whether the caller is to run a tool."""
    return block.get("type") == "tool_use"


def is_more(block: Mapping[str, Json]) -> bool:
    """Whether the block is more than OpenAI's message can say: thinking, a server's tool, a text with citations."""
    return not is_call(block) and (block.get("type") != "text" or bool(block.get("citations")))


def arguments_of(block: Mapping[str, Json]) -> str:
    """The input of a tool_use block as OpenAI's arguments."""
    given = block.get("input")
    return dumps({} if given is None else given).decode()


def tool_call(block: Mapping[str, Json], arguments: str) -> dict[str, Json]:
    """OpenAI's tool call, with what else Anthropic says of it."""
    function = {"name": text(block.get("name")), "arguments": arguments}
    more = {name: value for name, value in block.items() if name not in _OF_TOOL_USE and value is not None}
    return {"id": text(block.get("id")), "type": "function", "function": function, **more}


def finish_reason(stop_reason: Json) -> str | None:
    """OpenAI's word. A reason that is not known yet is an end all the same: the API says so of every message."""
    return FINISH.get(stop_reason, "stop") if isinstance(stop_reason, str) else None


def stop_of(message: Mapping[str, Json]) -> dict[str, Json]:
    """Why it stopped, in Anthropic's own words, for the choice."""
    return {name: message[name] for name in _OF_STOP if message.get(name) is not None}


def refusal_of(message: Mapping[str, Json]) -> dict[str, Json]:
    """The explanation of a refusal, where there is one, as OpenAI's `refusal`."""
    details = message.get("stop_details")
    said = text(details.get("explanation")) if isinstance(details, Mapping) else ""
    return {"refusal": said} if said and message.get("stop_reason") == "refusal" else {}


def openai_usage(usage: Mapping[str, Json]) -> dict[str, Json]:
    """OpenAI's counts beside Anthropic's own, whose `input_tokens` are only those that no cache had to do with."""
    fresh, written, cached = (count(usage.get(name)) for name in _INPUT)
    output = count(usage.get("output_tokens"))
    details = usage.get("output_tokens_details")
    thinking = count(details.get("thinking_tokens")) if isinstance(details, Mapping) else 0
    return {
        **usage,
        "prompt_tokens": fresh + written + cached,
        "completion_tokens": output,
        "total_tokens": fresh + written + cached + output,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def listed(entry: Mapping[str, Json]) -> Mapping[str, Json]:
    """An entry of the list of models: `created_at` (RFC 3339) as OpenAI's `created`, the rest as it came."""
    try:
        created = int(datetime.fromisoformat(text(entry.get("created_at"))).timestamp())
    except (ValueError, OverflowError):
        created = 0
    return {"created": max(0, created), "owned_by": "anthropic", **entry}


_INPUT: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def count(value: Json) -> int:
    """A number of tokens; 0 for what is none: the sum of two that can be read may have more digits than can be said."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < TOO_MANY else 0


def text(value: Json) -> str:
    """A text; "" for what is none."""
    return value if isinstance(value, str) else ""
