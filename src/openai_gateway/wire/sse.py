"""Server-sent events: bytes in, events out, and back (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import re
from typing import Final

import attrs

MAX_EVENT_BYTES: Final = 16 * 2**20
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event, or a line of one, passed the limit; the stream cannot be read on."""


@attrs.frozen(kw_only=True)
class Event:
    """One dispatched event. `data` is untouched (lines joined by a newline), `name` is "" where none was given."""

    data: bytes
    name: str = ""
    id: str = ""


@attrs.frozen(kw_only=True)
class Comment:
    """A line that begins with a colon: a sign of life, and no content."""

    text: bytes


class Decoder:
    """Takes the bytes as they come, cut anywhere; `retry` is ignored, nobody here reconnects by itself."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._begun = False  # whether the first bytes were seen to be, or not to be, a byte order mark
        self._after_cr = False  # the last line ended in CR: a LF that comes first now belongs to it
        self._rest = bytearray()  # the line that has not ended; a list of tiny pieces would weigh many times as much
        self._held = 0  # bytes of the event's lines so far
        self._data: list[bytes] = []
        self._name = ""
        self._id = ""

    def feed(self, data: bytes) -> list[Event | Comment]:
        """What `data` completed. b"" is the end of the stream: an event without its blank line is discarded.

        Raises EventTooLarge; the decoder is of no use afterwards.
        """
        if not data:
            self._rest.clear()
            self._data, self._name = [], ""
            return []
        if not self._begun:
            data = self._without_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        return self._lines(data)

    def _without_bom(self, data: bytes) -> bytes:
        data = bytes(self._rest) + data
        self._rest.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._rest += data
            return b""
        self._begun = True
        return data.removeprefix(_BOM)

    def _lines(self, data: bytes) -> list[Event | Comment]:
        found: list[Event | Comment] = []
        begin = 0
        for end in _LINE_END.finditer(data):
            self._hold(data[begin : end.start()])
            line = bytes(self._rest)
            self._rest.clear()
            begin = end.end()
            item = self._line(line)
            if item is not None:
                found.append(item)
        self._after_cr = data.endswith(b"\r")
        if begin < len(data):
            self._hold(data[begin:])
        return found

    def _hold(self, piece: bytes) -> None:
        self._rest += piece
        if self._held + len(self._rest) > self._limit:
            raise EventTooLarge(f"An event of the stream is larger than {self._limit} bytes")

    def _line(self, line: bytes) -> Event | Comment | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        if not field:
            return Comment(text=value.removeprefix(b" "))
        self._held += len(line)
        self._field(field, value.removeprefix(b" "))
        return None

    def _field(self, field: bytes, value: bytes) -> None:
        match field:
            case b"data":
                self._data.append(value)
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case _:
                pass

    def _dispatch(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name, self._held = [], "", 0
        return Event(data=b"\n".join(data), name=name, id=self._id) if data else None


def encode(data: bytes, *, name: str = "", id: str = "") -> bytes:  # noqa: A002 - the field's own name
    """One event. Line ends in `data` become `data:` lines; `name` and `id` must hold none, and `id` no NUL."""
    if re.search("[\r\n\0]", name + id):
        raise ValueError("An event's name and id are single lines without NUL")
    lines = [f"event: {name}".encode()] if name else []
    lines += [f"id: {id}".encode()] if id else []
    lines += [b"data: " + line for line in _LINE_END.split(data)]
    return b"\n".join((*lines, b"", b""))


def encode_comment(text: bytes = b"") -> bytes:
    """A sign of life for the peer; the empty one is the usual."""
    return b"".join(b": " + line + b"\n" for line in _LINE_END.split(text)) + b"\n"
