"""The judge itself is judged: it passes what is right and names each fault that is planted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.schema_oracle import SERVER_INFO, SUBSCRIPTION, check

Json = Any

INFO = {"name": "ours", "version": "1"}
MODERN = "2026-07-28"
TOOL = {"name": "chat", "inputSchema": {"type": "object", "properties": {"prompt": {"type": "string"}}}}
TEXT = {"type": "text", "text": "Hello"}


def response(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


def dressed(result: Json) -> Json:
    return response({"resultType": "complete", "_meta": {SERVER_INFO: INFO}, **result})


def notice(method: str, params: Json) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def error(code: int, **more: Json) -> Json:
    return {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": "no", **more}}


TASK = {"taskId": "t", "status": "working", "createdAt": "…", "lastUpdatedAt": "…", "ttlMs": None}
RESULT = {"content": [TEXT], "resultType": "complete", "_meta": {SERVER_INFO: INFO}}

RIGHT = {
    "a task in the place of a result": (MODERN, "tools/call", dressed(TASK | {"resultType": "task"})),
    "a task that is done": (MODERN, "tasks/get", dressed(TASK | {"status": "completed", "result": RESULT})),
    "a tool result": ("2024-11-05", "tools/call", response({"content": [TEXT], "isError": False})),
    "an empty result": ("2025-11-25", "ping", response({})),
    "a method outside MCP": ("2025-11-25", "models/list", response({"models": []})),
    "a modern method outside MCP": (MODERN, "models/list", dressed({"models": []})),
    "the seed's completion": (
        "2025-11-25",
        "completion/complete",
        response({"completion": {"values": ["Hi"]}, "model": "echo", "usage": {"total_tokens": 5}}),
    ),
    "a modern list": (MODERN, "tools/list", dressed({"tools": [TOOL], "ttlMs": 0, "cacheScope": "public"})),
    "an error without an id": ("2025-06-18", None, error(-32700)),
    "progress as an integer": (
        "2025-03-26",
        None,
        notice("notifications/progress", {"progressToken": 0, "progress": 1}),
    ),
    "a lone surrogate": ("2025-11-25", "tools/call", response({"content": [TEXT | {"text": "\ud800"}]})),
    "an id of many digits": ("2025-11-25", "ping", response({}) | {"id": 10**400}),
}

WRONG = {
    "a task that says it is a result": (MODERN, "tools/call", dressed(TASK), "taskId"),
    "a task for a legacy client": ("2025-11-25", "tools/call", response(TASK | {"resultType": "task"}), "content"),
    "a task that shows what it became and is none": (
        MODERN,
        "tasks/get",
        dressed(TASK | {"resultType": "task"}),
        "task",
    ),
    "a task's result without its dress": (
        MODERN,
        "tasks/get",
        dressed(TASK | {"result": {"content": [TEXT]}}),
        "resultType",
    ),
    "a field nobody knows": (
        "2025-11-25",
        "tools/list",
        response({"tools": [TOOL | {"input_schema": {}}]}),
        "input_schema",
    ),
    "a field missing": ("2025-11-25", "tools/list", response({"tools": [{"name": "chat"}]}), "inputSchema"),
    "a number as a string": ("2025-11-25", "tools/call", response({"content": [TEXT], "isError": "false"}), "isError"),
    "a fraction for an id": ("2025-11-25", "ping", response({}) | {"id": 1.5}, "id"),
    "a boolean for an id": ("2025-11-25", "ping", response({}) | {"id": True}, "id"),
    "a result and an error": ("2025-11-25", "ping", response({}) | error(-32603), "error"),
    "an envelope too full": ("2025-11-25", "ping", response({}) | {"method_": 1}, "method_"),
    "a request of ours": ("2025-11-25", None, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, "no requests"),
    "no version": ("2025-11-25", "ping", {"id": 1, "result": {}}, "jsonrpc"),
    "an error without a code": ("2025-11-25", None, error("x"), "code"),  # type: ignore[arg-type]  # the fault itself
    "-32022 without its data": (MODERN, None, error(-32022), "UnsupportedProtocolVersion"),
    "a title before its time": (
        "2025-03-26",
        "tools/list",
        response({"tools": [TOOL | {"title": "Chat"}]}),
        "2025-06-18",
    ),
    "hints before their time": (
        "2024-11-05",
        "tools/list",
        response({"tools": [TOOL | {"annotations": {"readOnlyHint": True}}]}),
        "annotations",
    ),
    "audio before its time": (
        "2024-11-05",
        "tools/call",
        response({"content": [{"type": "audio", "data": "", "mimeType": "audio/wav"}]}),
        "2025-03-26",
    ),
    "a progress message before its time": (
        "2024-11-05",
        None,
        notice("notifications/progress", {"progressToken": 0, "progress": 1, "message": "m"}),
        "message",
    ),
    "a modern dress on a legacy result": ("2025-11-25", "ping", response({"resultType": "complete"}), "resultType"),
    "a modern result undressed": (MODERN, "models/list", response({"models": []}), "resultType"),
    "a modern result without a name": (MODERN, "models/list", response({"resultType": "complete"}), "Implementation"),
    "a modern list without its ttl": (MODERN, "tools/list", dressed({"tools": [], "cacheScope": "public"}), "ttlMs"),
    "ping in the modern era": (MODERN, None, notice("notifications/initialized", {}), "no such notification"),
    "a change on no subscription": (MODERN, None, notice("notifications/tools/list_changed", {}), SUBSCRIPTION),
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_oracle_passes_what_is_right(case: str) -> None:
    revision, method, message = RIGHT[case]
    check(revision, method, message)


@pytest.mark.parametrize("case", WRONG)
def test_the_oracle_names_the_planted_fault(case: str) -> None:
    revision, method, message, named = WRONG[case]
    with pytest.raises(AssertionError, match=named):
        check(revision, method, message)


def test_the_oracle_refuses_a_revision_that_does_not_exist() -> None:
    with pytest.raises(AssertionError, match="2025-01-01"):
        check("2025-01-01", "ping", json.loads('{"jsonrpc":"2.0","id":1,"result":{}}'))
