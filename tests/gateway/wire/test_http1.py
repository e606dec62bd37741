"""HTTP in bytes: h11 reads what we write, we read what it reads, at any cut, and in no more time than it is long."""

from __future__ import annotations

from collections.abc import Sequence

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.wire.http1 import (
    LAST_CHUNK,
    Chunked,
    Cut,
    HeadReader,
    NotHttp,
    Sending,
    Sized,
    UntilEnd,
    answer_head,
    body_of_answer,
    chunk,
    fields_written,
    says_close,
)
from openai_gateway_mcp.fuzz.damage import SIZES, cut, mutated
from tests.guided.answers import ANSWERS, AnswerReader, agree

MOST = 16 * 1024
FRAMING = {"content-length", "transfer-encoding", "host", "connection", "expect", "upgrade"}
TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8).filter(lambda name: name.lower() not in FRAMING)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)
FIELDS = st.lists(st.tuples(TOKENS, VALUES), max_size=5)


@given(ANSWERS | mutated(ANSWERS), SIZES)
def test_an_answer_is_what_h11_reads_at_any_cut(data: bytes, sizes: Sequence[int]) -> None:
    agree(data, sizes, AnswerReader())


# --- written ---------------------------------------------------------------------------------------------------------


@given(st.sampled_from(["GET", "POST", "DELETE"]), FIELDS, st.lists(st.binary(max_size=20), max_size=4), st.booleans())
def test_a_request_is_what_h11_reads(
    method: str, fields: list[tuple[str, str]], pieces: list[bytes], chunks: bool
) -> None:
    length = sum(map(len, pieces))
    framing = ("Transfer-Encoding", "chunked") if chunks else ("Content-Length", str(length))
    sending = Sending(method, b"/a?b=c", [("Host", "a.example"), *fields, framing])
    said = b"".join((sending.head, *map(sending.piece, pieces), sending.end()))

    server = h11.Connection(h11.SERVER)
    server.receive_data(said)
    head = server.next_event()
    assert isinstance(head, h11.Request)
    assert (head.method, head.target) == (method.encode(), b"/a?b=c")
    wanted = [("Host", "a.example"), *fields, framing]
    assert [(n.decode(), v.decode()) for n, v in head.headers.raw_items()] == wanted
    found = b""
    while isinstance(event := server.next_event(), h11.Data):
        found += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert found == b"".join(pieces)
    assert server.trailing_data == (b"", False)


@pytest.mark.parametrize("length", [3, 5])
def test_a_body_that_is_not_as_long_as_was_said_is_not_sent(length: int) -> None:
    sending = Sending("POST", b"/", [("Host", "a"), ("Content-Length", str(length))])
    with pytest.raises(NotHttp, match="longer" if length == 3 else "shorter"):
        sending.piece(b"body") + sending.end()
    with pytest.raises(NotHttp, match="longer"):
        Sending("POST", b"/", [("Host", "a")]).piece(b"body")


@pytest.mark.parametrize(
    "framing",
    [
        [("Content-Length", "4"), ("content-length", "4")],
        [("Content-Length", "4"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip")],
        *[[("Content-Length", said)] for said in ("", "x", "-4", "+4", "0_4", " 4", "4, 4", "4" * 19)],
    ],
)
def test_a_request_that_does_not_say_in_one_way_how_long_it_is_is_not_sent(framing: list[tuple[str, str]]) -> None:
    with pytest.raises(NotHttp, match="how long its body is"):
        Sending("POST", b"/", [("Host", "a"), *framing])


NO_FIELDS = {
    "a line more": ("x", "a\r\ny: b"),
    "a line feed": ("x", "a\nb"),
    "a name with a line more": ("x: a\r\ny", "b"),
    "a blank in the name": ("x y", "a"),
    "another name and value": ("x: y", "a"),
    "no name": ("", "a"),
    "a nul": ("x", "a\0"),
    "no ascii": ("x", "ä"),
}


@pytest.mark.parametrize("field", NO_FIELDS.values(), ids=NO_FIELDS.keys())
def test_what_would_be_no_field_is_not_written_nor_quoted(field: tuple[str, str]) -> None:
    for write in (
        lambda: fields_written([("a", "b"), field]),
        lambda: answer_head(200, "OK", [field]),
        lambda: Sending("GET", b"/", [field]),
    ):
        with pytest.raises(NotHttp) as caught:
            write()
        assert str(caught.value) == "a header field cannot be sent"


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=6)), max_size=3))
def test_what_is_written_has_a_line_for_each_field(fields: list[tuple[str, str]]) -> None:
    try:
        lines = fields_written(fields)
    except NotHttp:
        return
    assert lines.decode().split("\r\n")[:-1] == [f"{name}: {value}" for name, value in fields]


@pytest.mark.parametrize(
    ("method", "target"), [("G T", b"/"), ("", b"/"), ("GÄT", b"/"), ("GET", b"/a b"), ("GET", b"")]
)
def test_a_request_line_that_would_be_none_is_not_written(method: str, target: bytes) -> None:
    with pytest.raises(NotHttp):
        Sending(method, target, [("Host", "a")])


@given(st.integers(200, 599), FIELDS, st.binary(max_size=30))
def test_an_answer_that_is_written_is_what_h11_reads(status: int, fields: list[tuple[str, str]], body: bytes) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer_head(status, "Reason", [*fields, ("content-length", str(len(body)))]) + body)
    head = client.next_event()
    assert isinstance(head, h11.Response)
    assert (head.status_code, head.reason) == (status, b"Reason")
    assert [(n.decode(), v.decode()) for n, v in head.headers.raw_items()][:-1] == fields


# --- read ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), SIZES)
def test_chunks_that_are_written_are_read_at_any_cut(pieces: list[bytes], sizes: Sequence[int]) -> None:
    body, data, found = Chunked(MOST), bytearray(), b""
    for piece in cut(b"".join(map(chunk, pieces)) + LAST_CHUNK + b"next", sizes):
        data += piece
        found += body.take(data)
    assert (found, body.is_over, bytes(data)) == (b"".join(pieces), True, b"next")
    body.end()


def test_what_came_before_a_fault_is_given_before_it_is_told() -> None:
    body, data = Chunked(MOST), bytearray(b"4\r\nbody\r\n2\r\nabc\r\n")
    assert body.take(data) == b"bodyab"
    for _ in range(2):
        with pytest.raises(NotHttp, match="not as long"):
            body.take(data)


@pytest.mark.parametrize("body", [Sized(5), Chunked(MOST)])
def test_a_body_that_ends_too_early_is_cut(body: Sized | Chunked) -> None:
    assert body.take(bytearray(b"4")) in {b"4", b""}
    with pytest.raises(Cut):
        body.end()


@pytest.mark.parametrize(("body", "data"), [(Sized(4), b"body"), (Chunked(MOST), b"4\r\nbody\r\n0\r\n\r\n")])
def test_a_body_that_is_whole_may_end(body: Sized | Chunked, data: bytes) -> None:
    assert body.take(bytearray(data)) == b"body"
    assert body.is_over
    body.end()


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    body = UntilEnd()
    assert body.take(bytearray(b"all")) == b"all"
    assert not body.is_over
    body.end()
    assert body.is_over


@pytest.mark.parametrize("status", [204, 304, 200])
def test_an_answer_that_has_no_body_has_none_whatever_it_says(status: int) -> None:
    head = HeadReader(MOST).take(bytearray(b"HTTP/1.1 %d x\r\ncontent-length: 4\r\n\r\n" % status))
    assert head is not None
    assert body_of_answer(head, most=MOST, to_head=status == 200).is_over
    assert not head.has_two_lengths


def test_an_answer_that_changes_the_protocol_is_none() -> None:
    with pytest.raises(NotHttp, match="nobody asked for"):
        HeadReader(MOST).take(bytearray(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"))


def test_two_lengths_are_known_and_an_old_server_keeps_nothing() -> None:
    said = bytearray(b"HTTP/1.0 200 x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n")
    head = HeadReader(MOST).take(said)
    assert head is not None
    assert head.has_two_lengths
    assert not head.keeps


@pytest.mark.parametrize(
    ("connection", "closes"), [("close", True), ("a,\tCLOSE ", True), ("closed", False), ("", False)]
)
def test_a_connection_is_closed_by_a_word_and_not_by_a_part_of_one(connection: str, closes: bool) -> None:
    assert says_close(connection) is closes


def test_nothing_is_held_beyond_its_bound() -> None:
    for data in (b"HTTP/1.1 200 " + b"a" * MOST, b"HTTP/1.1 200 x\r\nx: %b\r\n\r\n" % (b"a" * MOST)):
        with pytest.raises(NotHttp, match="longer than"):
            HeadReader(MOST).take(bytearray(data))
    for data in (b"1;" + b"a" * MOST, b"0\r\nx: " + b"a" * MOST):
        for end in (b"", b"\r\n\r\n"):
            with pytest.raises(NotHttp):
                Chunked(MOST).take(bytearray(data + end))


BLANKS = b" " * 1_000_000
LONG = {
    "before a value": (b"HTTP/1.1 200 x\r\nx:%b\0\r\n\r\n", None),
    "within a value": (b"HTTP/1.1 200 x\r\nx: a%bb\r\n c\r\n\r\n", b"a%bb c" % BLANKS),
    "a folded line": (b"HTTP/1.1 200 x\r\nx: a\r\n%bb\r\n\r\n", b"a b"),
    "the reason": (b"HTTP/1.1 200 %b\0\r\n\r\n", None),
}


@pytest.mark.parametrize(("data", "value"), LONG.values(), ids=LONG.keys())
def test_no_head_is_read_more_often_than_it_is_long(data: bytes, value: bytes | None) -> None:
    """With a million blanks, what tries each of them as a beginning or an end is at it for hours."""
    heads = HeadReader(3_000_000)
    if value is None:
        with pytest.raises(NotHttp):
            heads.take(bytearray(data % BLANKS))
    else:
        head = heads.take(bytearray(data % BLANKS))
        assert head is not None
        assert head.fields == {b"x": value}


@pytest.mark.parametrize("data", [b"1%b\0\r\n", b"1;%b\0\r\n", b"0\r\nx:%b\0\r\n\r\n"])
def test_no_chunk_is_read_more_often_than_it_is_long(data: bytes) -> None:
    with pytest.raises(NotHttp):
        Chunked(3_000_000).take(bytearray(data % BLANKS))


DRIPPING = {
    "an extension": (b"4;" + b"a" * 250_000, b"\r\nbody\r\n0\r\n\r\n"),
    "a trailer": (b"4\r\nbody\r\n0\r\nx:" + b"a" * 250_000, b"\r\n\r\n"),
    "trailers": (b"4\r\nbody\r\n0\r\n" + b"x:y\r\n" * 50_000, b"\r\n"),
}


@pytest.mark.parametrize(("said", "end"), DRIPPING.values(), ids=DRIPPING.keys())
def test_what_drips_in_is_not_read_anew_with_each_byte(said: bytes, end: bytes) -> None:
    """A quarter of a million bytes, one by one: what is looked at from its beginning each time takes a quarter of an
    hour."""
    body, data, found = Chunked(300_000), bytearray(), b""
    for byte in said + end:
        data.append(byte)
        found += body.take(data)
    assert (found, body.is_over) == (b"body", True)
