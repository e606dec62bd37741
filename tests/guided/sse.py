"""Server-sent events: cuts change nothing, the events are those of the standard's own words, and memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from openai_gateway.wire.sse import Comment, Decoder, Event, EventTooLarge
from openai_gateway_mcp.fuzz.damage import SIZES, cut, mutated
from tests.gateway.wire.sse_reference import interpreted
from tests.guided.target import Target, by_choices, examples

LIMITS = (16, 200, 2**20)
_LINES = st.sampled_from(
    [
        *[
            b"data: a",
            b"data",
            b"data:",
            b"data:  {}",
            b"event: e",
            b"event",
            b"id: 1",
            b"id: a\0b",
            b"id",
            b": c",
            b":",
        ],
        *[b"retry: 1", b"x", b"", b"", b"", b"\xef\xbb\xbf", b"data:\xe2\x82", b"event: \xff", b"data: " + b"x" * 180],
    ]
)
_ENDS = st.sampled_from([b"\n", b"\n", b"\r", b"\r\n"])
STREAMS = st.builds(
    lambda begin, lines: begin + b"".join(line + end for line, end in lines),
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.tuples(_LINES, _ENDS), max_size=20),
)


def target(decoder: type[Decoder] = Decoder) -> Target:
    def check(data: bytes, sizes: Sequence[int], limit: int) -> None:
        whole = read(decoder(max_event_bytes=limit), [data], limit)
        for pieces in (cut(data, [1]), cut(data, sizes)):
            assert read(decoder(max_event_bytes=limit), pieces, limit) == whole
        if whole is not None:
            events = [(item.data, item.name, item.id) for item in whole if isinstance(item, Event)]
            assert events == interpreted(data)

    return Target(
        name="sse",
        of_bytes=lambda data: check(data, [3, 1, 7], LIMITS[len(data) % len(LIMITS)]),
        of_choices=by_choices(check, data=STREAMS | mutated(STREAMS), sizes=SIZES, limit=st.sampled_from(LIMITS)),
        sound=lambda: examples(STREAMS, 80),
    )


def read(decoder: Decoder, pieces: Sequence[bytes], limit: int) -> list[Event | Comment] | None:
    """What is decoded; None where an event is too large, whatever came before it."""
    found: list[Event | Comment] = []
    try:
        for piece in pieces:
            found += decoder.feed(piece) if piece else []
            assert decoder._held + len(decoder._rest) <= limit, "more is held of an event than one may have"
    except EventTooLarge:
        return None
    assert decoder.feed(b"") == []
    return found
