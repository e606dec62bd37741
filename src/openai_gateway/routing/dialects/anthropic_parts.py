"""OpenAI's content parts as the Messages API's content blocks."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from openai_gateway.routing.calls import Json
from openai_gateway.routing.dialects.anthropic_notes import Notes, refused

Block = dict[str, Any]

_ENCODED: Final = ";base64"
_PDF: Final = "application/pdf"
_MEDIA_TYPES: Final = {"image/jpg": "image/jpeg"}  # no registered name, and a common one
_BARE_TYPES: Final = {"": _PDF, "pdf": _PDF, "txt": "text/plain"}
_DEFAULT_DETAILS: Final = (None, "auto")
_KEPT: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"cache_control", "citations"}),
    "image": frozenset({"cache_control", "transformations"}),
    "document": frozenset({"cache_control", "citations", "context", "title"}),
}
"""The Messages API's own members that a caller may put on an OpenAI part."""


@attrs.frozen(kw_only=True)
class Place:
    """Where a part stands in the caller's request, for an error, and in words that are the same for all like it."""

    param: str
    notes: Notes

    def member(self, name: str) -> Place:
        return Place(param=f"{self.param}.{name}", notes=self.notes)

    def entry(self, at: int) -> Place:
        return Place(param=f"{self.param}[{at}]", notes=self.notes)

    @property
    def general(self) -> str:
        return re.sub(r"\[\d+\]", "[]", self.param)


def blocks_of(content: Json, place: Place) -> list[Block]:
    """The blocks of a message's `content`: null, a text or a list of parts. Raises GatewayError."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise refused(place.param, f"{place.param} is neither a text nor a list of parts.")
    return [_block(part, place.entry(at)) for at, part in enumerate(content)]


def says(block: Block) -> bool:
    """Whether the block may be sent: the API refuses a text that is empty or nothing but white space."""
    text = block.get("text")
    return block.get("type") != "text" or not isinstance(text, str) or bool(text.strip())


def _block(part: Json, place: Place) -> Block:
    if not isinstance(part, Mapping):
        raise refused(place.param, f"{place.param} is no object.")
    kind = part.get("type")
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    return dict(part) if read is None else read(part, place)  # a block of Anthropic's own passes as it is


def _text(part: Mapping[str, Json], place: Place) -> Block:
    return _dressed({"type": "text", "text": part.get("text")}, part, {"text"}, place)


def _refusal(part: Mapping[str, Json], place: Place) -> Block:
    return _dressed({"type": "text", "text": part.get("refusal")}, part, {"refusal"}, place)


def _image(part: Mapping[str, Json], place: Place) -> Block:
    image = part.get("image_url")
    image = image if isinstance(image, Mapping) else {"url": image}
    if image.get("detail") not in _DEFAULT_DETAILS:
        place.notes.left_out(f"{place.general}.image_url.detail")
    place.notes.kept(image, frozenset(), frozenset({"url", "detail"}), f"{place.general}.image_url")
    url = image.get("url")
    if not isinstance(url, str):
        raise refused(f"{place.param}.image_url", f"{place.param}.image_url has no url.")
    return _dressed({"type": "image", "source": _image_source(url, place)}, part, {"image_url"}, place)


def _image_source(url: str, place: Place) -> Block:
    if url[:5].lower() != "data:":
        return {"type": "url", "url": url}  # fetched by Anthropic, never by us
    media_type, data = _decoded(url, place.member("image_url"))
    return {"type": "base64", "media_type": _MEDIA_TYPES.get(media_type, media_type), "data": data}


def _file(part: Mapping[str, Json], place: Place) -> Block:
    place = place.member("file")
    file = part.get("file")
    if not isinstance(file, Mapping):
        raise refused(place.param, f"{place.param} is no object.")
    place.notes.kept(file, frozenset(), frozenset({"file_data", "file_id", "filename"}), place.general)
    block: Block = {"type": "document", "source": _file_source(file, place)}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return _dressed(block, part, {"file"}, place)


def _file_source(file: Mapping[str, Json], place: Place) -> Block:
    data, file_id = file.get("file_data"), file.get("file_id")
    if isinstance(file_id, str) and data is None:
        return {"type": "file", "file_id": file_id}  # an id of Anthropic's Files API; it refuses any other
    if not isinstance(data, str):
        raise refused(place.param, f"{place.param} has neither file_data nor file_id.")
    bare = data[:5].lower() != "data:"
    media_type, encoded = (_type_by_name(file.get("filename")), data) if bare else _decoded(data, place)
    if media_type == _PDF:
        return {"type": "base64", "media_type": _PDF, "data": encoded}
    if media_type == "text/plain":
        return {"type": "text", "media_type": "text/plain", "data": _plain(encoded, place)}
    raise refused(
        place.param, f"{place.param} is {media_type or 'of no known type'}; Anthropic reads PDF and plain text."
    )


def _type_by_name(name: Json) -> str:
    """Of bare base64, which OpenAI takes too, only the file's name says what it is."""
    return _BARE_TYPES.get(str(name or "").lower().rpartition(".")[2], "")


def _decoded(url: str, place: Place) -> tuple[str, str]:
    """Media type and base64 data of a data URL (RFC 2397)."""
    # No pattern: one that repeats a group takes 150 bytes for each parameter, and a URL may have millions of them.
    head, comma, data = url[len("data:") :].partition(",")
    if not comma or head[-len(_ENCODED) :].lower() != _ENCODED:
        raise refused(place.param, f"{place.param} is no data URL with base64 in it.")
    return head.partition(";")[0].strip().lower(), data


def _plain(encoded: str, place: Place) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        message = f"{place.param} is no base64 of UTF-8 text."
    raise refused(place.param, message)


def _audio(_part: Mapping[str, Json], place: Place) -> Block:
    raise refused(place.param, f"{place.param} is audio, which the Messages API does not take.")


def _dressed(block: Block, part: Mapping[str, Json], used: set[str], place: Place) -> Block:
    known = _KEPT[block["type"]]
    kept = place.notes.kept(part, known, frozenset({"type", "prompt_cache_breakpoint", *used}), place.general)
    if part.get("prompt_cache_breakpoint") is not None:  # OpenAI's mark for the same thing
        kept.setdefault("cache_control", {"type": "ephemeral"})
    return {**block, **kept}


_PARTS: Final[Mapping[str, Callable[[Mapping[str, Json], Place], Block]]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}
