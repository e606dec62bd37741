"""What bytes are, by how they begin: names and their endings are only claims."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import attrs

_SIGNS: Final = (
    ((b"\x89PNG\r\n\x1a\n",), "image/png", "png"),
    ((b"\xff\xd8\xff",), "image/jpeg", "jpg"),
    ((b"GIF87a", b"GIF89a"), "image/gif", "gif"),
    ((b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2"), "audio/mpeg", "mp3"),
    ((b"\xff\xf1", b"\xff\xf9"), "audio/aac", "aac"),
    ((b"fLaC",), "audio/flac", "flac"),
    ((b"OggS",), "audio/ogg", "ogg"),
    ((b"\x1a\x45\xdf\xa3",), "audio/webm", "webm"),
)
_SIGNS_WITHIN: Final = (
    (b"RIFF", 8, b"WEBP", "image/webp", "webp"),
    (b"RIFF", 8, b"WAVE", "audio/wav", "wav"),
    (b"", 4, b"ftyp", "audio/mp4", "m4a"),
)

# Compiled when they are first needed: no start waits for it.
_DATA_URL: Final = r"data:[A-Za-z0-9_.+/;=-]*;base64,"
_BASE64: Final = r"[A-Za-z0-9+/]{64,}={0,2}"


@attrs.frozen
class Media:
    """Bytes and what they are; `ending` is that of such a file's name, without a dot."""

    data: bytes = attrs.field(repr=False)
    mime_type: str
    ending: str

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_url(self) -> str:
        return f"data:{self.mime_type};base64,{self.base64}"


def media_of(data: bytes) -> Media | None:
    """None for what is neither a picture nor sound that the APIs take."""
    for begins, mime_type, ending in _SIGNS:
        if data.startswith(begins):
            return Media(data, mime_type, ending)
    for first, place, sign, mime_type, ending in _SIGNS_WITHIN:
        if data.startswith(first) and data.startswith(sign, place):
            return Media(data, mime_type, ending)
    return None


def decoded(text: str) -> bytes | None:
    """The bytes of a data: URL or of bare base64; None for what is neither, such as a path."""
    head = re.match(_DATA_URL, text)
    if head is None and re.fullmatch(_BASE64, text) is None:
        return None
    try:
        return base64.b64decode(text[head.end() if head else 0 :], validate=True)
    except binascii.Error:
        return None
