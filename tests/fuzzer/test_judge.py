"""Each rule is seen to be broken, and each near miss is let pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from openai_gateway_mcp.fuzz.judge import CAPABILITIES, VERSION, Judge
from openai_gateway_mcp.fuzz.rules import BY_ID

Json = Any

META = {VERSION: "2026-07-28", CAPABILITIES: {}}
SERVER = {"name": "s", "version": "1"}
AGREED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": SERVER}
KEPT = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
DISCOVERED = {"supportedVersions": ["2026-07-28"], "capabilities": {}, **KEPT}
TOOL = {"name": "t", "inputSchema": {"type": "object"}}


def ask(method: str, id_: Json = 1, **params: Json) -> tuple[str, Json]:
    return ">", {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def note(method: str, **params: Json) -> tuple[str, Json]:
    return ">", {"jsonrpc": "2.0", "method": method, "params": params}


def result(value: Json, id_: Json = 1) -> tuple[str, Json]:
    return "<", {"jsonrpc": "2.0", "id": id_, "result": value}


def error(code: Json, id_: Json = 1) -> tuple[str, Json]:
    return "<", {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": "no"}}


def told(method: str, **params: Json) -> tuple[str, Json]:
    return "<", {"jsonrpc": "2.0", "method": method, "params": params}


LEGACY = [ask("initialize", "i", protocolVersion="2025-11-25", capabilities={}), result(AGREED, "i")]
MODERN = [ask("server/discover", "d", _meta=META), result(DISCOVERED, "d")]
CALLED = ask("tools/call", _meta={"progressToken": "p"}, name="t")
SAID = result({"content": []})
CAUGHT_UP = ("=", "caught up")
SETTLED = ("=", "settled")


def found(conversation: Sequence[tuple[str, Json]]) -> list[str]:
    """The rules that are broken in it. Bytes go as they are."""
    judge = Judge()
    for who, what in conversation:
        line = what if isinstance(what, bytes) else json.dumps(what).encode()
        match who, what:
            case ">", _:
                judge.sent(line)
            case "<", _:
                judge.heard(line)
            case _, "caught up":
                judge.caught_up()
            case _, "ended":
                judge.ended(1)
            case _, "stuck":
                judge.stuck()
            case _, "outlived":
                judge.outlived()
            case _:
                judge.settled()
    return [deviation.rule.id for deviation in judge.deviations]


BROKEN: list[tuple[str, list[tuple[str, Json]]]] = [
    ("wire", [("<", b"Listening on stdio")]),
    ("wire", [("<", b"\xff")]),
    ("wire", [*LEGACY, ("<", b"7")]),
    ("wire", [*LEGACY, ("<", [result({})[1]])]),
    ("envelope", [ask("ping"), ("<", {"id": 1, "result": {}})]),
    ("envelope", [ask("ping"), ("<", {"jsonrpc": "2.0", "id": 1})]),
    ("envelope", [ask("ping"), ("<", {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}})]),
    ("envelope", [ask("ping"), result([])]),
    ("envelope", [ask("tools/list"), error("1")]),
    ("envelope", [ask("ping"), result({}, None)]),
    ("envelope", [("<", {"jsonrpc": "2.0", "method": 7})]),
    ("envelope", [("<", {"jsonrpc": "2.0", "method": "ping", "id": None})]),
    ("envelope", [CALLED, told("notifications/progress", progressToken="p", progress="1")]),
    ("asked", [*LEGACY, ask("ping"), result({}, "1")]),
    ("asked", [*LEGACY, note("tools/list"), result({"tools": []}, 7)]),
    ("once", [*LEGACY, ask("ping"), result({}), result({})]),
    ("answered", [*LEGACY, ask("tools/list"), SETTLED]),
    ("answered", [*LEGACY, ask("ping", 1), result({}), ask("ping", 1), SETTLED]),
    ("withdrawn-legacy", [*LEGACY, CALLED, note("notifications/cancelled", requestId=1), CAUGHT_UP, SAID]),
    ("withdrawn", [
        *MODERN, ask("tools/call", name="t", _meta=META), note("notifications/cancelled", requestId=1), CAUGHT_UP,
        result({"content": [], "resultType": "complete"}),
    ]),
    ("silence", [*LEGACY, note("fuzz"), error(-32601, None)]),
    ("silence", [*LEGACY, (">", b"{"), error(-32700, None), error(-32700, None)]),
    ("result", [*LEGACY, ask("tools/list"), result({})]),
    ("result", [*LEGACY, ask("tools/list"), result({"tools": [{**TOOL, "inputSchema": {}}]})]),
    ("result", [*LEGACY, ask("tools/list"), result({"tools": {}})]),
    ("result", [*LEGACY, ask("tools/call"), result({"content": [{"type": "video"}]})]),
    ("result", [*LEGACY, ask("tools/call"), result({"content": [], "structuredContent": []})]),
    ("result", [*LEGACY, ask("resources/read"), result({"contents": [{"uri": "u"}]})]),
    ("result", [*LEGACY, ask("prompts/get"), result({"messages": [{"role": "system", "content": {}}]})]),
    ("result", [*LEGACY, ask("completion/complete"), result({"completion": {"values": [], "total": True}})]),
    ("dress", [*MODERN, ask("tools/list", _meta=META), result({"tools": [], "resultType": "complete"})]),
    ("no-method", [*LEGACY, ask("fuzz/nothing"), error(-32602)]),
    ("no-version", [*MODERN, ask("tools/list", _meta={**META, VERSION: "1999"}), error(-32602)]),
    ("no-version", [*MODERN, ask("tools/list", _meta={**META, VERSION: "1999"}), result({"tools": []})]),
    ("meta", [*MODERN, ask("tools/list", _meta={VERSION: "2026-07-28"}), result({"tools": [], **KEPT})]),
    ("progress-increases", [
        CALLED, told("notifications/progress", progressToken="p", progress=2),
        told("notifications/progress", progressToken="p", progress=2),
    ]),
    ("progress-asked", [told("notifications/progress", progressToken="p", progress=2)]),
    ("progress-asked", [CALLED, SAID, told("notifications/progress", progressToken="p", progress=2)]),
    ("no-requests", [*MODERN, ("<", {"jsonrpc": "2.0", "id": 1, "method": "roots/list"})]),
    ("ping", [*LEGACY, ask("ping"), error(-32601)]),
    ("goes-on", [("=", "ended")]),
    ("goes-on", [("=", "stuck")]),
    ("ends", [("=", "outlived")]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "conversation"), BROKEN)
def test_a_rule_that_is_broken_is_named(rule: str, conversation: list[tuple[str, Json]]) -> None:
    assert set(found(conversation)) == {rule}


def test_every_rule_is_seen_to_be_broken() -> None:
    # Those of HTTP are found by who speaks it: test_http.
    assert {rule for rule, _ in BROKEN} == {rule for rule in BY_ID if not rule.startswith("http-")}


@pytest.mark.parametrize(
    "conversation",
    [
        [*LEGACY, ask("tools/list"), result({"tools": [TOOL]}), SETTLED],
        [*LEGACY, ask("fuzz/nothing"), error(-32601), SETTLED],
        [*LEGACY, (">", b"{"), error(-32700, None), ask("ping"), result({}), SETTLED],
        [ask("initialize", "i"), result({**AGREED, "protocolVersion": "2026-07-28"}, "i"), ask("ping"), result({})],
        # A server that reads what another could not, or is lenient, serves it.
        [*LEGACY, (">", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":7},"a":1e-999}}'),
         told("notifications/progress", progressToken=7, progress=1), SAID, SETTLED],
        [*LEGACY, (">", b'{"id":1,"method":"tools/call","params":{"_meta":{"progressToken":7}}}'),
         told("notifications/progress", progressToken=7, progress=1), SAID, SETTLED],
        [*LEGACY, (">", b"{"), SETTLED],
        [*LEGACY, (">", b""), error(-32700, None), SETTLED],
        [*LEGACY, (">", b'{"jsonrpc":"2.0","id":1,"method":7}'), error(-32600), SETTLED],
        [*LEGACY, (">", b'{"jsonrpc":"2.0","id":1,"method":7}'), error(-32600, None), SETTLED],
        [*LEGACY, (">", b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}'), result({}, 2), SETTLED],
        # An answer and a cancellation may cross.
        [*LEGACY, CALLED, note("notifications/cancelled", requestId=1), SAID, CAUGHT_UP, SETTLED],
        [*LEGACY, CALLED, note("notifications/cancelled", requestId=1), CAUGHT_UP, SETTLED],
        [*LEGACY, CALLED, note("notifications/cancelled", requestId=[]), SAID, SETTLED],
        [*LEGACY, CALLED, told("notifications/progress", progressToken="p", progress=1), SAID],
        [*LEGACY, ("<", {"jsonrpc": "2.0", "id": 1, "method": "ping"})],
        [*LEGACY, ask("resources/read"), result({"contents": [{"uri": "u", "blob": ""}]})],
        [*MODERN, ask("tools/list", _meta={VERSION: "2026-07-28"}), error(-32602), SETTLED],
        [*MODERN, ask("tools/call", _meta=META), result({"content": [], "resultType": "complete"}), SETTLED],
        [*MODERN, ask("tools/call", _meta=META), result({"resultType": "input_required"}), SETTLED],
        [*MODERN, ask("tools/list", _meta={**META, VERSION: "1999"}), error(-32022), SETTLED],
        [*MODERN, ask("tools/list", _meta={**META, VERSION: -1}), error(-32602), SETTLED],
        [*MODERN, ask("tools/list", _meta={**META, VERSION: "2026-07-\u016e28"}), error(-32020), SETTLED],
        [*MODERN, ask("subscriptions/listen", _meta=META), SETTLED],
        # A batch of the one revision that has them, and of one that has not.
        [
            ask("initialize", "i"), result({**AGREED, "protocolVersion": "2025-03-26"}, "i"),
            (">", [ask("ping")[1], note("x")[1]]), ("<", [result({})[1]]), SETTLED,
        ],
        # In a batch an answer waits for the others, while it is cancelled.
        [
            ask("initialize", "i"), result({**AGREED, "protocolVersion": "2025-03-26"}, "i"),
            (">", [CALLED[1], ask("ping", 2)[1]]), note("notifications/cancelled", requestId=1), CAUGHT_UP,
            ("<", [SAID[1], result({}, 2)[1]]), SETTLED,
        ],
        [*LEGACY, (">", [ask("ping")[1]]), error(-32600, None), SETTLED],
        # The oldest one means all of JSON-RPC, and over HTTP it can't be told from the next.
        [
            ask("initialize", "i"), result({**AGREED, "protocolVersion": "2024-11-05"}, "i"),
            (">", [ask("ping")[1]]), ("<", [result({})[1]]), SETTLED,
        ],
    ],
)  # fmt: skip
def test_what_a_server_may_do_is_not_held_against_it(conversation: list[tuple[str, Json]]) -> None:
    assert found(conversation) == []
