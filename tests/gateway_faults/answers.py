"""The bytes that providers send, right and wrong, in one line each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.gateway_faults.upstream import Act, Answer, End

TOKENS: Final = tuple(f"w{number} " for number in range(60))
TEXT: Final = "".join(TOKENS)
USAGE: Final = {"prompt_tokens": 1_000, "completion_tokens": 60, "total_tokens": 1_060}

SSE: Final = "text/event-stream"
JSON: Final = "application/json"

Headers = Mapping[str, str]


def said(count: int) -> str:
    """The text up to a token."""
    return "".join(TOKENS[:count])


def head(status: int, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One event with one choice; `more` are further members of the chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(
        {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": [choice], **more}
    )


ROLE: Final = chunk({"role": "assistant", "content": ""})
STOP: Final = chunk({}, "stop")
DONE: Final = b"data: [DONE]\n\n"


def used(usage: Mapping[str, Any]) -> bytes:
    """The event that only counts."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
    return event({**head, "choices": [], "usage": usage})


USED: Final = used(USAGE)


def words(first: int = 0, end: int = 60) -> tuple[bytes, ...]:
    """An event for each token from `first` up to `end`, which is not among them."""
    return tuple(chunk({"content": token}) for token in TOKENS[first:end])


EVENTS: Final = (ROLE, *words(), STOP, USED, DONE)


def stream(*acts: Act, headers: Headers | None = None, status: int = 200) -> tuple[Act, ...]:
    """A chunked body, a chunk an act, ended as such unless the last act ends the connection."""
    fields = {"content-type": SSE, "transfer-encoding": "chunked", **(headers or {})}
    body = [framed(act) if isinstance(act, bytes) else act for act in acts]
    ended = [] if acts and isinstance(acts[-1], End) else [b"0\r\n\r\n"]
    return (head(status, fields), *body, *ended)


def body(content: bytes, *, status: int = 200, headers: Headers | None = None) -> tuple[Act, ...]:
    """An answer with a Content-Length."""
    fields = {"content-type": JSON, "content-length": str(len(content)), **(headers or {})}
    return (head(status, fields), content)


def completion(text: str = TEXT, **more: Any) -> bytes:
    """A whole chat.completion; `more` are members of it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    made = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [choice],
        "usage": USAGE,
        **more,
    }
    return json.dumps(made).encode()


def error(
    message: str, *, kind: str | None = None, code: str | int | None = None, param: str | None = None
) -> dict[str, Any]:
    """An OpenAI error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(status: int, said: Mapping[str, Any] | bytes, **headers: str) -> Answer:
    """The same refusal for both kinds of calls; `_` in the headers' names stands for `-`."""
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer.to_both(*body(content, status=status, headers=fields))


def byte_by_byte(acts: Sequence[Act]) -> tuple[Act, ...]:
    """The same bytes, each a piece of its own."""
    split: list[Act] = []
    for act in acts:
        split += [bytes((byte,)) for byte in act] if isinstance(act, bytes) else [act]
    return tuple(split)


HEALTHY: Final = Answer(stream(*EVENTS), body(completion()))
