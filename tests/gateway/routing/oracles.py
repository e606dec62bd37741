"""The official packages' own types as judges of what the dialects write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from anthropic.types import Message, RawMessageStreamEvent, message_create_params
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

Json = Any

_WHOLE: TypeAdapter[Json] = TypeAdapter(message_create_params.MessageCreateParamsNonStreaming)
_STREAMED: TypeAdapter[Json] = TypeAdapter(message_create_params.MessageCreateParamsStreaming)
_EVENT: TypeAdapter[Json] = TypeAdapter(RawMessageStreamEvent)
MEMBERS = frozenset(get_type_hints(message_create_params.MessageCreateParamsStreaming))
"""What a Messages request may hold, by the package's types."""


def accept_request(body: Mapping[str, Json]) -> None:
    """Raises where the `anthropic` package would not take the body; its lists are read lazily, so to their ends."""
    _exhaust((_STREAMED if body.get("stream") else _WHOLE).validate_python(body, strict=False))


def accept_message(message: Json) -> None:
    Message.model_validate(message)


def accept_event(event: Json) -> None:
    _EVENT.validate_python(event)


def accept_completion(completion: Json) -> None:
    ChatCompletion.model_validate(completion)


def accept_chunk(chunk: Json) -> None:
    ChatCompletionChunk.model_validate(chunk)


def _exhaust(value: Json) -> None:
    if isinstance(value, Mapping):
        for one in value.values():
            _exhaust(one)
    elif isinstance(value, list) or (isinstance(value, Iterator) and not isinstance(value, str)):
        for one in value:
            _exhaust(one)
