"""What clients say, as hypothesis strategies: sound messages of each revision, nearly sound ones, and none at all."""

from __future__ import annotations

from typing import Any, Final

import attrs
from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.judge import CAPABILITIES, VERSION
from openai_gateway_mcp.fuzz.shapes import LEGACY, MODERN

CLIENT: Final = {"name": "openai-gateway-mcp fuzz", "version": "1"}


@attrs.frozen(kw_only=True)
class Facts:
    """What is known of a server: the revisions it takes, and what may be called on it without harm."""

    revisions: tuple[str, ...] = LEGACY
    tools: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()


def initialize(revision: str) -> dict[str, Any]:
    """The first request of a legacy client."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT}
    return {"jsonrpc": "2.0", "id": "initialize", "method": "initialize", "params": params}


INITIALIZED: Final = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def probe(revision: str, number: int) -> dict[str, Any]:
    """A request that every server of this revision answers at once."""
    params = meta_params(revision)
    method = "server/discover" if revision in MODERN else "ping"
    return {"jsonrpc": "2.0", "id": f"probe {number}", "method": method, "params": params}


def meta_params(revision: str) -> dict[str, Any]:
    """The params that each request of the revision has."""
    return {"_meta": _meta(revision)} if revision in MODERN else {}


def _meta(revision: str) -> dict[str, Any]:
    return {VERSION: revision, CAPABILITIES: {}} if revision in MODERN else {}


def _asks(facts: Facts) -> list[tuple[str, dict[str, Any]]]:
    calls = [("tools/call", {"name": name, "arguments": {}}) for name in facts.tools]
    prompts = [("prompts/get", {"name": name, "arguments": {}}) for name in facts.prompts]
    reads = [("resources/read", {"uri": uri}) for uri in facts.resources]
    reference = {"type": "ref/prompt", "name": next(iter(facts.prompts), "nothing")}
    return [
        *calls * 2, *prompts, *reads,
        ("tools/list", {}), ("prompts/list", {}), ("resources/list", {}), ("resources/templates/list", {}),
        ("tools/list", {"cursor": "nothing"}), ("tools/call", {"name": "no such tool", "arguments": {}}),
        ("tools/call", {}), ("resources/read", {"uri": "fuzz://nothing"}), ("resources/read", {}),
        ("prompts/get", {"name": "no such prompt"}), ("prompts/get", {}),
        ("completion/complete", {"ref": reference, "argument": {"name": "x", "value": ""}}),
        ("completion/complete", {}), ("ping", {}), ("logging/setLevel", {"level": "debug"}),
        ("logging/setLevel", {"level": "loud"}), ("resources/subscribe", {"uri": "fuzz://nothing"}),
        ("server/discover", {}), ("initialize", {}), ("fuzz/nothing", {}), ("fuzz/nothing", {"x": [1, {"y": None}]}),
    ]  # fmt: skip


def requests(facts: Facts, revision: str) -> st.SearchStrategy[dict[str, Any]]:
    """Requests without an id, as clients of the revision make them; some ask for what is not there."""
    metas: list[dict[str, Any]] = [_meta(revision)] * 6
    metas += [{**_meta(revision), "progressToken": token} for token in ("t", 7)]
    if revision in MODERN:
        metas += [{VERSION: revision}, {VERSION: "1999-01-01", CAPABILITIES: {}}, {}]
    return st.builds(_request, st.sampled_from(_asks(facts)), st.sampled_from(metas))


def _request(ask: tuple[str, dict[str, Any]], meta: dict[str, Any]) -> dict[str, Any]:
    method, params = ask
    return {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta} if meta else params}


ID_KINDS: Final = st.sampled_from(["number", "number", "text", "nasty text"])


def id_of(kind: str, number: int) -> int | str:
    """An id that no other request of the conversation has."""
    if kind == "number":
        return number
    return f"{number}" if kind == "text" else f'ünd\u2028"\\\x00 {number}'


BAD_IDS: Final[st.SearchStrategy[Any]] = st.sampled_from([None, True, [], {}, 1.5, [1]])
_NOTIFICATIONS: Final[list[dict[str, Any]]] = [
    {"method": "notifications/initialized"},
    {"method": "notifications/cancelled", "params": {"requestId": "nothing"}},
    {"method": "notifications/cancelled", "params": {}},
    {"method": "notifications/cancelled"},
    {"method": "notifications/progress", "params": {"progressToken": "nothing", "progress": 1}},
    {"method": "notifications/roots/list_changed"},
    {"method": "notifications/fuzz"},
    {"method": "tools/list"},
    {"method": "ping"},
    {"method": "fuzz/nothing"},
]
NOTIFICATIONS: Final = st.sampled_from([{"jsonrpc": "2.0", **message} for message in _NOTIFICATIONS])
LINES: Final = st.sampled_from(
    [
        b"", b"  \t", b"{", b"}", b"nonsense", b"[]", b"[[]]", b"{}", b"7", b"null", b'"\xe2\x80\xa8"', b"[1,2,3]",
        b"\xff\xfe{}", b"\xc3", b"\xed\xa0\x80", b"\x00", b"[" * 5000, b"x" * 70_000, b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":1}', b'{"jsonrpc":"2.0","id":"nobody asked","result":{}}',
        b'{"jsonrpc":"2.0","id":"nobody asked","error":{"code":1,"message":"no"}}',
        b'{"jsonrpc":"1.0","id":"old","method":"ping"}', b'{"id":"none","method":"ping"}',
        b'{"jsonrpc":"2.0","id":"list","method":"ping","params":[]}', b'{"jsonrpc":"2.0","id":"seven","method":7}',
        b'{"jsonrpc":"2.0","method":"ping","id":NaN}', b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
    ]
)  # fmt: skip
