"""A message that came as the body of a POST: whose era it is of, and whether its headers say what it says.

https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from openai_gateway_mcp.protocol import jsonrpc, params
from openai_gateway_mcp.protocol.errors import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    OVERLOADED,
    UNSUPPORTED_VERSION,
    Fault,
)
from openai_gateway_mcp.protocol.events import Era
from openai_gateway_mcp.protocol.jsonrpc import Batch, Id, Invalid, Message, Notification, Request
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.protocol.revisions import BEFORE_HEADERS, MODERN, NEWEST_LEGACY, REVISIONS, TASKS, Revision

Fields = Mapping[str, Sequence[str]]
"""The header fields of a request: name in small letters → the values of all the fields of that name."""

VERSION: Final = "mcp-protocol-version"
METHOD: Final = "mcp-method"
NAME: Final = "mcp-name"
SESSION: Final = "mcp-session-id"
PARAM: Final = "mcp-param-"

# method → the member of its params that `Mcp-Name` repeats
NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}

_PLAIN: Final = re.compile(r"[\x20-\x7e\t]*")
_SENTINEL: Final = re.compile(r"=\?base64\?(.*)\?=")

# error code → HTTP status. In the legacy revisions an error that answers a request is HTTP 200.
_STATUSES: Final = {
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    OVERLOADED: 503,
}


@attrs.frozen(kw_only=True)
class Posted:
    """A body that can be served. `legacy` is the revision of what in it has no modern `_meta`."""

    message: Message | Batch
    era: Era
    legacy: Revision


@attrs.frozen(eq=False)
class Refused(Exception):
    """A body that cannot: the status, and the JSON-RPC error that says why."""

    status: int
    body: bytes


def status_of(code: int, era: Era) -> int:
    """The HTTP status of a response with this error code."""
    return _STATUSES.get(code, 200) if era is Era.MODERN or code == OVERLOADED else 200


def refusal(status: int, fault: Fault, id_: Id | None = None) -> Refused:
    return Refused(status, jsonrpc.error_bytes(id_, fault.code, fault.message, fault.data))


def read_post(body: bytes, fields: Fields, server: Server) -> Posted:
    """What a body is, once its headers agree with it. Raises Refused."""
    message = jsonrpc.read_line(body)
    if isinstance(message, Invalid):
        raise refusal(400, Fault(message.code, message.message), message.id)
    id_ = message.id if isinstance(message, Request) else None
    try:
        return _judge(message, fields, server)
    except Fault as fault:
        raise refusal(404 if fault.code == METHOD_NOT_FOUND else 400, fault, id_) from None


def _judge(message: Message | Batch, fields: Fields, server: Server) -> Posted:
    version = _only(fields, VERSION)
    meta = _meta(message)
    if version in MODERN or params.VERSION in meta:
        if not isinstance(message, Request | Notification):
            raise Fault(INVALID_REQUEST, "Invalid Request: the body must be a request or a notification")
        _judge_modern(message, meta, version, fields, server)
        return Posted(message=message, era=Era.MODERN, legacy=NEWEST_LEGACY)
    if version is not None and version not in REVISIONS:
        raise params.unsupported(version)
    legacy = BEFORE_HEADERS if version is None else REVISIONS[version]
    if isinstance(message, Request):
        params.revision_of(message.method, meta, legacy)
    return Posted(message=message, era=Era.LEGACY, legacy=legacy)


def _meta(message: Message | Batch) -> Mapping[str, Any]:
    if not isinstance(message, Request | Notification):
        return {}
    meta = message.params.get("_meta")
    return meta if isinstance(meta, dict) else {}


def _judge_modern(
    message: Request | Notification, meta: Mapping[str, Any], version: str | None, fields: Fields, server: Server
) -> None:
    said = meta.get(params.VERSION)
    if isinstance(said, str) and version is None:
        raise _mismatch(f"{_shown_name(VERSION)} is missing")
    if isinstance(said, str) and said != version:
        raise _mismatch(f"{_shown_name(VERSION)} is not what _meta says")
    if isinstance(message, Notification):
        _match(fields, METHOD, message.method, is_required=False)
        return
    if params.VERSION not in meta:
        raise params.invalid(f"_meta must have {params.VERSION}, as the header has it")
    revision = params.revision_of(message.method, meta, NEWEST_LEGACY)
    _match(fields, METHOD, message.method)
    _match_name(message, fields)
    _match_params(message, fields, server)
    if message.method not in revision.methods and message.method not in server.extensions:
        raise params.method_not_found(message.method, revision.era)


def _match_name(request: Request, fields: Fields) -> None:
    member = NAMED.get(request.method)
    value = request.params.get(member) if member else None
    if isinstance(value, str):  # what is no string is told so where the params are read
        # The tasks extension has clients send it for whoever routes by it, and no server demand it: fastmcp-tasks 4.1
        # does neither. What it says has to be true all the same.
        _match(fields, NAME, value, is_required=request.method not in TASKS)


def _match(fields: Fields, name: str, wanted: str, *, is_required: bool = True) -> None:
    said = _only(fields, name)
    if said is None:
        if is_required:
            raise _mismatch(f"{_shown_name(name)} is missing")
    elif _decoded(name, said) != wanted:
        raise _mismatch(f"{_shown_name(name)} is not what the body says")


def _only(fields: Fields, name: str) -> str | None:
    values = fields.get(name, ())
    if len(values) > 1:
        raise _mismatch(f"{_shown_name(name)} comes more than once")
    return values[0] if values else None


def _decoded(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value) is None:
        raise _mismatch(f"{_shown_name(name)} has characters that must be encoded")
    found = _SENTINEL.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except ValueError:
        raise _mismatch(f"{_shown_name(name)} has no Base64 of UTF-8 in its marks") from None


def encoded(value: str) -> str:
    """A value as a header field carries it."""
    is_plain = _PLAIN.fullmatch(value) is not None and value == value.strip(" \t")
    if is_plain and "\t" not in value and _SENTINEL.fullmatch(value) is None:
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="


def _mismatch(words: str) -> Fault:
    return Fault(HEADER_MISMATCH, f"Header mismatch: {words}")


def _shown_name(name: str) -> str:
    return "MCP-Protocol-Version" if name == VERSION else name.title()


# --- arguments that a tool wants to see in headers ------------------------------------------------------------------


def mirrored(schema: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The arguments that a schema marks with `x-mcp-header`: the header's name after `Mcp-Param-`, and the path."""
    yield from _mirrored(schema, ())


def _mirrored(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    properties = schema.get("properties")
    for name, below in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(below, Mapping):
            continue
        header = below.get("x-mcp-header")
        if isinstance(header, str):
            yield header, (*path, name)
        yield from _mirrored(below, (*path, name))


def _match_params(request: Request, fields: Fields, server: Server) -> None:
    if request.method != "tools/call":
        return
    tool = next((tool for tool in server.tools if tool.name == request.params.get("name")), None)
    if tool is None:
        return
    for header, path in mirrored(tool.input_schema):
        value = _at(request.params.get("arguments"), path)
        name = PARAM + header.lower()
        said = _only(fields, name)
        if value is None:
            if said is not None:
                raise _mismatch(f"{_shown_name(name)} is of an argument that the body does not have")
        elif said is None:
            raise _mismatch(f"{_shown_name(name)} is missing")
        elif not _is_same(_decoded(name, said), value):
            raise _mismatch(f"{_shown_name(name)} is not what the body says")


def mirrors(wanted: Iterable[tuple[str, tuple[str, ...]]], arguments: Any) -> dict[str, str]:
    """The header fields of these arguments, as far as they are given: the other end of what `read_post` compares."""
    fields = {}
    for header, path in wanted:
        value = _at(arguments, path)
        if isinstance(value, bool):
            fields[PARAM + header.lower()] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            fields[PARAM + header.lower()] = encoded(str(value))
    return fields


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _is_same(said: str, value: Any) -> bool:
    """Numbers are the same by their value (`42.0` is 42), all else by its letters."""
    if isinstance(value, bool):
        return said == ("true" if value else "false")
    if isinstance(value, int | float):
        return _number(said) == value
    return isinstance(value, str) and said == value


_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")


def _number(text: str) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return math.nan
    return float(text) if found[1] or found[2] else int(text)
