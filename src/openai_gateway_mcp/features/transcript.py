"""What has come of a streamed answer so far, gathered event by event."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

Json = Any

# DeepSeek, vLLM and llama.cpp say reasoning_content, OpenRouter and Ollama say reasoning.
_REASONING_KEYS = ("reasoning_content", "reasoning")
_MOST_OF_A_REASON = 64  # characters of a finish_reason; the longest in use has 14


def text_of(content: Json) -> str:
    """The text of a message's `content`: a string, or the text parts of a list (Mistral's reasoning models)."""
    return content if isinstance(content, str) else _of_parts(content, "text")


def thinking_of(content: Json) -> str:
    """The reasoning among the parts of a `content`: {"type": "thinking", "thinking": [{"type": "text", …}]}."""
    return _of_parts(content, "thinking")


def _of_parts(content: Json, kind: str) -> str:
    parts = content if isinstance(content, list) else []
    # Each kind has its words under its own name: a string, or for the thinking once more a list of text parts.
    return "".join(text_of(part.get(kind)) for part in parts if isinstance(part, Mapping) and part.get("type") == kind)


@attrs.define
class Transcript:
    """The first choice of a Chat Completions stream. `received` counts characters of every sort, reasoning included."""

    received: int = 0
    characters: int = 0
    finish_reason: str | None = None
    _text: list[str] = attrs.field(factory=list)
    _reasoning: list[str] = attrs.field(factory=list)
    _refusal: list[str] = attrs.field(factory=list)
    _pictures: list[str] = attrs.field(factory=list)
    _sound: bytearray = attrs.field(factory=bytearray)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Their URLs, most often data: ones (OpenRouter's and Gemini's way to send a picture that a model made)."""
        return tuple(self._pictures)

    @property
    def sound(self) -> bytes:
        return bytes(self._sound)

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def refusal(self) -> str:
        return "".join(self._refusal)

    def feed(self, event: Mapping[str, Json]) -> str:
        """Take one event, and return the text it adds. What has another shape than Chat Completions is passed over."""
        choice = _first_choice(event)
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason[:_MOST_OF_A_REASON]
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return ""
        self._take(self._refusal, delta.get("refusal"))
        self._take(self._reasoning, next((delta[key] for key in _REASONING_KEYS if delta.get(key)), None))
        self._take(self._reasoning, thinking_of(delta.get("content")))
        self._take_media(delta)
        piece = self._take(self._text, text_of(delta.get("content")))
        self.characters += len(piece)
        return piece

    def _take_media(self, delta: Mapping[str, Json]) -> None:
        for url in _urls(delta.get("images")):
            self._pictures.append(url)
            self.received += len(url)
        if not isinstance(sound := delta.get("audio"), Mapping):
            return
        self._take(self._text, sound.get("transcript"))
        if isinstance(data := sound.get("data"), str):
            self.received += len(data)
            with contextlib.suppress(binascii.Error):  # what is no base64 is no sound
                self._sound += base64.b64decode(data, validate=True)

    def _take(self, pieces: list[str], piece: Json) -> str:
        if not isinstance(piece, str):
            return ""
        pieces.append(piece)
        self.received += len(piece)
        return piece


def _urls(images: Json) -> Iterator[str]:
    for one in images if isinstance(images, list) else []:
        holder = one.get("image_url") if isinstance(one, Mapping) else None
        url = holder.get("url") if isinstance(holder, Mapping) else None
        if isinstance(url, str):
            yield url


def _first_choice(event: Mapping[str, Json]) -> Mapping[str, Json]:
    choices = event.get("choices")
    if not isinstance(choices, list):
        return {}
    # A gateway may send the choices of n > 1 interleaved; we ask for one and show one.
    return next((one for one in choices if isinstance(one, Mapping) and one.get("index", 0) == 0), {})
