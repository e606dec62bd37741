"""What bytes are, by how they begin: names and their endings are only claims."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import attrs

_SIGNS: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png", "png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", "jpg"),
    (re.compile(rb"GIF8[79]a"), "image/gif", "gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp", "webp"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav", "wav"),
    (re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]"), "audio/mpeg", "mp3"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), "audio/aac", "aac"),
    (re.compile(rb"fLaC"), "audio/flac", "flac"),
    (re.compile(rb"OggS"), "audio/ogg", "ogg"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "audio/webm", "webm"),
    (re.compile(rb"....ftyp", re.DOTALL), "audio/mp4", "m4a"),
)

_DATA_URL: Final = re.compile(r"data:[\w.+/;=-]*;base64,", re.ASCII)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}", re.ASCII)


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
    for sign, mime_type, ending in _SIGNS:
        if sign.match(data):
            return Media(data, mime_type, ending)
    return None


def decoded(text: str) -> bytes | None:
    """The bytes of a data: URL or of bare base64; None for what is neither, such as a path."""
    head = _DATA_URL.match(text)
    if head is None and _BASE64.fullmatch(text) is None:
        return None
    try:
        return base64.b64decode(text[head.end() if head else 0 :], validate=True)
    except binascii.Error:
        return None
