"""Server-sent events: the cuts never matter, and what is encoded comes out again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_gateway.wire.sse import Comment, Decoder, Event, EventTooLarge, encode, encode_comment


def decode(*pieces: bytes) -> list[Event | Comment]:
    decoder = Decoder()
    return [item for piece in pieces if piece for item in decoder.feed(piece)]


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (b"data: x\n\n", [Event(data=b"x")]),
        (b"data:x\r\rdata: y\r\n\r\n", [Event(data=b"x"), Event(data=b"y")]),
        (b"data:  two spaces\n\n", [Event(data=b" two spaces")]),
        (b"data: a\ndata:b\ndata\n\n", [Event(data=b"a\nb\n")]),
        (b"data\n\n", [Event(data=b"")]),
        (b"event: ping\nid: 7\nretry: 10\nunknown: x\ndata: {}\n\n", [Event(data=b"{}", name="ping", id="7")]),
        (b"id: 7\ndata: a\n\ndata: b\n\n", [Event(data=b"a", id="7"), Event(data=b"b", id="7")]),
        (b"id: a\0b\ndata: x\n\n", [Event(data=b"x")]),
        (b"event: lost\n\ndata: x\n\n", [Event(data=b"x")]),
        (b": OPENROUTER PROCESSING\n\n:\n", [Comment(text=b"OPENROUTER PROCESSING"), Comment(text=b"")]),
        (b"data: a\n: in between\ndata: b\n\n", [Comment(text=b"in between"), Event(data=b"a\nb")]),
        (b"\xef\xbb\xbfdata: x\n\n", [Event(data=b"x")]),
        (b"\xef\xbb\n\ndata: \xff\xfe\n\n", [Event(data=b"\xff\xfe")]),
        (b"data: [DONE]\n\n", [Event(data=b"[DONE]")]),
        (b"data: lost, no blank line\n", []),
        (b"\n\n\r\n", []),
    ],
)
def test_a_stream_is_read_as_whatwg_says(data: bytes, items: list[Event | Comment]) -> None:
    assert decode(data) == items
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == items


def test_the_end_of_the_stream_discards_an_event_without_its_blank_line() -> None:
    decoder = Decoder()
    assert decoder.feed(b"event: a\ndata: x\ndata: y") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n\n") == []


@pytest.mark.parametrize(
    "data",
    [b"data: " + b"x" * 20, b"data: xxx\n" * 3, b": " + b"c" * 20, b"x" * 21],
    ids=["line", "lines", "comment", "rest"],
)
def test_an_event_over_the_limit_is_an_error(data: bytes) -> None:
    with pytest.raises(EventTooLarge, match="larger than 20 bytes"):
        Decoder(max_event_bytes=20).feed(data)
    decoder = Decoder(max_event_bytes=20)
    with pytest.raises(EventTooLarge):
        list(map(decoder.feed, (data[i : i + 1] for i in range(len(data)))))


def test_the_limit_is_of_one_event_and_not_of_the_stream() -> None:
    assert len(Decoder(max_event_bytes=20).feed(b"data: 1234567890\n\n" * 10)) == 10


_LINES = st.sampled_from(
    [b"data: a", b"data", b"event: e", b"id: 1", b": c", b"x", b"", b"\xef\xbb\xbf", b"data:\xe2\x82"]
)
_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(
    st.binary(max_size=60) | st.lists(st.tuples(_LINES, _ENDS)).map(lambda pairs: b"".join(a + b for a, b in pairs)),
    st.lists(st.integers(0, 60), max_size=6),
)
@example(b"\xef\xbb\xbfdata: a\r\n\r\n", [1, 2, 11, 13])
def test_cuts_never_matter(data: bytes, cuts: list[int]) -> None:
    whole = decode(data)
    bounds = [0, *sorted(cuts), len(data)]
    assert decode(*(data[a:b] for a, b in itertools.pairwise(bounds))) == whole
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == whole


_NAMES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=10)


@given(st.binary(max_size=60).filter(lambda data: b"\r" not in data), _NAMES, _NAMES)
def test_what_is_encoded_is_decoded(data: bytes, name: str, id_: str) -> None:
    assert decode(encode(data, name=name, id=id_)) == [Event(data=data, name=name, id=id_)]


def test_carriage_returns_in_data_become_line_ends() -> None:
    assert encode(b"a\r\nb\rc") == b"data: a\ndata: b\ndata: c\n\n"


@pytest.mark.parametrize(("name", "id_"), [("a\nb", ""), ("", "a\rb"), ("", "a\0")])
def test_a_name_or_id_that_would_break_the_stream_is_refused(name: str, id_: str) -> None:
    with pytest.raises(ValueError, match="single lines"):
        encode(b"x", name=name, id=id_)


def test_a_comment_is_a_sign_of_life_and_nothing_else() -> None:
    assert decode(encode_comment(), encode_comment(b"a\nb")) == [
        Comment(text=b""),
        Comment(text=b"a"),
        Comment(text=b"b"),
    ]
