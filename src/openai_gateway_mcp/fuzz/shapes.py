"""What results look like, by method and revision: literal shapes, written from the schemas of the specification.

A shape is data: a type, a set of allowed texts, `[shape]` for an array, or an object's members (`name?` may be absent).
Members that a shape does not name are allowed: every revision lets peers add some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

Json = Any
Shape = Any

LEGACY: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN: Final = ("2026-07-28",)
REVISIONS: Final = (*LEGACY, *MODERN)

NUMBER: Final = "a number"


@attrs.frozen
class By:
    """An object whose member `member` says which shape the rest has."""

    member: str
    kinds: Mapping[str, Shape]


@attrs.frozen
class Either:
    """An object that fits one of the shapes; `words` say what was wanted."""

    shapes: tuple[Shape, ...]
    words: str


_RESOURCE: Final = Either(
    ({"uri": str, "text": str, "mimeType?": str}, {"uri": str, "blob": str, "mimeType?": str}), "a text or a blob"
)
_OLDEST_BLOCKS: Final[dict[str, Shape]] = {
    "text": {"text": str},
    "image": {"data": str, "mimeType": str},
    "resource": {"resource": _RESOURCE},
}
_AUDIO: Final = {"audio": {"data": str, "mimeType": str}}
_LINK: Final = {"resource_link": {"uri": str, "name": str, "title?": str, "mimeType?": str}}


def blocks(revision: str) -> By:
    """The content blocks that a revision knows."""
    kinds = dict(_OLDEST_BLOCKS)
    if revision >= "2025-03-26":
        kinds |= _AUDIO
    if revision >= "2025-06-18":
        kinds |= _LINK
    return By("type", kinds)


_SCHEMA: Final = {"type": frozenset({"object"}), "properties?": dict, "required?": [str]}
_NAMED: Final = {"name": str, "title?": str, "description?": str}
_TOOL: Final = {**_NAMED, "inputSchema": _SCHEMA, "annotations?": dict, "_meta?": dict}
_PROMPT: Final = {**_NAMED, "arguments?": [{"name": str, "description?": str, "required?": bool}]}
_COMPLETION: Final = {"values": [str], "total?": int, "hasMore?": bool}


def _call(revision: str) -> Shape:
    shape: dict[str, Shape] = {"content": [blocks(revision)], "isError?": bool}
    return shape | ({"structuredContent?": dict} if "2025-06-18" <= revision < "2026" else {})


def _prompt(revision: str) -> Shape:
    message = {"role": frozenset({"user", "assistant"}), "content": blocks(revision)}
    return {"messages": [message], "description?": str}


def _fixed(shape: Shape) -> Callable[[str], Shape]:
    return lambda _revision: shape


def _listed(name: str, item: Shape) -> Callable[[str], Shape]:
    return _fixed({name: [item], "nextCursor?": str})


_INITIALIZED: Final = {
    "protocolVersion": str,
    "capabilities": dict,
    "serverInfo": {"name": str, "version": str},
    "instructions?": str,
}
_RESULTS: Final[Mapping[str, Callable[[str], Shape]]] = {
    "initialize": _fixed(_INITIALIZED),
    "server/discover": _fixed({"supportedVersions": [str], "capabilities": dict, "instructions?": str}),
    "tools/list": _listed("tools", _TOOL),
    "tools/call": _call,
    "resources/list": _listed("resources", {**_NAMED, "uri": str, "mimeType?": str}),
    "resources/templates/list": _listed("resourceTemplates", {**_NAMED, "uriTemplate": str, "mimeType?": str}),
    "resources/read": _fixed({"contents": [_RESOURCE]}),
    "prompts/list": _listed("prompts", _PROMPT),
    "prompts/get": _prompt,
    "completion/complete": _fixed({"completion": _COMPLETION}),
}
_CACHED: Final = frozenset(
    {
        "server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list",
        "resources/read",
    }
)  # fmt: skip
_DRESS: Final = {"resultType": str, "_meta?": dict}
_CACHE: Final = {"ttlMs": NUMBER, "cacheScope": frozenset({"public", "private"})}


def result_misfits(method: str, revision: str, result: dict[str, Json]) -> Iterator[str]:
    """What is wrong with a result, in words that name the place; nothing for a method without a known shape."""
    if method in _RESULTS and result.get("resultType", "complete") == "complete":
        yield from misfits(_RESULTS[method](revision), result)


def dress_misfits(method: str, result: dict[str, Json]) -> Iterator[str]:
    """What every result of the modern era has beside its own members, and what can be kept for a while."""
    yield from misfits(_DRESS, result)
    if method in _CACHED and result.get("resultType") == "complete":
        yield from misfits(_CACHE, result)


def misfits(shape: Shape, value: Json, path: str = "result") -> Iterator[str]:
    """How a value differs from its shape."""
    match shape:
        case By():
            yield from _misfits_by(shape, value, path)
        case Either() if all(any(misfits(one, value)) for one in shape.shapes):
            yield f"{path} is not {shape.words}"
        case Either():
            return
        case dict():
            yield from _member_misfits(shape, value, path)
        case [item]:
            yield from _item_misfits(item, value, path)
        case frozenset() if not isinstance(value, str) or value not in shape:
            yield f"{path} is none of {', '.join(sorted(shape))}"
        case type() | str() if not _is(shape, value):
            yield f"{path} is {kind_of(value)}, not {_WORDS[shape]}"
        case _:
            return


def _member_misfits(shape: dict[str, Shape], value: Json, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is {kind_of(value)}, not an object"
        return
    for name, inner in shape.items():
        plain = name.removesuffix("?")
        if plain in value:
            yield from misfits(inner, value[plain], f"{path}.{plain}")
        elif plain == name:
            yield f"{path}.{plain} is missing"


def _item_misfits(shape: Shape, value: Json, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} is {kind_of(value)}, not an array"
        return
    for index, one in enumerate(value):
        yield from misfits(shape, one, f"{path}[{index}]")


def _misfits_by(shape: By, value: Json, path: str) -> Iterator[str]:
    kind = value.get(shape.member) if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in shape.kinds:
        yield from misfits(shape.kinds[kind], value, path)
    else:
        yield f"{path}.{shape.member} is none of {', '.join(sorted(shape.kinds))}"


_WORDS: Final[dict[Any, str]] = {
    NUMBER: "a number",
    str: "a text",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
}
_KINDS: Final = {
    **_WORDS, float: "a number with a fraction", list: "an array", type(None): "null",
}  # fmt: skip


def kind_of(value: Json) -> str:
    """What sort of JSON a value is, in words."""
    return _KINDS[type(value)]


def _is(shape: Shape, value: Json) -> bool:
    if isinstance(value, bool):
        return shape is bool
    if shape is NUMBER:
        return isinstance(value, (int, float))
    if shape is int:  # JSON knows one sort of number: 3.0 is an integer
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, shape)
