"""Answers of the Messages API for the tests: a message, and the same as a stream, in the API's own events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from openai_gateway.routing.dialects import dialect_of
from openai_gateway.wire import sse

Json = Any

ANTHROPIC = dialect_of("anthropic")
USAGE = {
    "input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2}, "service_tier": "standard",
}  # fmt: skip
COUNTED = {
    **USAGE,
    "prompt_tokens": 18,
    "completion_tokens": 7,
    "total_tokens": 25,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def message(*blocks: Json, **fields: Json) -> dict[str, Json]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": list(blocks)}
    return {**head, "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE, **fields}


def text(said: str, **fields: Json) -> dict[str, Json]:
    return {"type": "text", "text": said, **fields}


def thinking(said: str, signature: str = "c2ln") -> dict[str, Json]:
    return {"type": "thinking", "thinking": said, "signature": signature}


def tool_use(name: str = "weather", given: Mapping[str, Json] | None = None, **fields: Json) -> dict[str, Json]:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": dict(given or {}), **fields}


def events_of(whole: Mapping[str, Json], cut: Callable[[str], Sequence[str]] = lambda text: [text]) -> Iterator[Json]:
    """The events of the stream that says the same; `cut` says in which pieces each text comes."""
    usage = whole["usage"]
    begun = {**usage, "output_tokens": 1}
    start = {**whole, "content": [], "stop_reason": None, "stop_sequence": None, "usage": begun}
    start.pop("stop_details", None)
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(whole["content"]):
        empty, deltas = _taken_apart(block, cut)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in whole}
    later = {"output_tokens": usage["output_tokens"]}
    later |= {name: usage[name] for name in ("output_tokens_details",) if name in usage}
    yield {"type": "message_delta", "delta": stop, "usage": later}
    yield {"type": "message_stop"}


def _taken_apart(block: Json, cut: Callable[[str], Sequence[str]]) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            pieces = [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
            return {**block, "text": "", **({"citations": []} if "citations" in block else {})}, [*cited, *pieces]
        case "thinking":
            pieces = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*pieces, signed]
        case "tool_use" | "server_tool_use":
            written = json.dumps(block["input"], separators=(",", ":")) if block["input"] else ""
            pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *cut(written)]]
            return {**block, "input": {}}, pieces
        case _:
            return block, []


def on_the_wire(events: Sequence[Json]) -> bytes:
    return b"".join(sse.encode(json.dumps(event).encode(), name=event["type"]) for event in events)


def decoded(events: Sequence[Json]) -> list[Json]:
    """The chunks that a fresh decoder makes of the events, and "[DONE]" as itself."""
    decode = ANTHROPIC.events()
    items = sse.Decoder().feed(on_the_wire(events))
    made = [data for item in items if isinstance(item, sse.Event) for data in decode(item)]
    return ["[DONE]" if data == b"[DONE]" else json.loads(data) for data in made]


def completed(whole: Mapping[str, Json]) -> dict[str, Json]:
    """The chat completion that the whole message becomes."""
    completion: dict[str, Json] = json.loads(ANTHROPIC.answer(json.dumps(whole).encode()))
    return completion


def assembled(chunks: Sequence[Json]) -> dict[str, Json]:
    """The chat completion that a client puts together from the chunks; the lists by their indices, as OpenAI's do."""
    completion: dict[str, Json] = {}
    said: dict[str, Json] = {}
    choice: dict[str, Json] = {}
    for chunk in chunks:
        completion |= {name: value for name, value in chunk.items() if name != "choices"}
        for one in chunk["choices"]:
            choice |= {name: value for name, value in one.items() if name != "delta" and value is not None}
            for name, piece in one["delta"].items():
                said[name] = _joined(said.get(name), piece)
    for name, entries in said.items():
        if isinstance(entries, dict):
            said[name] = [
                {key: value for key, value in entries[at].items() if key != "index"} for at in sorted(entries)
            ]
    return {**completion, "object": "chat.completion", "choices": [{**choice, "message": said}]}


def _joined(before: Json, piece: Json) -> Json:
    if isinstance(piece, list):
        entries: dict[int, Json] = before or {}
        for entry in piece:
            entries[entry["index"]] = _merged(entries.get(entry["index"], {}), entry)
        return entries
    return piece if before is None or piece == "assistant" else before + piece


def _merged(before: Mapping[str, Json], entry: Mapping[str, Json]) -> dict[str, Json]:
    merged = {**before, **{name: value for name, value in entry.items() if name != "function"}}
    if "function" in entry:
        function = before.get("function", {})
        arguments = function.get("arguments", "") + entry["function"].get("arguments", "")
        merged["function"] = {**function, **entry["function"], "arguments": arguments}
    return merged
