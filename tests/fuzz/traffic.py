"""Realistic conversations: both eras, every revision and method, and what clients get wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.damage import NASTY, encode, spoilt
from tests.fuzz.application import Act, Limits
from tests.fuzz.oracle import LEGACY, MODERN
from tests.fuzz.oracle_params import CAPABILITIES, CLIENT, LOG_LEVEL, VERSION

Draw = Any  # hypothesis's draw function, generic in what it draws

# Few, so that they collide. "RAW:…" stands for a literal that json.dumps would not write.
_PLAIN_IDS: list[Any] = [0, 1, "1", 2, "2", 3, 4, 5, 6, 7, 8, 9]
IDS: list[Any] = [*_PLAIN_IDS * 2, -7, "", "ünd\u2028", "\ud800", 10**30, 2**53 + 1, "RAW:1.0", "RAW:1e2"]
BAD_IDS: list[Any] = [None, True, False, 1.5, [], {}, [1], "RAW:1e999", "RAW:NaN", "RAW:-Infinity", "RAW:1e22"]
TOKENS: list[Any] = [0, 1, "t", "ünd", 10**25, "RAW:2.0"]

_INFO = {"name": "client", "version": "1"}
GOOD: dict[str, list[dict[str, Any]]] = {
    "tools/call": [
        {"name": "chat", "arguments": {"prompt": "Hallo, Wörld\u2028!"}},
        {"name": "chat", "arguments": {"prompt": "\ud83d\ude00 \ud800", "n": [1, {"deep": [[[]]]}]}},
        {"name": "list_models"},
        {"name": "list_models", "arguments": None},
        {"name": "nothing"},
    ],
    "resources/read": [{"uri": "openai://models"}, {"uri": "openai://models/größe"}],
    "prompts/get": [{"name": "ask", "arguments": {"question": "?"}}, {"name": "ask"}, {"name": "nothing"}],
    "completion/complete": [
        {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": {"name": "model", "value": "g"}},
        {
            "ref": {"type": "ref/resource", "uri": "openai://models/{model}"},
            "argument": {"name": "model", "value": ""},
            "context": {"arguments": {"a": "b"}},
        },
        {"prompt": {"messages": [{"role": "user", "content": "Hello!"}]}, "temperature": 0.1},
        {"prompt": "Hello!"},
        {"prompt": "Hello!", "ref": {}},
        {},
    ],
    "models/list": [{}, {"anything": [1, 2]}],
    "tasks/get": [{"taskId": "t"}, {}],
    "tasks/update": [{"taskId": "t", "inputResponses": {"a": {}, "b": None}}, {"taskId": "t"}],
    "tasks/cancel": [{"taskId": "größe"}, {"taskId": 7}],
    "ping": [{}],
    "logging/setLevel": [{"level": "debug"}, {"level": "loud"}],
    "resources/subscribe": [{"uri": "openai://models"}],
    "resources/unsubscribe": [{"uri": "openai://models"}],
    "tools/list": [{}, {"cursor": None}, {"cursor": "2"}],
    "prompts/list": [{}],
    "resources/list": [{}],
    "resources/templates/list": [{}],
    "server/discover": [{}],
    "subscriptions/listen": [
        {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["openai://models"]}},
        {"notifications": {"promptsListChanged": True, "resourcesListChanged": False}},
        {},
    ],
    "initialize": [
        {"protocolVersion": version, "capabilities": {}, "clientInfo": _INFO} for version in (*LEGACY, MODERN, "1999")
    ],
    "nothing/such": [{}],
    "tools/Call": [{"name": "chat"}],
    "": [{}],
}
CALLS = [
    *["tools/call", "tools/call", "resources/read", "prompts/get", "completion/complete", "models/list"],
    *["tasks/get", "tasks/update", "tasks/cancel"],
]

_MODERN_META: dict[str, Any] = {VERSION: MODERN, CAPABILITIES: {}}
_METAS: list[Any] = [
    *[{}] * 8,
    *[_MODERN_META] * 5,
    {**_MODERN_META, CLIENT: _INFO},
    {**_MODERN_META, CLIENT: None},
    *[{**_MODERN_META, LOG_LEVEL: level} for level in ("info", "loud", 7)],
    *[{**_MODERN_META, CAPABILITIES: {"extensions": {"io.modelcontextprotocol/tasks": {}}}}] * 5,
    {**_MODERN_META, CAPABILITIES: {"extensions": {"io.modelcontextprotocol/tasks": 1}}},
    {VERSION: MODERN},
    {VERSION: "2025-06-18", CAPABILITIES: {}},
    {VERSION: 7, CAPABILITIES: {}},
    {CAPABILITIES: {}, "traceparent": "00-0-0-00"},
]
_METAS += [{**meta, "progressToken": token} for meta in _METAS[::2] for token in TOKENS[:3]]
_NOTIFICATIONS = ["notifications/initialized", "notifications/progress", "notifications/roots/list_changed", "x", ""]

# Strategies are made once, here: to make them anew for each draw costs more than the draw.
_RARELY = st.sampled_from([False] * 6 + [True])
_COIN = st.booleans()
_ANY_ID, _ANY_META, _ANY_NASTY = st.sampled_from(IDS), st.sampled_from(_METAS), st.sampled_from(NASTY)
_ANY_BAD_ID, _ID_OR_WORSE = st.sampled_from(BAD_IDS), st.sampled_from([*IDS, *BAD_IDS])


def _asks(methods: Iterable[str]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.sampled_from(list(methods)).flatmap(_PARAMS.__getitem__)


_PARAMS = {method: st.sampled_from([(method, params) for params in samples]) for method, samples in GOOD.items()}
_CALLS, _ASKS = _asks(CALLS), _asks([*CALLS * 2, *GOOD])


@st.composite
def _requests(draw: Draw, asks: st.SearchStrategy[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    method, params = draw(asks)
    meta = draw(_ANY_META)
    if meta:
        params = {**params, "_meta": meta}
    if draw(_RARELY):
        params = draw(spoilt(params))
    message = {"jsonrpc": "2.0", "id": draw(_ANY_ID), "method": method, "params": params}
    if not params:
        del message["params"]
    return message


# As clients make them, now and then with one thing wrong in the params.
REQUESTS = _requests(_ASKS)
CALL_REQUESTS = _requests(_CALLS)


_NOTES = st.sampled_from(["cancel", "cancel", "cancel", "other", "request"])
_REASONS, _METHODS = st.sampled_from(["ünd", None]), st.sampled_from(_NOTIFICATIONS)


@st.composite
def notifications(draw: Draw) -> dict[str, Any]:
    """Cancellations above all; also requests that lack an id."""
    kind = draw(_NOTES)
    if kind == "cancel":
        return cancellation(draw(_ID_OR_WORSE), draw(_REASONS))
    if kind == "other":
        return {"jsonrpc": "2.0", "method": draw(_METHODS), "params": draw(_ANY_NASTY)}
    request: dict[str, Any] = draw(REQUESTS)
    del request["id"]
    return request


def cancellation(id_: Any, reason: Any) -> dict[str, Any]:
    """A notifications/cancelled."""
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_, "reason": reason}}


_ENVELOPES = st.sampled_from(["value", "response", "bad id", "spoilt"])
_OUTCOMES = st.sampled_from([{"result": {}}, {"error": {"code": 1, "message": "no"}}])


@st.composite
def envelopes(draw: Draw) -> Any:
    """What is no request, or no message at all."""
    kind = draw(_ENVELOPES)
    if kind == "value":
        return draw(_ANY_NASTY)
    if kind == "response":
        return {"jsonrpc": "2.0", "id": draw(_ID_OR_WORSE), **draw(_OUTCOMES)}
    request: dict[str, Any] = draw(REQUESTS)
    if kind == "bad id":
        return {**request, "id": draw(_ANY_BAD_ID)}
    return draw(spoilt(request))


MESSAGES = st.sampled_from([REQUESTS] * 9 + [notifications()] * 3 + [envelopes()]).flatmap(lambda kind: kind)
BATCHES = st.lists(MESSAGES, max_size=6)
_INITIALIZE = {"jsonrpc": "2.0", "id": "first", "method": "initialize"}
INITIALIZES = st.sampled_from([{**_INITIALIZE, "params": params} for params in GOOD["initialize"]])
# Batches first get the revision that has them: elsewhere they are one and the same refusal.
_BATCHING = {**_INITIALIZE, "params": GOOD["initialize"][1]}

# What no encoder would write.
LINES = [
    *[b"", b"  \t", b"{", b"}", b"nonsense", b"[]", b"[[]]", b"{}", b"\x00", b'"\xe2\x80\xa8"'],
    *[b"\xff\xfe{}", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf{}", b"[" * 5000, b"x" * 5000, b"9" * 4096],
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"\\u0069d":2,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\xe2\x80\xa8\xc2\x85"}}',
    b'[{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}]',
    b'{"jsonrpc":"2.0",\r"id":3,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":' + b"8" * 4000 + b',"method":"ping"}',
    # As long as each of the LIMITS allows, and one byte longer.
    *[
        b'{"jsonrpc":"2.0","id":2,"method":"ping"' + b"}".rjust(size - 39)
        for size in (300, 301, 1000, 1001, 6000, 6001)
    ],
]


_KINDS = st.sampled_from(["message"] * 14 + ["batch"] * 3 + ["withdrawn"] * 3 + ["initialize", "line"])


@st.composite
def withdrawn(draw: Draw) -> list[Any]:
    """A call, its cancellation, and often the same id once more."""
    request = draw(CALL_REQUESTS)
    between = draw(_BETWEEN)
    return [request, *between, cancellation(request["id"], None), *([request] if draw(_COIN) else [])]


_BETWEEN = st.lists(MESSAGES, max_size=2)
_LINES = st.sampled_from(LINES)
_STYLES = st.sampled_from([(True, False), (True, True), (True, False), (False, False), (False, True)])
_VALUES: dict[str, st.SearchStrategy[list[Any]]] = {
    "message": MESSAGES.map(lambda message: [message]),
    "initialize": INITIALIZES.map(lambda message: [message]),
    "batch": st.tuples(st.sampled_from([[], [_BATCHING]]), BATCHES).map(lambda parts: [*parts[0], parts[1]]),
    "withdrawn": withdrawn(),
}


@st.composite
def wire(draw: Draw) -> list[bytes]:
    """Lines that belong together: a batch has an initialize before it, a call its cancellation and a second try."""
    kind = draw(_KINDS)
    if kind == "line":
        return [draw(_LINES)]
    ascii_only, spaced = draw(_STYLES)
    values = draw(_VALUES[kind])
    return [encode(value, ascii_only=ascii_only, spaced=spaced) for value in values]


_GROUPS = st.sampled_from([st.lists(wire(), min_size=size, max_size=16) for size in (1, 4, 8, 12)]).flatmap(
    lambda groups: groups
)
_NEWLINES = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n"])
_ENDS = st.sampled_from([(b"", b"\n"), (b"", b"\n"), (b"", b""), (b"\xef\xbb\xbf", b"\n"), (b"\n", b"\n")])


@st.composite
def conversations(draw: Draw) -> bytes:
    """Everything a client says, in one piece."""
    groups, newline, (start, end) = draw(_GROUPS), draw(_NEWLINES), draw(_ENDS)
    return b"".join([start, newline.join(line for group in groups for line in group), end])


# For what has many corners: a plain run is still a matter of seconds.
THOROUGH = settings(max_examples=min(4 * settings().max_examples, 10_000))

PLANS = st.lists(st.sampled_from([*Act, Act.HOLD, Act.HOLD, Act.REPORT]), min_size=1, max_size=5)
LIMITS = st.builds(
    Limits,
    max_message_bytes=st.sampled_from([300, 1000, 6000, 6000]),
    max_in_flight=st.sampled_from([1, 2, 3]),
    max_parked=st.sampled_from([0, 1, 4]),
    max_parked_bytes=st.sampled_from([100, 400, 10_000]),
    max_listens=st.sampled_from([0, 1, 2]),
)
