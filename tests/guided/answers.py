"""A provider's answer: what is read of it is what h11 reads, cuts change nothing, and a refusal quotes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs
import h11
from hypothesis import strategies as st

from openai_gateway.wire.http1 import AnswerHead, Body, Cut, HeadReader, NotHttp, body_of_answer
from openai_gateway_mcp.fuzz.damage import SIZES, cut, mutated
from tests.guided.target import Target, by_choices, examples

MOST = 16 * 1024
CANARY = "canary-0123456789"
_FIRST = st.sampled_from(
    [
        *[b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 ", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 \t x"],
        *[
            b"HTTP/1.1 500 canary-0123456789",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 2000",
            b"HTTP/1.1 099",
            b"HTTP/1.1 101 x",
        ],
        *[b"http/1.1 200 OK", b"ICY 200 OK", b"HTTP/1.1 200 a\0b", b"SSH-2.0-canary-0123456789", b""],
    ]
)
_FIELDS = st.sampled_from(
    [
        *[
            b"content-length: 4",
            b"Content-Length:4",
            b"content-length: 4, 4",
            b"content-length: 4, 5",
            b"content-length:",
        ],
        *[b"content-length: -4", b"content-length: 4 4", b"content-length: 123456789012345678901"],
        *[b"transfer-encoding: chunked", b"Transfer-Encoding: Chunked ", b"transfer-encoding: gzip, chunked"],
        *[b"connection: close", b"connection: a, Close", b"connection: closed", b"keep-alive: timeout=5"],
        *[
            b"x:",
            b"x: \xe9",
            b"x : a",
            b"x",
            b"x: canary-0123456789\0",
            b" folded",
            b"\tfolded",
            b"x: a\rb",
            b"x: \x01",
        ],
    ]
)
_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
_BODIES = st.sampled_from(
    [
        *[
            b"",
            b"body",
            b"body and more",
            b"0\r\n\r\n",
            b"4\r\nbody\r\n0\r\n\r\n",
            b"04;a=b\r\nbody\r\n0\r\nx: y\r\n\r\n",
        ],
        *[
            b"2\r\nbo\r\n2 \r\ndy\r\n000\r\n\r\nmore",
            b"4\r\nbodyXX0\r\n\r\n",
            b"4\nbody\r\n0\r\n\r\n",
            b"g\r\n",
            b"-1\r\n",
        ],
        *[
            b"4\r\nbody\r\n0\r\nx y\r\n\r\n",
            b"4;a\rb\r\nbody\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\n",
            b"4\r\nbo",
            b"4\r\nbody\r",
        ],
    ]
)
_USUAL = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n"]
)
_FRAMING = st.sampled_from(
    [b"content-length: 4\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"x: y\r\n"]
)
ANSWERS = st.builds(
    lambda first, fields, body: b"".join((first, *fields, b"\r\n", body)),
    _USUAL | st.builds(bytes.__add__, _FIRST, _ENDS),
    st.lists(_FRAMING | st.builds(bytes.__add__, _FIELDS, _ENDS), max_size=4),
    _BODIES,
)


class AnswerReader:
    """Reads one answer of what comes in pieces, as a connection does."""

    def head(self, data: bytearray, heads: HeadReader) -> AnswerHead | None:
        return heads.take(data) if data else None

    def body(self, head: AnswerHead) -> Body:
        return body_of_answer(head, most=MOST)


@attrs.frozen
class Said:
    """What was read; `wrong` where it is no answer, or none that is whole."""

    status: int = 0
    version: bytes = b""
    reason: bytes = b""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    rest: bytes = b""
    keeps: bool = False
    wrong: str = ""


def target(reader: type[AnswerReader] = AnswerReader) -> Target:
    def check(data: bytes, sizes: Sequence[int]) -> None:
        agree(data, sizes, reader())

    return Target(
        name="answers",
        of_bytes=lambda data: check(data, [1, 5, 2]),
        of_choices=by_choices(check, data=ANSWERS | mutated(ANSWERS), sizes=SIZES),
        sound=lambda: examples(ANSWERS, 150),
    )


def agree(data: bytes, sizes: Sequence[int], reader: AnswerReader) -> None:
    ours = read([data], reader)
    for pieces in (cut(data, [1]), cut(data, sizes)):
        assert read(pieces, reader) == ours
    theirs = by_h11(data)
    if theirs.wrong:
        assert ours.wrong, f"h11 refuses it: {theirs.wrong}"
    elif ours.wrong:
        assert is_refused_on_purpose(data), f"h11 reads {theirs}"
    else:
        assert ours == theirs


def read(pieces: Sequence[bytes], reader: AnswerReader) -> Said:
    """What is read where the connection ends after these."""
    data, heads = bytearray(), HeadReader(MOST)
    head: AnswerHead | None = None
    body: Body | None = None
    found = bytearray()
    try:
        for piece in pieces:
            data += piece
            if head is None:
                head = reader.head(data, heads)
                while head is not None and head.status < 200:
                    reader.body(head)  # what it says of a body must make sense, though it has none
                    head = reader.head(data, heads)
                body = None if head is None else reader.body(head)
            while body is not None and (part := body.take(data)):
                found += part
        if head is None or body is None:
            return Said(wrong="no head")
        if not body.is_over:
            body.end()
    except NotHttp as error:
        quotes_nothing(error)
        return Said(wrong="no HTTP", body=bytes(found))
    except Cut:
        return Said(wrong="cut", body=bytes(found))
    fields = _others(head.raw)
    return Said(head.status, head.version, head.reason, fields, bytes(found), bytes(data), head.keeps)


def quotes_nothing(error: NotHttp) -> None:
    assert CANARY not in str(error)
    assert len(str(error)) < 100


def _others(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Without those that frame the body: h11 writes them anew."""
    fields = ((name.lower(), value) for name, value in raw)
    return tuple(field for field in fields if field[0] not in {b"content-length", b"transfer-encoding"})


def by_h11(data: bytes) -> Said:
    """The same of h11."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | None = None
    found = bytearray()
    try:
        for piece in (data, b"") if data else (b"",):
            connection.receive_data(piece)
            while (event := connection.next_event()) is not h11.NEED_DATA:
                match event:
                    case h11.Response():
                        head = event
                    case h11.Data():
                        found += event.data
                    case h11.EndOfMessage():
                        assert head is not None
                        fields = _others(head.headers.raw_items())
                        keeps = connection.their_state is h11.DONE
                        rest = connection.trailing_data[0]
                        version, reason = head.http_version, bytes(head.reason)
                        return Said(head.status_code, version, reason, fields, bytes(found), rest, keeps)
                    case h11.ConnectionClosed():
                        return Said(wrong="no answer")
    except h11.RemoteProtocolError as error:
        return Said(wrong=str(error))
    return Said(wrong="not whole")


_ON_PURPOSE = (
    re.compile(rb"\n[0-9A-Fa-f]{17,20}[ \t;\r]"),  # a chunk beyond 64 bits
    # No text, or a bare CR, beside a chunk's length.
    re.compile(rb"\n[0-9A-Fa-f]+[ \t]*;[^\n]*[\x00-\x08\x0b-\x1f\x7f][^\n]*\n"),
    re.compile(rb"\n0+[ \t]*(?:;[^\n]*)?\r\n(?:[^\n]*\n)+"),  # trailers that end in a bare LF, or hold what is no text
    re.compile(rb"(?i)content-length:[ \t0-9,]*[0-9]{19}"),  # a length beyond 64 bits
    re.compile(rb"\A(?!HTTP/)"),  # h11 takes any beginning for one that may become an answer
)


def is_refused_on_purpose(data: bytes) -> bool:
    """Where we are stricter than h11: what smuggles in chunks, lengths beyond 64 bits, what does not begin as HTTP."""
    return any(pattern.search(data) for pattern in _ON_PURPOSE)
