"""Bytes to lines: cuts change nothing, the lines are those that splitting gives, and no more is held than allowed."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.damage import SIZES, cut, mutated
from openai_gateway_mcp.protocol.lines import LineBuffer, TooLong
from tests.fuzz.traffic import conversations
from tests.guided.target import Target, by_choices, examples

LIMITS = (5, 60, 1000)


def target(buffer: type[LineBuffer] = LineBuffer) -> Target:
    def check(data: bytes, sizes: Sequence[int], limit: int) -> None:
        expected = split(data, limit)
        for pieces in ([data], cut(data, [1]), cut(data, sizes)):
            assert read(buffer(limit), pieces) == expected
        holds_no_more(buffer(limit), cut(data, [*sizes, 50]), limit)

    traffic = conversations() | mutated(conversations())
    return Target(
        name="lines",
        of_bytes=lambda data: check(data, [3, 1, 7], LIMITS[len(data) % len(LIMITS)]),
        of_choices=by_choices(check, data=traffic, sizes=SIZES, limit=st.sampled_from(LIMITS)),
        sound=lambda: [b"\xef\xbb\xbfa\r\n\n b \n\xef\xbb\xbf\n" + b"x" * 61, *examples(conversations(), 20)],
    )


def read(lines: LineBuffer, pieces: Sequence[bytes]) -> list[bytes | TooLong]:
    for piece in pieces:
        lines.receive_data(piece)
    lines.receive_eof()
    return list(iter(lines.next_line, None))


def holds_no_more(lines: LineBuffer, pieces: Sequence[bytes], limit: int) -> None:
    for piece in pieces:
        lines.receive_data(piece)
        assert len(lines._held) <= limit, "more is held of an unfinished line than one may have"


def split(data: bytes, limit: int) -> list[bytes | TooLong]:
    """The lines once more, of all the bytes at once."""
    found: list[bytes | TooLong] = []
    for number, line in enumerate(data.split(b"\n")):
        text = (line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).strip(b" \t\r")
        if len(line) > limit:
            found.append(TooLong.TOO_LONG)
        elif text:
            found.append(text)
    return found
