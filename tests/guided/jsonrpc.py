"""A line is one kind of message, by a second reading of JSON-RPC, and can be answered with what it said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.damage import encode, mutated
from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from openai_gateway_mcp.protocol.jsonrpc import (
    Batch,
    Invalid,
    Message,
    Notification,
    Request,
    Response,
    error_bytes,
    read_line,
    read_message,
    result_bytes,
)
from tests.fuzz import reference_json
from tests.fuzz.traffic import BATCHES, LINES, MESSAGES
from tests.guided.target import Target, by_choices, examples

WRITTEN = st.builds(encode, MESSAGES | BATCHES, ascii_only=st.booleans(), spaced=st.booleans())
Seen = tuple[type, Any, int | None]


def target(read: Callable[[bytes], Message | Batch] = read_line) -> Target:
    def check(data: bytes) -> None:
        message = read(data)
        try:
            value = reference_json.read(data)
        except ValueError:
            assert seen(message) == (Invalid, None, PARSE_ERROR)
            answer(message)
            return
        if not isinstance(value, list):
            compare(message, value)
            return
        assert isinstance(message, Batch)
        for entry, expected in zip(message.entries, value, strict=True):
            compare(read_message(entry), expected)

    return Target(
        name="jsonrpc",
        of_bytes=check,
        of_choices=by_choices(check, data=WRITTEN | mutated(WRITTEN)),
        sound=lambda: [*LINES, *examples(WRITTEN, 80)],
    )


def compare(message: Message | Batch, value: Any) -> None:
    assert repr(seen(message)) == repr(expected_of(value))  # repr tells 1 from True
    if isinstance(message, Request | Notification):
        params = value.get("params")
        assert message.method == value["method"]
        assert repr(message.params) == repr(params if isinstance(params, dict) else {})
    answer(message)


def answer(message: Message | Batch) -> None:
    """Whatever is to be answered can be, on one line, under the id that came."""
    if isinstance(message, Invalid):
        line = error_bytes(message.id, message.code, message.message)
    elif isinstance(message, Request):
        line = result_bytes(message.id, b"{}")
    else:
        return
    assert line.isascii()
    assert b"\n" not in line
    said = json.loads(line)["id"]
    assert (type(said), said) == (type(message.id), message.id)


def seen(message: Message | Batch) -> Seen:
    return (type(message), getattr(message, "id", None), message.code if isinstance(message, Invalid) else None)


def expected_of(value: Any) -> Seen:
    """What the value is: JSON-RPC 2.0, sections 4 and 5, and what this house makes of null and of 1.0."""
    if not isinstance(value, dict):
        return (Invalid, None, INVALID_REQUEST)
    id_ = id_of(value.get("id"))
    is_answer = bool({"result", "error"} & value.keys())
    if not isinstance(value.get("method"), str):
        is_response = is_answer and "method" not in value
        return (Response, id_, None) if is_response else (Invalid, id_, INVALID_REQUEST)
    if "id" not in value:
        return (Notification, None, None)
    if id_ is None or is_answer or value.get("jsonrpc") != "2.0":
        return (Invalid, id_, INVALID_REQUEST)
    if not isinstance(value.get("params", {}), dict | None):
        return (Invalid, id_, INVALID_PARAMS)
    return (Request, id_, None)


def id_of(value: Any) -> str | int | None:
    if type(value) in (str, int):
        return value  # type: ignore[no-any-return] # type() tells apart what isinstance would not, and mypy does not follow
    exact = type(value) is float and value.is_integer() and abs(value) < 2**53
    return int(value) if exact else None
