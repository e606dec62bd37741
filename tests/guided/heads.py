"""The head of a request: what is let through is read the same by four readers, and a refusal quotes nothing."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import h11
from hypothesis import strategies as st

from openai_gateway.net.heads import PeerError, Request, request_of
from openai_gateway_mcp.fuzz.damage import mutated
from tests.guided.target import Target, by_choices, examples

END = b"\r\n\r\n"
CANARY = "canary-0123456789"
_FIRST = st.sampled_from(
    [
        *[
            b"GET / HTTP/1.1",
            b"POST /v1/chat/completions?a=b HTTP/1.1",
            b"GET /a%2Fb HTTP/1.0",
            b"GET /%2e%2e HTTP/1.1",
        ],
        *[b"GET //a HTTP/1.1", b"GET http://a/ HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /a/../b HTTP/1.1"],
        *[b"GET /canary-0123456789\\ HTTP/1.1", b"get /%zz HTTP/1.1", b"GET /a HTTP/2.0", b"GET  / HTTP/1.1"],
    ]
)
_FIELDS = st.sampled_from(
    [
        *[b"host: a", b"Host: [::1]:80", b"host: canary-0123456789 /", b"host : a", b"content-length: 4"],
        *[b"Content-Length:\t4", b"content-length: +4", b"content-length: 4, 4", b"transfer-encoding: chunked"],
        *[
            b"Transfer-Encoding: gzip, chunked",
            b"x:",
            b"x: \xe9",
            b"x: a b",
            b" folded",
            b"x: a\rb",
            b"x: a\nb",
            b"x: a\0",
        ],
        *[
            b"connection: close",
            b"upgrade: h2c",
            b"expect: 100-continue",
            b": none",
            b"authorization: canary-0123456789",
        ],
    ]
)
_SOUND_FIRST = st.sampled_from([b"POST /v1/chat/completions HTTP/1.1", b"GET / HTTP/1.0"])
_SOUND_FIELDS = st.sampled_from([b"content-length: 4", b"Transfer-Encoding: chunked", b"x: y"])
HEADS = st.builds(
    lambda first, fields: b"\r\n".join((first, *fields)) + END,
    _SOUND_FIRST | _FIRST,
    st.lists(_SOUND_FIELDS | _FIELDS, max_size=5).flatmap(lambda fields: st.permutations([b"host: a", *fields])),
)
Read = Callable[[bytes], Request]


def target(read: Read = request_of) -> Target:
    def check(data: bytes) -> None:
        head, end, _ = data.lstrip(b"\r\n").partition(END)
        if not end:
            return
        try:
            request = read(head + end)
        except PeerError as error:
            quotes_nothing(error)
        else:
            agree(head, request)

    return Target(
        name="heads",
        of_bytes=check,
        of_choices=by_choices(check, data=HEADS | mutated(HEADS)),
        sound=lambda: examples(HEADS, 120),
    )


def quotes_nothing(error: PeerError) -> None:
    assert error.status == 400
    assert CANARY not in error.words
    assert len(error.words) < 100


def by_h11(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise AssertionError(f"h11 refuses what is let through: {error}") from None
    assert isinstance(event, h11.Request), "a head that is whole was no request"
    return event


def agree(head: bytes, request: Request) -> None:
    """It is what h11 makes of it, the standard library, and whoever goes line by line."""
    other = by_h11(head + END)
    assert (request.method, request.target) == (other.method.decode(), other.target.decode())
    assert request.version == other.http_version.decode()
    assert list(request.headers.raw) == [(name, value) for name, value in other.headers]

    first, *lines = head.split(b"\r\n")
    assert not {13, 10, 0}.intersection(b"".join((first, *lines)))
    method, target, _ = first.decode("ascii").split(" ")
    assert (request.method, request.target) == (method, target)

    fields = [tuple(part.strip(" \t") for part in line.decode("latin-1").split(":", 1)) for line in lines]
    assert list(request.headers.items()) == [(name.lower(), value) for name, value in fields]
    others = (
        http.client.parse_headers(io.BytesIO(b"\r\n".join((*lines, b"", b"")))).items() if len(lines) < 100 else fields
    )
    assert [(name, value.strip(" \t")) for name, value in others] == fields

    names = [name.lower() for name, _ in fields]
    assert names.count("content-length") + names.count("transfer-encoding") <= 1
    assert names.count("host") <= 1
    plain(request)


def plain(request: Request) -> None:
    """The path leads where it says, for whoever decodes it on the way."""
    assert request.target == request.path + ("?" if "?" in request.target else "") + request.query
    path = unquote_to_bytes(request.path)
    assert request.path.startswith("/")
    assert not request.path.startswith("//")
    assert not {b".", b".."}.intersection(path.split(b"/"))
    assert b"\\" not in path
    assert min(path) >= 0x20
