"""What the fault upstream can do wrong, a name a fault."""

from __future__ import annotations

import errno
import json
import os
import zlib
from email.utils import formatdate
from typing import Final

from tests.gateway_faults.answers import (
    DONE,
    EVENTS,
    JSON,
    ROLE,
    SSE,
    STOP,
    TOKENS,
    USAGE,
    USED,
    body,
    byte_by_byte,
    chunk,
    completion,
    error,
    event,
    framed,
    head,
    refusal,
    stream,
    used,
    words,
)
from tests.gateway_faults.upstream import FOREVER, Answer, End, Repeat

WALL: Final = 1_800_000_000.0
"""The time of day in the table, as seconds of the epoch: Retry-After may be a date."""

KEY: Final = "sk-canary-0123456789abcdefghij"

REFUSED: Final = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
UNKNOWN_HOST: Final = OSError(-2, "Name or service not known")

_HALF: Final = completion()[: len(completion()) // 2]
_WHOLE_HEAD: Final = head(200, {"content-type": JSON, "content-length": str(len(completion()))})
_EVENT_STREAM: Final = head(200, {"content-type": SSE})


# --- refusals --------------------------------------------------------------------------------------------------------

_SLOW_DOWN: Final = error("Rate limit reached", kind="tokens", code="rate_limit_exceeded")

LIMITED: Final = refusal(429, _SLOW_DOWN)
LIMITED_FOR_7_SECONDS: Final = refusal(429, _SLOW_DOWN, retry_after="7")
LIMITED_FOR_1500_MS: Final = refusal(429, _SLOW_DOWN, retry_after_ms="1500", retry_after="60")
LIMITED_UNTIL_A_DATE: Final = refusal(429, _SLOW_DOWN, retry_after=formatdate(WALL + 9, usegmt=True))
LIMITED_UNTIL_A_PAST_DATE: Final = refusal(429, _SLOW_DOWN, retry_after=formatdate(WALL - 9, usegmt=True))
LIMITED_FOR_AN_HOUR: Final = refusal(429, _SLOW_DOWN, retry_after="3600")
NO_QUOTA: Final = refusal(
    429, error("You exceeded your current quota", kind="insufficient_quota", code="insufficient_quota")
)

_BROKEN: Final = error("The server had an error", kind="server_error")
INTERNAL_ERROR: Final = refusal(500, _BROKEN)
UNAVAILABLE: Final = refusal(503, error("The engine is overloaded", kind="server_error", code="overloaded"))
OVERLOADED: Final = refusal(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
CONFLICT: Final = refusal(409, error("Try again", kind="conflict"))
DO_NOT_RETRY: Final = refusal(503, _BROKEN, x_should_retry="false")
DO_RETRY: Final = refusal(400, error("Odd", kind="invalid_request_error"), x_should_retry="true")

CONTEXT_LENGTH: Final = refusal(
    400,
    error(
        "This model's maximum context length is 8192 tokens.",
        kind="invalid_request_error",
        code="context_length_exceeded",
        param="messages",
    ),
)
CONTENT_POLICY: Final = refusal(
    400, error("Refused by our safety system.", kind="invalid_request_error", code="content_policy_violation")
)
BAD_REQUEST: Final = refusal(400, error("Invalid type for 'messages'", kind="invalid_request_error", param="messages"))
NO_SUCH_MODEL: Final = refusal(
    404, error("The model `x` does not exist", kind="invalid_request_error", code="model_not_found")
)
NO_STREAM_OPTIONS: Final = Answer(
    refusal(400, error("Unsupported parameter", code="unsupported_parameter", param="stream_options")).stream,
    body(completion()),
)
KEY_REFUSED: Final = refusal(
    401, error(f"Incorrect API key provided: {KEY}.", kind="invalid_request_error", code="invalid_api_key")
)
PAGE_502: Final = refusal(
    502, b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", content_type="text/html"
)
REDIRECT: Final = refusal(307, b"", location="http://elsewhere.example/v1/chat/completions")


# --- no answer, or none in time --------------------------------------------------------------------------------------

RESET: Final = Answer.to_both(End.RESET)
HANGS_UP: Final = Answer.to_both(End.CLOSE)
SILENT: Final = Answer.to_both(FOREVER)
SLOW_HEAD: Final = Answer.to_both(b"HTTP/1.1 200 OK\r\nx-slow: ", *(5.0, b"-") * 1_000)
ONLY_COMMENTS: Final = Answer(stream(*(10.0, b": still waiting\n\n") * 1_000), (FOREVER,))
FIRST_TOKEN_AFTER_20_S: Final = Answer(stream(ROLE, 20.0, *words(), STOP, USED, DONE), (20.0, *body(completion())))
HEAD_AND_THEN_20_S: Final = Answer(stream(20.0, *EVENTS), (_WHOLE_HEAD, 20.0, completion()))


# --- answers that break ----------------------------------------------------------------------------------------------

CUT_AT_40: Final = Answer(stream(ROLE, *words(0, 40), End.CLOSE), (_WHOLE_HEAD, _HALF, End.CLOSE))
_MORE: Final = {"prompt_tokens": 1_040, "completion_tokens": 20, "total_tokens": 1_060}
GOES_ON_FROM_40: Final = Answer(stream(ROLE, *words(40), STOP, used(_MORE), DONE), body(completion()))
CUT_AFTER_10_MORE: Final = Answer(stream(ROLE, *words(20, 30), End.CLOSE), (_WHOLE_HEAD, _HALF, End.CLOSE))
GOES_ON_FROM_30: Final = Answer(
    stream(ROLE, *words(30), STOP, used({**_MORE, "completion_tokens": 30, "total_tokens": 1_070}), DONE),
    body(completion()),
)
RESET_AT_40: Final = Answer(stream(ROLE, *words(0, 40), 1.0, End.RESET), (_WHOLE_HEAD, _HALF, 1.0, End.RESET))
CUT_WITHOUT_FRAMING: Final = Answer(
    (_EVENT_STREAM, ROLE, *words(0, 40), End.CLOSE),
    (head(200, {"content-type": JSON}), _HALF, End.CLOSE),
)
ENDED_AT_40: Final = Answer(stream(ROLE, *words(0, 40)), body(_HALF))
CUT_BEFORE_CONTENT: Final = Answer(stream(ROLE, ROLE, End.CLOSE), (_WHOLE_HEAD, End.CLOSE))
STALL_AFTER_20: Final = Answer(stream(ROLE, *words(0, 20), FOREVER), (_WHOLE_HEAD, _HALF, FOREVER))
PAUSE_AFTER_20: Final = Answer(
    stream(ROLE, *words(0, 20), 29.0, *words(20), STOP, USED, DONE),
    (_WHOLE_HEAD, _HALF, 29.0, completion()[len(_HALF) :]),
)
ERROR_AT_20: Final = Answer(stream(ROLE, *words(0, 20), event(_BROKEN)), body(json.dumps(_BROKEN).encode()))
FINISHED_WITH_ERROR: Final = Answer(
    stream(ROLE, *words(0, 20), chunk({}, "error"), DONE),
    body(json.dumps({"choices": [{"index": 0, "message": {"content": "w0 "}, "finish_reason": "error"}]}).encode()),
)
ERROR_IN_200: Final = Answer(stream(event(_BROKEN), DONE), body(json.dumps(_BROKEN).encode()))
LIMITED_IN_200: Final = Answer(stream(event(_SLOW_DOWN), DONE), body(json.dumps(_SLOW_DOWN).encode()))
PAGE_200: Final = Answer.to_both(*body(b"<!doctype html><title>Welcome</title>", headers={"content-type": "text/html"}))
EMPTY_200: Final = Answer.to_both(*body(b""))
NO_HTTP: Final = Answer.to_both(b"220 mail.example ESMTP\r\n\r\n", End.CLOSE)


# --- answers that are odd --------------------------------------------------------------------------------------------

MALFORMED_EVENT: Final = Answer(
    stream(ROLE, *words(0, 20), b'data: {"choices": [\n\n', *words(20), STOP, USED, DONE), body(b'{"choices": [')
)
NO_DONE: Final = Answer(
    stream(ROLE, *words(), STOP, USED), (head(200, {"content-type": JSON}), completion(), End.CLOSE)
)
STALL_WITHOUT_DONE: Final = Answer(stream(ROLE, *words(), STOP, USED, FOREVER), body(completion()))
CUT_WITHOUT_DONE: Final = Answer(stream(ROLE, *words(), STOP, End.CLOSE), body(completion()))
NO_FINISH_REASON: Final = Answer(
    stream(ROLE, *words(), USED, DONE),
    body(completion(choices=[{"index": 0, "message": {"role": "assistant", "content": "".join(TOKENS)}}])),
)
GOES_ON_AFTER_DONE: Final = Answer(stream(*EVENTS, *words(), FOREVER), body(completion()))
WHOLE_FOR_ALL: Final = Answer.to_both(*body(completion()))
USAGE_ON_ODD_CHUNKS: Final = Answer(
    stream(
        chunk({"role": "assistant", "content": ""}, usage=None),
        *(chunk({"content": token}, usage=None) for token in TOKENS),
        chunk({}, "stop", usage=USAGE),
        event({"id": "c1", "choices": [], "usage": None}),
        DONE,
    ),
    body(completion()),
)
USAGE_AT_FIRST: Final = Answer(stream(chunk({"content": ""}, usage=USAGE), *words(), STOP, DONE), body(completion()))
USAGE_TWICE: Final = Answer(
    stream(ROLE, *words(), chunk({}, "stop", usage={**USAGE, "completion_tokens": 59}), USED, USED, DONE),
    body(completion()),
)
NO_USAGE: Final = Answer(stream(ROLE, *words(), STOP, DONE), body(completion(usage=None)))
_CRLF: Final = [each.replace(b"\n", b"\r\n") for each in EVENTS]
CRLF: Final = Answer(stream(*_CRLF), body(completion().replace(b", ", b",\r\n")))
SPLIT_ANYWHERE: Final = Answer(byte_by_byte(stream(*_CRLF)), byte_by_byte(body(completion())))
MULTI_LINE_DATA: Final = Answer(
    stream(*(each.replace(b'"choices": ', b'"choices":\ndata: ') for each in EVENTS)),
    body(json.dumps(json.loads(completion()), indent=2).encode()),
)
COMMENTS: Final = Answer(
    stream(b": PROCESSING\n\n", *(piece for each in EVENTS for piece in (b":\n", b"event: x\nid: 1\n" + each))),
    body(b"\n\n   " + completion()),  # DeepSeek sends empty lines in the place of comments
)
INTERIM_HEADS: Final = Answer(
    (head(100, {}), head(103, {"link": "</x>"}), *stream(*EVENTS)), (head(102, {}), *body(completion()))
)
_MIB: Final = b"x" * 2**20
HUGE: Final = Answer(
    stream(ROLE, b"data: ", Repeat(framed(_MIB), 50), b"\n\n", DONE),
    (head(200, {"content-type": JSON, "content-length": str(70 * 2**20)}), Repeat(_MIB, 70)),
)
HUGE_AFTER_20: Final = Answer(
    stream(ROLE, *words(0, 20), b"data: ", Repeat(framed(_MIB), 50), b"\n\n", DONE), HUGE.whole
)
_ZIPPED: Final = zlib.compressobj(wbits=31)
_GZIP: Final = _ZIPPED.compress(completion()) + _ZIPPED.flush()
GZIP: Final = Answer(
    stream(_GZIP, headers={"content-encoding": "gzip"}), body(_GZIP, headers={"content-encoding": "gzip"})
)
TRAILING_GARBAGE: Final = Answer(
    (*stream(*EVENTS)[:-1], b"0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"),
    (*body(completion())[:1], completion() + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"),
)
CLOSES_WHEN_IDLE: Final = Answer((*stream(*EVENTS), 1.0, End.CLOSE), (*body(completion()), 1.0, End.CLOSE))
