"""The independent judge of what we send: PyPI `mcp-types`, made strict, and the rules it does not know.

`mcp-types` reads leniently (it drops unknown fields and turns "5" into 5) and has one schema for all legacy revisions.
So here a message must also come back unchanged from its model, and a table says since when a field exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal

import attrs
import mcp_types
from mcp_types import jsonrpc, methods, version
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Json = Any

MODERN: Final = version.MODERN_PROTOCOL_VERSIONS
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION: Final = "io.modelcontextprotocol/subscriptionId"


class Dressed(BaseModel):
    """The result of a method that MCP does not know, in the modern era."""

    model_config = ConfigDict(extra="allow")
    resultType: str  # noqa: N815 - its name on the wire


class TaskParts(BaseModel):
    """A task as the tasks extension has it (schema/draft/schema.ts), which `mcp-types` has not."""

    model_config = ConfigDict(extra="forbid", strict=True)
    taskId: str  # noqa: N815 - the names on the wire, here and below
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    createdAt: str  # noqa: N815
    lastUpdatedAt: str  # noqa: N815
    ttlMs: int | None  # noqa: N815
    pollIntervalMs: int | None = None  # noqa: N815
    statusMessage: str | None = None  # noqa: N815
    meta: dict[str, Any] = Field(alias="_meta")


class TaskParams(TaskParts):
    """What `notifications/tasks` tells."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    inputRequests: dict[str, Any] | None = None  # noqa: N815


class TaskCreated(TaskParts):
    """A call's answer that is none yet."""

    resultType: Literal["task"]  # noqa: N815


class TaskShown(TaskParams):
    """The answer to tasks/get."""

    resultType: Literal["complete"]  # noqa: N815


class TaskNotification(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    jsonrpc: Literal["2.0"]
    method: Literal["notifications/tasks"]
    params: TaskParams


# Legacy results may have any field; these would still say that a result was dressed for the wrong era.
MODERN_DRESS: Final = frozenset({"resultType", "ttlMs", "cacheScope"})

# Results with fields beyond the schema: the seed's completion has the answer's usage beside the standard part.
OPEN_RESULTS: Final = frozenset({"completion/complete"})

ERROR_DATA: Final[Mapping[int, type[BaseModel]]] = {
    jsonrpc.MISSING_REQUIRED_CLIENT_CAPABILITY: mcp_types.MissingRequiredClientCapabilityErrorData,
    jsonrpc.UNSUPPORTED_PROTOCOL_VERSION: mcp_types.UnsupportedProtocolVersionErrorData,
}

# Each is sent on a `subscriptions/listen` stream and nowhere else in the modern era.
TAGGED: Final = frozenset(
    {
        "notifications/cancelled",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "notifications/tools/list_changed",
    }
)


@attrs.frozen
class Since:
    """A place in a message's result or params, and the first revision that knows it; `value` if only that is new."""

    since: str
    path: str
    value: str | None = None


LISTED: Final = ("tools/*", "resources/*", "resourceTemplates/*", "prompts/*")
NAMED: Final = (*LISTED, "serverInfo", "content/*", "messages/*/content")
FIELDS: Final = (
    Since("2025-03-26", "tools/*/annotations"),
    Since("2025-03-26", "content/*/type", "audio"),
    Since("2025-03-26", "messages/*/content/type", "audio"),
    Since("2025-03-26", "params/message"),  # of a progress report
    Since("2025-03-26", "capabilities/completions"),
    Since("2025-06-18", "tools/*/outputSchema"),
    Since("2025-06-18", "structuredContent"),
    Since("2025-06-18", "content/*/type", "resource_link"),
    Since("2025-06-18", "messages/*/content/type", "resource_link"),
    Since("2025-06-18", "contents/*/_meta"),
    Since("2025-06-18", "prompts/*/arguments/*/title"),
    *(Since("2025-06-18", f"{place}/title") for place in NAMED),
    *(Since("2025-06-18", f"{place}/_meta") for place in NAMED),
    *(Since("2025-11-25", f"{place}/icons") for place in NAMED),
    Since("2025-11-25", "serverInfo/description"),
    Since("2025-11-25", "serverInfo/websiteUrl"),
    Since("2025-11-25", "tools/*/execution"),
)


def check(revision: str, method: str | None, message: dict[str, Json]) -> None:
    """One message that our server sent, in the revision in which it was asked for it.

    `method` is the answered request's, or None where there is none or it could not be read (a notification, an error).
    Raises AssertionError that names the problem.
    """
    assert revision in version.KNOWN_PROTOCOL_VERSIONS, f"no such revision: {revision}"
    problem = next(_problems(revision, method, _readable(message)), None)
    assert problem is None, f"{problem}\nin revision {revision}, {method or 'unasked'}: {json.dumps(message)[:2000]}"


def _readable(message: dict[str, Json]) -> dict[str, Json]:
    """The message with U+003F for every lone surrogate: JSON can say them, and pydantic's reader refuses them."""
    text = json.dumps(message, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        readable: dict[str, Json] = json.loads(text.encode(errors="replace"))
        return readable
    return message


def _problems(revision: str, method: str | None, message: dict[str, Json]) -> Iterator[str]:
    match message:
        case {"method": _, "id": _}:
            yield "this server makes no requests"
        case {"method": str(name)}:
            yield from _unlike(jsonrpc.JSONRPCNotification, message)
            yield from _in_notification(revision, name, message)
        case {"result": _}:
            yield from _unlike(jsonrpc.JSONRPCResponse, message)
            yield from _in_result(revision, method, message["result"])
        case _:
            yield from _unlike(jsonrpc.JSONRPCError, message)
            yield from _in_error(message["error"])


def _in_notification(revision: str, name: str, message: dict[str, Json]) -> Iterator[str]:
    model = methods.SERVER_NOTIFICATIONS.get((name, revision))
    if revision in MODERN and name == "notifications/tasks":
        model = TaskNotification
    if revision in MODERN and name == "notifications/subscriptions/acknowledged":
        message, ids = _without_task_ids(message)
        if not all(isinstance(one, str) for one in ids):
            yield "taskIds are not strings"
    if model is None:
        yield "this revision has no such notification"
        return
    yield from _unlike(model, message)
    params = message.get("params", {})
    yield from _too_young(revision, message)
    if revision in MODERN and name in TAGGED and SUBSCRIPTION not in params.get("_meta", {}):
        yield f"it belongs to a subscription and says not to which: no {SUBSCRIPTION}"


def _without_task_ids(message: dict[str, Json]) -> tuple[dict[str, Json], list[Json]]:
    """The extension's part of what a subscription is granted, apart from MCP's own."""
    granted = dict(message["params"]["notifications"])
    ids = granted.pop("taskIds", [])
    return {**message, "params": {**message["params"], "notifications": granted}}, ids


def _in_result(revision: str, method: str | None, result: Json) -> Iterator[str]:
    model = methods.SERVER_RESULTS.get((method or "", revision))
    if revision in MODERN and method == "tools/call" and result.get("resultType") == "task":
        model = TaskCreated
    if revision in MODERN and method == "tasks/get":
        model = TaskShown
        if "result" in result:  # "exactly what the underlying request would have returned", and only these make tasks
            yield from _in_result(revision, "tools/call", result["result"])
    if model is not None:
        yield from _unlike(model, result, is_open=method in OPEN_RESULTS)
    elif revision in MODERN:
        yield from _unlike(Dressed, result)
    yield from _too_young(revision, result)
    if revision in MODERN:
        yield from _unlike(mcp_types.Implementation, result.get("_meta", {}).get(SERVER_INFO))
    elif dress := MODERN_DRESS & result.keys():
        yield f"legacy results have no {', '.join(sorted(dress))}"


def _in_error(error: Json) -> Iterator[str]:
    """The one message outside every schema is an error whose id is null; its error is judged like any other."""
    if error["code"] in ERROR_DATA:
        yield from _unlike(ERROR_DATA[error["code"]], error.get("data"))


def _unlike(model: Any, value: Json, *, is_open: bool = False) -> Iterator[str]:
    """How the value differs from what its model makes of it. An open one may have more fields, but none differently."""
    adapter = _adapter(model)
    try:
        read = adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        name = getattr(model, "__name__", str(model))
        yield "; ".join(f"{'.'.join(map(str, [name, *one['loc']]))}: {one['msg']}" for one in error.errors())
        return
    known = adapter.dump_python(read, mode="json", by_alias=True, exclude_unset=True)
    if is_open:
        value = {name: value[name] for name in known}
    yield from _difference(value, known, "")


def _difference(sent: Json, known: Json, path: str) -> Iterator[str]:
    match sent, known:
        case dict(), dict():
            for name in sent:
                if name in known:
                    yield from _difference(sent[name], known[name], f"{path}/{name}")
                else:
                    yield f"no such field: {path}/{name}"
        case list(), list():
            for index, (one, other) in enumerate(zip(sent, known, strict=True)):
                yield from _difference(one, other, f"{path}/{index}")
        case _ if sent != known:
            yield f"{path} is read as {known!r}"


def _too_young(revision: str, body: Json) -> Iterator[str]:
    for field in FIELDS:
        if revision < field.since:
            for value in _at(body, field.path.split("/")):
                if field.value is None or field.value == value:
                    yield f"{field.path} exists since {field.since}: {json.dumps(value)[:100]}"


def _at(value: Json, path: list[str]) -> Iterator[Json]:
    if not path:
        yield value
    elif path[0] == "*" and isinstance(value, list):
        for item in value:
            yield from _at(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)
