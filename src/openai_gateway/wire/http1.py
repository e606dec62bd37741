"""HTTP/1.1 in bytes (RFC 9112): the head of an answer read, heads written, and bodies in their three framings.

What a provider sends is read as leniently as common clients read it: lines may end in a bare line feed, and may be
folded. What a client asks us is read by net/heads.py, which takes much less than the RFC allows. Chunks are read in one
way for both, the strict one: what two readers read differently smuggles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
LINE: Final = rb"[\t\x20-\x7e\x80-\xff]*"
"""What one line may hold after a field's colon, or a chunk's semicolon. No pattern here has blanks beside this: what
can be read as the one or as the other is tried both ways, for each of them."""

MOST_DIGITS: Final = 18
"""Of a length: what still fits 64 bits wherever it is read."""

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 \r\n\r\n"

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_BEGINNING: Final = b"HTTP/"
_TEXT: Final = rb"[^\x00\n\v\f\r]*"
_FIELDS: Final = re.compile(rb"(?:%b:%b\r?\n)*\r?\n" % (TOKEN, _TEXT))
_FIELD: Final = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r?\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_STATUS_LINE: Final = re.compile(rb"HTTP/([0-9]\.[0-9]) ([1-9][0-9]{2})(?: (%b))?\r?\n" % _TEXT)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;%b)?\r\n" % LINE)
_TRAILERS: Final = re.compile(rb"(?:%b:%b\r\n)*\r\n" % (TOKEN, LINE))
_WRITTEN_FIELDS: Final = re.compile(rb"(?:%b: %b\r\n)*" % (TOKEN, LINE))
_METHOD: Final = re.compile(TOKEN)
_TARGET: Final = re.compile(rb"[!-~]+")


class NotHttp(Exception):
    """What came is no HTTP/1.1, or what is to be sent would be none. The words quote nothing of it."""


class Cut(Exception):
    """The peer ended before its message was whole."""


@attrs.frozen
class AnswerHead:
    """The first lines of an answer. `raw` are its fields as they came, names in their own letters."""

    version: bytes
    status: int
    reason: bytes = attrs.field(repr=False)
    raw: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False)
    fields: dict[bytes, bytes] = attrs.field(init=False, repr=False)
    """By name in small letters; of a repeated one the values are joined by a comma."""

    @fields.default
    def _by_name(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for raw_name, value in self.raw:
            name = raw_name.lower()
            found[name] = b"%b, %b" % (found[name], value) if name in found else value
        return found

    @property
    def has_two_lengths(self) -> bool:
        """Whether somebody on the way may believe that the body ends elsewhere."""
        return b"transfer-encoding" in self.fields and b"content-length" in self.fields

    @property
    def keeps(self) -> bool:
        """Whether the server keeps the connection after it."""
        return self.version >= b"1.1" and not says_close(self.fields.get(b"connection", b"").decode("latin-1"))


def says_close(connection: str) -> bool:
    """Whether the values of a Connection field have the word."""
    return "close" in [word.strip(" \t") for word in connection.lower().split(",")]


class HeadReader:
    """Finds the head of an answer at the front of what has come."""

    def __init__(self, most: int) -> None:
        """`most` bytes may it be long."""
        self._most = most
        self._looked_at = 0

    def take(self, data: bytearray) -> AnswerHead | None:
        """The head, which is taken from the front of `data`; None where more is needed. Raises NotHttp."""
        if not _BEGINNING.startswith(data[: len(_BEGINNING)]):
            raise NotHttp("it does not begin as an answer does")
        end = _END_OF_HEAD.search(data, self._looked_at)
        if (end.end() if end is not None else len(data)) > self._most:
            raise NotHttp(f"its head is longer than {self._most:,} bytes")
        if end is None:
            self._looked_at = max(0, len(data) - 2)
            return None
        head = bytes(data[: end.end()])
        del data[: end.end()]
        self._looked_at = 0
        return _answer_head(head)


def _answer_head(head: bytes) -> AnswerHead:
    first = _STATUS_LINE.match(head)
    if first is None:
        raise NotHttp("its first line is no status line")
    lines = head[first.end() :]
    if b"\n " in lines or b"\n\t" in lines:
        lines = _FOLD.sub(b" ", lines)
    if _FIELDS.fullmatch(lines) is None:
        raise NotHttp("a line of its head is no header field")
    if first[2] == b"101":
        raise NotHttp("it changes to a protocol that nobody asked for")
    return AnswerHead(
        first[1],
        int(first[2]),
        first[3] or b"",
        tuple([(name, value.strip(b" \t")) for name, value in _FIELD.findall(lines)]),
    )


class Body(Protocol):
    """The body of one message, read from the front of what has come."""

    is_over: bool

    def take(self, data: bytearray) -> bytes:
        """What `data` begins with of the body, all of which is taken from it. b"" where more is needed, or `is_over`.

        Raises NotHttp, after all that came before was given.
        """

    def end(self) -> None:
        """The peer says no more. Raises Cut where more was to come."""


class Sized:
    """A body whose length was said."""

    def __init__(self, length: int) -> None:
        self._length = self._left = length
        self.is_over = not length

    def take(self, data: bytearray) -> bytes:
        found = bytes(data) if len(data) <= self._left else bytes(data[: self._left])
        del data[: len(found)]
        self._left -= len(found)
        self.is_over = not self._left
        return found

    def end(self) -> None:
        if not self.is_over:
            raise Cut(f"the connection ended after {self._length - self._left} of {self._length} bytes of the body")


class UntilEnd:
    """A body that ends with its connection."""

    def __init__(self) -> None:
        self.is_over = False

    def take(self, data: bytearray) -> bytes:
        found = bytes(data)
        data.clear()
        return found

    def end(self) -> None:
        self.is_over = True


class Chunked:
    """A body in chunks. What their extensions and the trailers say is nothing to anybody here."""

    def __init__(self, most: int) -> None:
        """`most` bytes may the line before a chunk have, and the trailers together."""
        self._most = most
        self._left = 0  # bytes of the chunk that is being read
        self._looked_at = 0  # bytes of the part that is being read, which its end does not begin in
        self._read: _Part = self._size
        self._wrong = ""
        self.is_over = False

    def take(self, data: bytearray) -> bytes:
        found: list[bytes] = []
        at = 0
        while not self.is_over and not self._wrong:
            if self._left:
                piece = bytes(data[at : at + self._left])
                if not piece:
                    break
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif (beyond := self._read(data, at)) > at:
                at = beyond
            else:
                break
        del data[:at]
        if self._wrong and not found:
            raise NotHttp(self._wrong)
        return b"".join(found)

    def end(self) -> None:
        if not self.is_over:
            raise Cut("the connection ended within the body (incomplete chunked read)")

    # Each of these reads one part of the framing from `at`, and says where it ends: at `at` itself where it is not
    # whole yet, or wrong.

    def _size(self, data: bytearray, at: int) -> int:
        line = self._part(_CHUNK, b"\n", data, at, "the line before a chunk is none")
        if line is None:
            return at
        self._left = int(line[1], 16)
        self._read = self._close if self._left else self._trailers
        return line.end()

    def _close(self, data: bytearray, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._read = self._size
            return at + 2
        if not b"\r\n".startswith(end):
            self._wrong = "a chunk is not as long as was said"
        return at

    def _trailers(self, data: bytearray, at: int) -> int:
        beyond = at
        if data.startswith(b"\r\n", at):
            beyond += 2
        elif trailers := self._part(_TRAILERS, b"\n\r\n", data, at, "what follows the last chunk is no trailer"):
            beyond = trailers.end()
        self.is_over = beyond > at
        return beyond

    def _part(
        self, pattern: re.Pattern[bytes], end: bytes, data: bytearray, at: int, words: str
    ) -> re.Match[bytes] | None:
        """What begins at `at`, once its end has come. Until then nothing is looked at twice, however it drips in."""
        found = data.find(end, at + self._looked_at)
        length = (len(data) if found < 0 else found + len(end)) - at
        self._looked_at = max(0, length - len(end) + 1) if found < 0 else 0
        part = pattern.match(data, at) if found >= 0 else None
        if length > self._most or (found >= 0 and part is None):
            self._wrong = words
            return None
        return part


class _Part(Protocol):
    def __call__(self, data: bytearray, at: int, /) -> int: ...


def body_of_answer(head: AnswerHead, *, most: int, to_head: bool = False) -> Body:
    """How the body of this answer is read (RFC 9112, 6.3). Raises NotHttp.

    `most` as in Chunked; `to_head`: it answers a HEAD.
    """
    encoding, said = head.fields.get(b"transfer-encoding"), head.fields.get(b"content-length")
    body: Body = UntilEnd()
    if said is not None:
        length, *others = {one.strip(b" \t") for one in said.split(b",")}
        if others or not length.isdigit() or len(length) > MOST_DIGITS:
            raise NotHttp("it does not say how long its body is")
        body = Sized(int(length))
    if encoding is not None:
        if encoding.lower() != b"chunked":
            raise NotHttp("its transfer-encoding is none that was asked for")
        body = Chunked(most)
    return Sized(0) if to_head or head.status in {204, 304} else body


def fields_written(fields: Sequence[tuple[str, str]]) -> bytes:
    """The lines of these fields. Raises NotHttp for a name or a value that is none, or would be more than one line."""
    try:
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("ascii")
    except UnicodeEncodeError:
        lines = b""
    # A line break within a value could make lines that are sound each: then there are more of them than fields.
    # So could a colon within a name, a name and a value that are sound each, and other ones.
    is_one_a_line = lines.count(b"\n") == len(fields) and not any(":" in name for name, _ in fields)
    if is_one_a_line and _WRITTEN_FIELDS.fullmatch(lines) is not None:
        return lines
    raise NotHttp("a header field cannot be sent")


def answer_head(status: int, reason: str, fields: Sequence[tuple[str, str]]) -> bytes:
    """The first lines of an answer, its empty line included. Raises NotHttp."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason.encode("ascii"), fields_written(fields))


def chunk(data: bytes) -> bytes:
    """A piece of a body in chunks; it may not be empty, which would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Sending:
    """A request that is being written: its head, and its body as its head says that it comes."""

    def __init__(self, method: str, target: bytes, fields: Sequence[tuple[str, str]]) -> None:
        """Raises NotHttp where it cannot be sent."""
        verb = method.encode("ascii", "replace")
        if _METHOD.fullmatch(verb) is None or _TARGET.fullmatch(target) is None:
            raise NotHttp("the request line cannot be sent")
        self.head: Final = b"%b %b HTTP/1.1\r\n%b\r\n" % (verb, target, fields_written(fields))
        self.is_head: Final = verb == b"HEAD"
        self._left = _length_said(fields)

    def piece(self, data: bytes) -> bytes:
        """Some of the body. Raises NotHttp for more than was said."""
        if not data or self._left is None:
            return chunk(data) if data else b""
        self._left -= len(data)
        if self._left < 0:
            raise NotHttp("the body is longer than was said")
        return data

    def end(self) -> bytes:
        """The end of the body. Raises NotHttp where there was less than was said."""
        if self._left:
            raise NotHttp("the body is shorter than was said")
        return LAST_CHUNK if self._left is None else b""


_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


def _length_said(fields: Sequence[tuple[str, str]]) -> int | None:
    """How long the body of a request with these is; None where it comes in chunks. Raises NotHttp."""
    match [(name.lower(), value.lower()) for name, value in fields if name.lower() in _FRAMING]:
        case []:
            return 0
        case [("transfer-encoding", "chunked")]:
            return None
        case [("content-length", said)] if said.isdecimal() and len(said) <= MOST_DIGITS:
            return int(said)
    raise NotHttp("the request does not say in one way how long its body is")
