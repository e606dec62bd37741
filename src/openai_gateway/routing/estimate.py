"""The tokens of a call whose provider does not count them, roughly, and marked as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from openai_gateway.routing.calls import Call, Json, Usage

BYTES_A_TOKEN: Final = 4
"""OpenAI's rule of thumb for English; other scripts take fewer bytes of UTF-8 a token, never many more."""

_TEXTS: Final = ("messages", "prompt", "input", "tools")
_OBJECTS: Final = (dict, Mapping)  # in this order: an abstract class is slow to ask
_NOT_TEXT: Final = frozenset({"role", "type", "url", "data", "file_data"})


def estimated(call: Call, output_bytes: int) -> Usage:
    """The usage of an answer to `call` of `output_bytes` bytes of UTF-8 text."""
    return Usage(input=_tokens(input_bytes(call)), output=_tokens(output_bytes), estimated=True)


def input_bytes(call: Call) -> int:
    """Bytes of UTF-8 in the texts of the prompt. Images and sounds, which come as URLs, are left out."""
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in _texts(call.body))


def _texts(body: Mapping[str, Json]) -> Iterator[str]:
    # A stack and no recursion: the body is as deep as its caller liked.
    waiting = [body[name] for name in _TEXTS if name in body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, _OBJECTS):
            waiting.extend(member for name, member in value.items() if name not in _NOT_TEXT)
        elif isinstance(value, list | tuple):
            waiting.extend(value)


def _tokens(size: int) -> int:
    return -(-size // BYTES_A_TOKEN)
