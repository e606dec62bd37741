"""Going on with an answer that was cut off: the text so far is put before another target as its own beginning."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_gateway.routing.assemble import TOO_MANY
from openai_gateway.routing.calls import Call, Json, Usage


class Prefill(enum.Enum):
    """How a target is told to go on from an assistant message instead of answering it."""

    MESSAGE = "message"
    """By its standing last: Anthropic's API, llama.cpp, Ollama, OpenRouter."""
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    """By vLLM's and SGLang's pair of parameters."""
    PREFIX = "prefix"
    """By a mark on the message: Mistral, DeepSeek."""


_PARAMETERS: Final[Mapping[Prefill, Mapping[str, Json]]] = {
    Prefill.MESSAGE: {},
    Prefill.CONTINUE_FINAL_MESSAGE: {"add_generation_prompt": False, "continue_final_message": True},
    Prefill.PREFIX: {},
}


def can_be_continued(call: Call) -> bool:
    """Whether an answer to `call` is plain text, one of it: half a JSON document or tool call fits no other half."""
    body = call.body
    response_format = body.get("response_format")
    is_text = response_format is None or (
        isinstance(response_format, Mapping) and response_format.get("type") in (None, "text")  # it may be a list
    )
    alone = body.get("n") in (None, 1) and not body.get("logprobs")
    has_turns = isinstance(body.get("messages") or (), list | tuple)
    return call.endpoint == "chat/completions" and not call.whole and is_text and alone and has_turns


def continued(call: Call, text: str, how: Prefill) -> Call:
    """The call with `text` as the beginning of the answer.

    Without its idempotency key: under that an upstream would give the same answer again, and not the rest of it.
    """
    mark = {"prefix": True} if how is Prefill.PREFIX else {}
    messages = list(call.body.get("messages") or ())
    last = messages[-1] if messages else None
    if isinstance(last, Mapping) and last.get("role") == "assistant" and isinstance(last.get("content"), str):
        # The caller began the answer itself: what came since goes on from there.
        messages[-1] = {**last, "content": last["content"] + text, **mark}
    else:
        messages.append({"role": "assistant", "content": text, **mark})
    return attrs.evolve(call, body={**call.body, "messages": messages, **_PARAMETERS[how]}, idempotency_key=None)


@attrs.define
class Continuation:
    """Makes the chunks of an answer that goes on look like the rest of the one that was cut."""

    head: Mapping[str, Json]
    """`id` and `created` of the chunks that the caller has: to it there is one answer."""
    spent: Usage

    def chunk(self, json: Mapping[str, Json]) -> dict[str, Json] | None:
        """The chunk under the first one's id, its usage the sum of both; None for one that only begins an answer."""
        if _only_begins(json):
            return None
        known = {name: value for name, value in self.head.items() if name in json}
        usage = json.get("usage")
        return {**json, **known, **({"usage": self._sum(usage)} if isinstance(usage, dict) else {})}

    def _sum(self, usage: dict[str, Any]) -> dict[str, Json]:
        added = {"prompt_tokens": self.spent.input, "completion_tokens": self.spent.output}
        added["total_tokens"] = sum(added.values())
        return {
            **usage,
            # What is no number of tokens stays: the sum of it might have more digits than can be written.
            **{name: usage[name] + more for name, more in added.items() if _is_count(usage.get(name))},
        }


def _only_begins(json: Mapping[str, Json]) -> bool:
    choices = json.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        return False
    delta = choices[0].get("delta")
    if choices[0].get("finish_reason") is not None or not isinstance(delta, Mapping):
        return False
    return all(name == "role" or not value for name, value in delta.items())


def _is_count(value: Json) -> bool:
    return type(value) is int and abs(value) < TOO_MANY
