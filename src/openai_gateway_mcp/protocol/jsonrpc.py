"""JSON-RPC 2.0 messages, read strictly and written ASCII-safe (https://www.jsonrpc.org/specification)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_gateway.wire.strict import JsonError, dumps, loads
from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR

Id = str | int
_NO_PARAMS: Final[Mapping[str, Any]] = {}
_EXACT: Final = 2**53  # from here on a float may stand for several integers


@attrs.frozen
class Request:
    id: Id
    method: str
    params: Mapping[str, Any]


@attrs.frozen
class Notification:
    method: str
    params: Mapping[str, Any]


@attrs.frozen
class Response:
    """An answer to a request that we never made."""

    id: Any


@attrs.frozen
class Invalid:
    """What must be answered with an error; `id` is None where none could be read."""

    id: Id | None
    code: int
    message: str


@attrs.frozen
class Batch:
    """A JSON array, its entries not yet read: whether arrays are allowed depends on the revision."""

    entries: list[Any]


Message = Request | Notification | Response | Invalid


def read_line(line: bytes) -> Message | Batch:
    """One line's message; never raises, whatever the bytes."""
    try:
        value = loads(line, unique_envelope=True)
    except JsonError as error:
        return Invalid(None, PARSE_ERROR, f"Parse error: {error}")
    return Batch(value) if isinstance(value, list) else read_message(value)


def read_message(value: Any) -> Message:
    """One message, or why the value is none.

    An object with a method and no `id` is a notification, which is never answered, not even when it is wrong.
    """
    if not isinstance(value, dict):
        return Invalid(None, INVALID_REQUEST, "Invalid Request: a message is a JSON object")
    method = value.get("method")
    if not isinstance(method, str):
        return _read_without_method(value)
    params = value.get("params")
    if "id" not in value:
        return Notification(method, params if isinstance(params, dict) else _NO_PARAMS)
    id_ = read_id(value["id"])
    if id_ is None:
        return Invalid(None, INVALID_REQUEST, "Invalid Request: id must be a string or an integer")
    if value.get("jsonrpc") != "2.0":
        return Invalid(id_, INVALID_REQUEST, 'Invalid Request: jsonrpc must be "2.0"')
    if "result" in value or "error" in value:
        return Invalid(id_, INVALID_REQUEST, "Invalid Request: a request has neither result nor error")
    # null for absent params: JSON-RPC has no such thing, but clients that serialise an empty optional send it.
    if params is not None and not isinstance(params, dict):
        return Invalid(id_, INVALID_PARAMS, "Invalid params: params must be an object")
    return Request(id_, method, params or _NO_PARAMS)


def _read_without_method(value: Mapping[str, Any]) -> Response | Invalid:
    id_ = read_id(value.get("id"))
    if "method" not in value and ("result" in value or "error" in value):
        return Response(id_)
    return Invalid(id_, INVALID_REQUEST, "Invalid Request: method must be a string")


def read_id(value: Any) -> Id | None:
    """A request id, or None where the value cannot be one. 1 and 1.0 are the same number, so they are the same id."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


def result_bytes(id_: Id, result: bytes) -> bytes:
    """A success response around an encoded result object."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (dumps(id_), result)


def error_bytes(id_: Id | None, code: int, message: str, data: Any = None) -> bytes:
    """An error response; `id` is null where none could be read (JSON-RPC 2.0 section 5)."""
    error = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return dumps({"jsonrpc": "2.0", "id": id_, "error": error})


def notification_bytes(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A notification of ours."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return dumps(message)
