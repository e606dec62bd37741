"""Forms with files, as multipart/form-data (RFC 7578), written without reading the files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, Protocol

import attrs

from openai_gateway.wire.strict import dumps

_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[A-Za-z0-9_-]+=[A-Za-z0-9_.+-]+)*")


class Content(Protocol):
    """Bytes that lie somewhere else, such as on a disk. They can be read again and again, each time from the start."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def pieces(self) -> AsyncIterator[bytes]: ...


@attrs.frozen(kw_only=True)
class FilePart:
    """One file of a form: the name of its field, its own name, its media type, and what is in it."""

    name: str
    filename: str
    content_type: str = "application/octet-stream"
    content: Content = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Upload:
    """What makes a call a form: its files, in their order. `boundary` occurs in none of them: random bytes will do."""

    boundary: str
    files: tuple[FilePart, ...]


@attrs.frozen(kw_only=True)
class Form:
    """A body that is not held whole: bytes of ours, and contents to be read when it is sent."""

    content_type: str
    segments: tuple[bytes | Content, ...] = attrs.field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(one) if isinstance(one, bytes) else one.size for one in self.segments)


def form_of(upload: Upload, fields: Mapping[str, Any]) -> Form:
    """The fields, then the files. A list is a field that is there several times; what is no text is written as JSON.

    Raises ValueError and TypeError for what is no JSON.
    """
    boundary = upload.boundary.encode("ascii")
    segments: list[bytes | Content] = []
    ours = bytearray()
    for name, value in _each(fields):
        ours += b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, _quoted(name), value)
    for file in upload.files:
        known = _MEDIA_TYPE.fullmatch(file.content_type)
        kind = file.content_type if known else "application/octet-stream"
        ours += b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: %b\r\n\r\n' % (
            boundary,
            _quoted(file.name),
            _quoted(file.filename),
            kind.encode("ascii"),
        )
        segments += [bytes(ours), file.content]
        ours = bytearray(b"\r\n")
    segments.append(bytes(ours) + b"--%b--\r\n" % boundary)
    return Form(content_type=f"multipart/form-data; boundary={upload.boundary}", segments=tuple(segments))


def _each(fields: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                yield name, one.encode("utf-8", "surrogatepass") if isinstance(one, str) else dumps(one)


def _quoted(text: str) -> bytes:
    """As browsers write it (HTML, "multipart form data"): nothing in a name can end it, or the line."""
    safe = text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").replace("\0", "%00")
    return safe.encode("utf-8", "surrogatepass")
