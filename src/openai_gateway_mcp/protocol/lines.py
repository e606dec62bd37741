"""Bytes to lines, with a bound on what an unfinished line may hold."""

from __future__ import annotations

import enum
from collections import deque

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"


class TooLong(enum.Enum):
    """Stands for a line over the limit; the line itself is gone."""

    TOO_LONG = enum.auto()


class LineBuffer:
    """Splits a byte stream at `\\n`, however it is cut into pieces.

    Only `\\n` ends a line: U+2028 and its kin are text inside a message. A `\\r` before it, blank lines and one UTF-8
    byte order mark at the very beginning are dropped. A line of more than `max_bytes` bytes (without its newline)
    becomes one `TooLong` as soon as that is known, and the rest of it is skipped without being held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines: deque[bytes | TooLong] = deque()
        self._held = bytearray()  # the unfinished line; a list of tiny pieces would weigh thirty times as much
        self._skipping = False
        self._at_start = True

    def receive_data(self, data: bytes) -> None:
        """Take in more bytes; only these are searched for newlines."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            self._end_line()
        self._hold(rest)

    def receive_eof(self) -> None:
        """The stream is over: what came after the last newline counts as a line too."""
        self._end_line()

    def next_line(self) -> bytes | TooLong | None:
        """The next whole line without its line end, or None while there is none."""
        return self._lines.popleft() if self._lines else None

    def _hold(self, piece: bytes) -> None:
        if self._skipping or not piece:
            return
        if len(self._held) + len(piece) <= self._max_bytes:
            self._held += piece
            return
        self._held.clear()
        self._skipping = True
        self._at_start = False
        self._lines.append(TooLong.TOO_LONG)

    def _end_line(self) -> None:
        line = bytes(self._held)
        self._held.clear()
        if self._skipping:
            self._skipping = False
            return
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        line = line.strip(_BLANK)
        if line:
            self._lines.append(line)
