"""What every byte out must obey, whatever came in; and a sketch of each message, to compare with a prediction."""

from __future__ import annotations

import json
from typing import Any

Sketch = tuple[Any, ...]

_PROGRESS = {"progressToken", "progress", "total", "message"}
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def read_out(data: bytes) -> list[Sketch]:
    """The messages in what the server sent, after checking that they are whole ASCII lines of JSON-RPC."""
    return [_array(message) if isinstance(message, list) else _sketch(message) for message in messages(data)]


def messages(data: bytes) -> list[Any]:
    """The JSON value of each line out."""
    assert data.isascii()
    assert data == b"" or data.endswith(b"\n")
    assert b"\r" not in data
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def _array(entries: list[Any]) -> Sketch:
    assert entries, "an empty array went out"
    sketches = tuple(_sketch(entry) for entry in entries)
    assert all(kind != "note" for kind, *_ in sketches), "a notification in the array that answers a batch"
    return ("array", sketches)


def _sketch(message: Any) -> Sketch:
    assert isinstance(message, dict)
    assert message["jsonrpc"] == "2.0"
    if "method" in message:
        return _notification(message)
    assert set(message) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    if "result" in message:
        assert isinstance(message["result"], dict)
        assert type(message["id"]) in (str, int)
        return ("result", message["id"])
    error = message["error"]
    assert set(error) <= {"code", "message", "data"}
    assert isinstance(error["code"], int)
    assert isinstance(error["message"], str)
    assert type(message["id"]) in (str, int, type(None))
    return ("error", message["id"], error["code"])


def _notification(message: dict[str, Any]) -> Sketch:
    assert set(message) <= {"jsonrpc", "method", "params"}, "a request of ours, or a message of no kind"
    params = message.get("params", {})
    if message["method"] == "notifications/progress":
        assert set(params) <= _PROGRESS
        return ("note", "notifications/progress", params["progressToken"], params["progress"])
    return ("note", message["method"], params.get("_meta", {}).get(_SUBSCRIPTION))
