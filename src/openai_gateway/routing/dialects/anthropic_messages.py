"""OpenAI's messages as the Messages API's system prompt and turns of content blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from openai_gateway.routing.calls import Json
from openai_gateway.routing.dialects.anthropic_answer import is_call, text
from openai_gateway.routing.dialects.anthropic_notes import Notes, refused
from openai_gateway.routing.dialects.anthropic_parts import Block, Place, blocks_of, says
from openai_gateway.wire.strict import JsonError, loads

Turn = dict[str, Any]

_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_OF_MESSAGE: Final = frozenset({"role", "content", "cache_control"})
_OF_ASSISTANT: Final = _OF_MESSAGE | {
    "refusal", "tool_calls", "thinking_blocks", "anthropic_blocks", "reasoning_content", "function_call", "audio",
}  # fmt: skip
_OF_TOOL: Final = frozenset({"role", "content", "tool_call_id"})
_RESULT_KEEPS: Final = frozenset({"is_error", "cache_control", "toolset_name"})
_USE_KEEPS: Final = frozenset({"caller", "cache_control", "toolset_name"})
_NOTHING: Final[frozenset[str]] = frozenset()


def conversation(messages: Json, notes: Notes) -> tuple[list[Block], list[Turn]]:
    """The blocks of the system prompt, and the turns. Raises GatewayError where a message cannot be carried.

    Consecutive messages of one role become one turn. A system message in the midst goes to the front, where the API has
    its place on every model.
    """
    if not isinstance(messages, list):
        raise refused("messages", "messages is no list.")
    system: list[Block] = []
    turns: list[Turn] = []
    for at, message in enumerate(messages):
        role, blocks = _read(message, Place(param=f"messages[{at}]", notes=notes))
        if role == "system":
            system += blocks
            if turns:
                notes.warn("takes a system prompt at the beginning alone: later system messages were moved there")
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if turns and turns[-1]["role"] == "assistant":
        _strip_end(turns, notes)
    return system, turns


def _read(message: Json, place: Place) -> tuple[str, list[Block]]:
    if not isinstance(message, Mapping):
        raise refused(place.param, f"{place.param} is no object.")
    given = message.get("role")
    row = _ROLES.get(given) if isinstance(given, str) else None
    if row is None:
        raise refused(f"{place.param}.role", f"{place.param}.role is {given!r}; allowed is one of {', '.join(_ROLES)}.")
    role, read = row
    return role, read(message, place)


def _plain(message: Mapping[str, Json], place: Place) -> list[Block]:
    place.notes.kept(message, _NOTHING, _OF_MESSAGE, "messages[]")
    blocks = blocks_of(message.get("content"), place.member("content"))
    # A message of which nothing would be left goes as it is: the API says what is wrong with it.
    return _marked([block for block in blocks if says(block)] or blocks, message)


def _assistant(message: Mapping[str, Json], place: Place) -> list[Block]:
    place.notes.kept(message, _NOTHING, _OF_ASSISTANT, "messages[]")
    for name in ("function_call", "audio"):
        if message.get(name) is not None:
            raise refused(f"{place.param}.{name}", f"{place.param}.{name} has no equal in the Messages API.")
    said = blocks_of(message.get("content"), place.member("content"))
    calls = _list(message.get("tool_calls"), place.member("tool_calls"))
    used = [_tool_use(call, place.member("tool_calls").entry(at)) for at, call in enumerate(calls)]
    came = _own(message.get("anthropic_blocks"), place.member("anthropic_blocks"))
    if came and _says_the_same(came, said, used):
        return _marked(came, message)
    if came:
        place.notes.left_out("messages[].anthropic_blocks", "content or tool_calls say something else")
    return _marked([*_thinking(message, place), *_said(message, said, place), *used], message)


def _says_the_same(came: list[Block], said: list[Block], used: list[Block]) -> bool:
    """Whether the message is still what it was when it came: a caller may have changed what OpenAI's members say."""
    return _text_of(came) == _text_of(said) and _calls_of(came) == _calls_of(used)


def _text_of(blocks: list[Block]) -> str:
    return "".join(text(block.get("text")) for block in blocks if block.get("type") == "text")


def _calls_of(blocks: list[Block]) -> list[tuple[Json, ...]]:
    return [(block.get("id"), block.get("name"), block.get("input")) for block in blocks if is_call(block)]


def _thinking(message: Mapping[str, Json], place: Place) -> list[Block]:
    blocks = _own(message.get("thinking_blocks"), place.member("thinking_blocks"))
    if message.get("reasoning_content") and not blocks:
        place.notes.left_out("messages[].reasoning_content", "only thinking_blocks hold the signature it needs")
    return blocks


def _said(message: Mapping[str, Json], said: list[Block], place: Place) -> list[Block]:
    blocks = said + blocks_of(message.get("refusal"), place.member("refusal"))
    return [block for block in blocks if says(block)]


def _own(blocks: Json, place: Place) -> list[Block]:
    """Blocks that came in an answer, as they came: `index` is ours, for those who put a stream together."""
    return [
        {name: value for name, value in _object(block, place.entry(at)).items() if name != "index"}
        for at, block in enumerate(_list(blocks, place))
    ]


def _tool_use(call: Json, place: Place) -> Block:
    call = _object(call, place)
    function = _object(call.get("function"), place.member("function"))
    kept = place.notes.kept(call, _USE_KEEPS, frozenset({"id", "type", "index", "function"}), place.general)
    place.notes.kept(function, _NOTHING, frozenset({"name", "arguments"}), place.member("function").general)
    arguments = _arguments(function.get("arguments"), place.member("function").member("arguments"))
    return {"type": "tool_use", "id": _id(call, "id", place), "name": function.get("name"), "input": arguments, **kept}


def _arguments(arguments: Json, place: Place) -> Mapping[str, Json]:
    """The object that the text holds; none and an empty text are what some models send for no arguments."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    try:
        value = loads(arguments) if isinstance(arguments, str) else arguments
    except JsonError:
        value = None
    if not isinstance(value, Mapping):
        raise refused(place.param, f"{place.param} is no JSON object, and the Messages API takes nothing else.")
    return value


def _tool(message: Mapping[str, Json], place: Place) -> list[Block]:
    kept = place.notes.kept(message, _RESULT_KEEPS, _OF_TOOL, "messages[]")
    content = message.get("content")
    result: Block = {"type": "tool_result", "tool_use_id": _id(message, "tool_call_id", place)}
    if isinstance(content, list):
        result["content"] = [block for block in blocks_of(content, place.member("content")) if says(block)]
    elif content is not None:
        result["content"] = blocks_of(content, place.member("content"))[0]["text"]
    return [{**result, **kept}]


def _id(holder: Mapping[str, Json], name: str, place: Place) -> str:
    """The id of a tool call in the API's alphabet: other providers' ids may stand in a conversation begun elsewhere."""
    value = holder.get(name)
    if not isinstance(value, str):
        raise refused(f"{place.param}.{name}", f"{place.param}.{name} is no text.")
    return _ID.sub(lambda match: f"_{ord(match[0]):x}_", value)


def _marked(blocks: list[Block], message: Mapping[str, Json]) -> list[Block]:
    """A cache mark on the message is one on its last block."""
    if blocks and message.get("cache_control") is not None:
        blocks[-1].setdefault("cache_control", message["cache_control"])
    return blocks


def _strip_end(turns: list[Turn], notes: Notes) -> None:
    """The API continues a last assistant turn, and refuses one that ends in white space."""
    last = turns[-1]["content"][-1]
    if last.get("type") != "text" or not isinstance(last.get("text"), str):
        return
    stripped = last["text"].rstrip()
    if stripped != last["text"]:
        notes.warn("takes no white space at the end of a last assistant message: it was cut off there")
        last["text"] = stripped


def _object(value: Json, place: Place) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise refused(place.param, f"{place.param} is no object.")
    return value


def _list(value: Json, place: Place) -> list[Json]:
    if value is not None and not isinstance(value, list):
        raise refused(place.param, f"{place.param} is no list.")
    return value or []


_ROLES: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Json], Place], list[Block]]]]] = {
    "system": ("system", _plain),
    "developer": ("system", _plain),
    "user": ("user", _plain),
    "assistant": ("assistant", _assistant),
    "tool": ("user", _tool),
}
