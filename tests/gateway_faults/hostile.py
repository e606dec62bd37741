"""What an upstream sends that means ill, or is badly broken: rows of the same table."""

from __future__ import annotations

import json
from typing import Any, Final

from openai_gateway import Kind
from tests.gateway_faults import faults
from tests.gateway_faults.answers import (
    DONE,
    EVENTS,
    HEALTHY,
    JSON,
    ROLE,
    SSE,
    STOP,
    USED,
    body,
    chunk,
    completion,
    event,
    framed,
    head,
    refusal,
    said,
    stream,
    words,
)
from tests.gateway_faults.table import NEXT_AFTER_ALL, Row, alike, each, fails, ok, streams
from tests.gateway_faults.upstream import FOREVER, Answer, End, Repeat

_CHUNKED: Final = {"content-type": SSE, "transfer-encoding": "chunked"}
_LENGTH: Final = str(len(completion()))


def _with_heads(stream_head: bytes, whole_head: bytes) -> Answer:
    """The healthy answer under other heads."""
    return Answer((stream_head, *HEALTHY.stream[1:]), (whole_head, completion()))


def _under(**fields: str) -> Answer:
    more = {name.replace("_", "-"): value for name, value in fields.items()}
    return _with_heads(
        head(200, {**_CHUNKED, **more}), head(200, {"content-type": JSON, "content-length": _LENGTH, **more})
    )


def _counting(usage: Any) -> Answer:
    """The healthy answer with this for usage."""
    return Answer(
        stream(ROLE, *words(), STOP, event({"choices": [], "usage": usage}), DONE), body(completion(usage=usage))
    )


def _saying(text: bytes) -> Answer:
    """The healthy answer with one event more, and nothing but that in the whole one."""
    return Answer(stream(ROLE, *words(0, 20), b"data: " + text + b"\n\n", *words(20), STOP, USED, DONE), body(text))


NEGATIVE_LENGTH: Final = _with_heads(
    head(200, {"content-type": SSE, "content-length": "-5"}), head(200, {"content-type": JSON, "content-length": "-5"})
)
TWO_LENGTHS: Final = _with_heads(
    head(200, {"content-type": SSE, "content-length": "5", "Content-Length": "7"}),
    head(200, {"content-type": JSON, "content-length": "5", "Content-Length": _LENGTH}),
)
LENGTH_AND_CHUNKS: Final = Answer(
    (head(200, {**_CHUNKED, "content-length": "5"}), *HEALTHY.stream[1:]),
    (
        head(200, {"content-type": JSON, "content-length": "5", "transfer-encoding": "chunked"}),
        framed(completion()),
        b"0\r\n\r\n",
    ),
)
NUL_IN_A_HEADER: Final = _under(x_odd="a\0b")
NO_NAME_IN_A_HEADER: Final = _with_heads(b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n")
HUGE_HEADER: Final = _under(x_huge="x" * 2**20)
HUGE_REQUEST_ID: Final = _under(x_request_id="x" * 30_000)
LONG_EXTENSION: Final = Answer(
    (head(200, _CHUNKED), b"5;x=", Repeat(b"x" * 2**16, 16), b"\r\nhello\r\n0\r\n\r\n"),
    (
        head(200, {"content-type": JSON, "transfer-encoding": "chunked"}),
        b"5;x=",
        Repeat(b"x" * 2**16, 16),
        b"\r\nhello\r\n0\r\n\r\n",
    ),
)
NEGATIVE_CHUNK: Final = Answer.to_both(head(200, _CHUNKED), b"-5\r\nhello\r\n0\r\n\r\n")
ENDLESS_TRAILERS: Final = Answer(
    (*HEALTHY.stream[:-1], b"0\r\n", Repeat(b"x-more: 1\r\n", 20_000)),
    (
        head(200, {"content-type": JSON, "transfer-encoding": "chunked"}),
        framed(completion()),
        b"0\r\n",
        Repeat(b"x: 1\r\n", 20_000),
    ),
)
INTERIM_WITHOUT_END: Final = Answer(
    (Repeat(head(102, {}), 200), *HEALTHY.stream), (Repeat(head(102, {}), 200), *HEALTHY.whole)
)
TINY_CHUNKS: Final = Answer(
    (head(200, _CHUNKED), b"".join(framed(bytes((byte,))) for byte in b"".join(EVENTS)) + b"0\r\n\r\n"),
    (
        head(200, {"content-type": JSON, "transfer-encoding": "chunked"}),
        b"".join(framed(bytes((byte,))) for byte in completion()) + b"0\r\n\r\n",
    ),
)
COMMENTS_WITHOUT_PAUSE: Final = Answer(
    stream(ROLE, Repeat(framed(b": x\n" * 10_000), 10), *EVENTS[1:]),
    (head(200, {"content-type": JSON}), Repeat(b" \n" * 10_000, 10), completion(), End.CLOSE),
)
BYTE_BY_BYTE_FOR_EVER: Final = Answer(
    stream(ROLE, *words(0, 20), *(29.0, b"x") * 100),
    (head(200, {"content-type": JSON, "content-length": "1000"}), *(29.0, b" ") * 100),
)
COMMENTS_FOR_EVER: Final = Answer(
    stream(ROLE, *words(0, 20), *(29.0, b": still there\n\n") * 100),
    (head(200, {"content-type": JSON}), *(29.0, b"\n") * 100),
)
DEEP_JSON: Final = _saying(b'{"choices":' * 100_000)
LONG_INTEGER: Final = _saying(b'{"choices": [], "n": ' + b"9" * 5_000 + b"}")
NOT_UTF_8: Final = _saying(b'{"choices": "\xff\xfe"}')
NOT_A_NUMBER: Final = _saying(b'{"choices": [], "n": NaN}')
WRONG_SHAPES: Final = Answer(
    stream(
        ROLE, *words(0, 20),
        event({"choices": {"a": 1}, "model": 5, "id": [], "usage": "x"}),
        event({"choices": [None, 7, {"delta": 3, "index": "x", "finish_reason": 7}, {"delta": {"content": 5}}]}),
        event({"choices": [{"index": True, "delta": {"tool_calls": {}}, "finish_reason": False}]}),
        *words(20), STOP, USED, DONE,
    ),
    body(completion(usage="x", model=[], id=5)),
)  # fmt: skip
TWO_ENDS: Final = Answer(stream(ROLE, *words(), STOP, chunk({}, "length"), USED, DONE), body(completion()))
GOES_ON_AFTER_ITS_END: Final = Answer(
    stream(ROLE, *words(0, 20), STOP, *words(20, 40), End.CLOSE),
    (head(200, {"content-type": JSON, "content-length": _LENGTH}), End.CLOSE),
)
TOOL_CALL_CUT: Final = Answer(
    stream(
        chunk(
            {"role": "assistant", "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Ber'}}]}),
        End.CLOSE,
    ),
    faults.CUT_AT_40.whole,
)
DONE_ALONE: Final = Answer(stream(DONE), body(b"{}"))
NO_CONTENT: Final = Answer.to_both(head(204, {}))
ODD_STATUS: Final = refusal(999, {"error": {"message": "no"}})
ZIPPED_REFUSAL: Final = Answer.to_both(
    *body(b"\x1f\x8b\x08garbage", status=429, headers={"content-encoding": "gzip", "retry-after": "7"})
)
ODD_RETRY_AFTER: Final = refusal(429, {"error": {"message": "no"}}, retry_after="nan", retry_after_ms="1e400")
HUGE_REFUSAL: Final = Answer.to_both(
    head(503, {"content-type": JSON, "content-length": str(2**30)}),
    b'{"error": {"message": "',
    Repeat(b"x" * 2**16, 100),
    FOREVER,
)
STREAM_FOR_ALL: Final = Answer(HEALTHY.stream, HEALTHY.stream)

_ESTIMATED: Final[dict[str, Any]] = {"usage": (2, 58), "charged": "~2+58", "cost": 0.000582}
_20: Final[dict[str, Any]] = {"charged": "~2+18", "cost": 0.000182}
_SKIPPED: Final = ("1 unreadable event(s) of the stream were skipped",)

HOSTILE: Final[tuple[Row, ...]] = (
    # --- heads and framing -------------------------------------------------------------------------------------------
    Row(name="a negative length", one=[NEGATIVE_LENGTH], seen=alike(ok("one@0 two@0"))),
    Row(name="two lengths", one=[TWO_LENGTHS], seen=alike(ok("one@0 two@0"))),
    Row(name="a length and chunks", one=[LENGTH_AND_CHUNKS, HEALTHY], calls=2, seen=alike(ok("one@0 one@0"))),
    Row(name="NUL in a header", one=[NUL_IN_A_HEADER], seen=alike(ok("one@0 two@0"))),
    Row(name="a header without a name", one=[NO_NAME_IN_A_HEADER], seen=alike(ok("one@0 two@0"))),
    Row(name="a header of 1 MB", one=[HUGE_HEADER], seen=alike(ok("one@0 two@0"))),
    Row(name="a request id of 30 kB", one=[HUGE_REQUEST_ID], seen=alike(ok("one@0"))),
    Row(name="a chunk extension of 1 MB", one=[LONG_EXTENSION], seen=alike(ok("one@0 two@0"))),
    Row(name="a negative chunk", one=[NEGATIVE_CHUNK], seen=alike(ok("one@0 two@0"))),
    Row(name="trailers without end", one=[ENDLESS_TRAILERS], seen=streams(ok("one@0"), whole=ok("one@0 two@0"))),
    Row(
        name="interim heads without end",
        one=[INTERIM_WITHOUT_END], broken_over={"httpx": "it skips any number of them"},
        seen=alike(ok("one@0 two@0")),
    ),
    Row(name="chunks of a byte", one=[TINY_CHUNKS], seen=alike(ok("one@0"))),
    Row(name="204", one=[NO_CONTENT], seen=streams(ok(NEXT_AFTER_ALL), whole=ok("one@0 two@0"))),
    Row(name="status 999", one=[ODD_STATUS], seen=alike(ok(NEXT_AFTER_ALL))),
    Row(name="a refusal in gzip", one=[ZIPPED_REFUSAL, HEALTHY], seen=alike(ok("one@0 one@7"))),
    Row(name="a Retry-After that is none", one=[ODD_RETRY_AFTER, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(name="a refusal of 1 GB", one=[HUGE_REFUSAL, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(name="a stream for everybody", one=[STREAM_FOR_ALL], seen=streams(ok("one@0"), whole=ok("one@0 two@0"))),
    # --- time --------------------------------------------------------------------------------------------------------
    Row(name="a flood of comments", one=[COMMENTS_WITHOUT_PAUSE], seen=alike(ok("one@0"))),
    Row(
        name="a byte each 29 s, for ever",
        one=[BYTE_BY_BYTE_FOR_EVER],
        seen=streams(
            fails(Kind.TOTAL_TIMEOUT, "one@0", said(20), took=600, **_20),
            whole=fails(Kind.TOTAL_TIMEOUT, "one@0", took=600),
        ),
    ),
    Row(
        name="a comment each 29 s, for ever",
        one=[COMMENTS_FOR_EVER],
        seen=streams(
            fails(Kind.TOTAL_TIMEOUT, "one@0", said(20), took=600, **_20),
            whole=fails(Kind.TOTAL_TIMEOUT, "one@0", took=600),
        ),
    ),
    # --- JSON --------------------------------------------------------------------------------------------------------
    *(
        Row(name=name, one=[answer], seen=streams(ok("one@0", warnings=_SKIPPED), whole=ok("one@0 two@0")))
        for name, answer in (
            ("JSON 100,000 levels deep", DEEP_JSON),
            ("an integer of 5,000 digits", LONG_INTEGER),
            ("bytes that are no UTF-8", NOT_UTF_8),
            ("NaN", NOT_A_NUMBER),
        )
    ),
    Row(name="wrong shapes everywhere", one=[WRONG_SHAPES], seen=each(
        stream=ok("one@0"), patient=ok("one@0"), whole=ok("one@0", **_ESTIMATED),
    )),
    *(
        Row(name=f"usage {json.dumps(usage)}", one=[_counting(usage)], seen=alike(ok("one@0", **_ESTIMATED)))
        for usage in (
            {"prompt_tokens": -5, "completion_tokens": -1},
            {"prompt_tokens": 10**30, "completion_tokens": 2**53},
            {"prompt_tokens": "12", "completion_tokens": [60]},
            {"prompt_tokens": True, "completion_tokens": 0.5},
            {"total_tokens": 1_060},
            {},
            [1],
        )
    ),
    Row(
        name="usage in floats",
        one=[_counting({"prompt_tokens": 1_000.0, "completion_tokens": 60.0})],
        seen=alike(ok("one@0")),
    ),
    # --- ends --------------------------------------------------------------------------------------------------------
    Row(name="two finish_reasons", one=[TWO_ENDS], seen=alike(ok("one@0"))),
    Row(
        name="more after finish_reason, and a cut",
        one=[GOES_ON_AFTER_ITS_END, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), charged="~2+38", cost=0.000382),
            patient=ok("one@0 one@0.5", restarted=1, charged="~1002+98", cost=0.001982),
            whole=ok("one@0 one@0.5"),
        ),
    ),
    Row(
        name="a tool call that is cut",
        one=[TOOL_CALL_CUT, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", charged="~2+4", cost=0.000042),
            patient=ok("one@0 one@0.5", restarted=1, charged="~1002+64", cost=0.001642),
            whole=ok("one@0 one@0.5"),
        ),
    ),
    Row(name="[DONE] and nothing else", one=[DONE_ALONE], seen=streams(ok(NEXT_AFTER_ALL), whole=ok("one@0 two@0"))),
)  # fmt: skip
