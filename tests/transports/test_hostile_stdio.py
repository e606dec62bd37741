"""What a client may do to the real command: what is sent, and what must come out; the connection always goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import attrs
import pytest
from tests.transports.process import PATIENCE, ROOT, environment

Json = Any
COMMAND = [sys.executable, "-m", "openai_gateway_mcp"]

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
OK = "ok"


def request(id_: Json, method: str, **params: Json) -> bytes:
    return line({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})


def line(message: Json) -> bytes:
    return json.dumps(message).encode() + b"\n"


def batch(*lines: bytes) -> bytes:
    return b"[%b]\n" % b",".join(one.rstrip() for one in lines)


def ping(id_: Json) -> bytes:
    return request(id_, "ping")


def initialize(id_: Json, revision: str) -> bytes:
    client = {"name": "hostile", "version": "0"}
    return request(id_, "initialize", protocolVersion=revision, capabilities={}, clientInfo=client)


def modern(id_: Json, method: str, meta: Json = META, **params: Json) -> bytes:
    return request(id_, method, _meta=meta, **params)


def notification(method: str, **params: Json) -> bytes:
    return line({"jsonrpc": "2.0", "method": method, "params": params})


def chat(id_: Json) -> bytes:
    return request(id_, "tools/call", name="chat", arguments={"prompt": "Hello!"})


def with_id(raw: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"ping"}\n' % raw.encode()


@attrs.frozen
class Situation:
    """`out`: of each line in its order (id, OK or the error's code), a list of these for a batch, or the method."""

    name: str
    sent: bytes
    out: list[Json]
    environ: dict[str, str] = attrs.field(factory=dict)


VERSION, CAPABILITIES = META
CLIENT = "io.modelcontextprotocol/clientInfo"
BIG = 10**300
UNREADABLE = (None, -32700)
INVALID = (None, -32600)

SITUATIONS = [
    # lines
    Situation("no JSON", b"{nope\n" + ping(1), [UNREADABLE, (1, OK)]),
    Situation("invalid UTF-8", with_id('"\xff"').decode().encode("latin-1") + ping(1), [UNREADABLE, (1, OK)]),
    Situation("a byte order mark", b"\xef\xbb\xbf" + ping(1), [(1, OK)]),
    Situation("a second byte order mark", ping(1) + b"\xef\xbb\xbf" + ping(2), [(1, OK), UNREADABLE]),
    Situation("CRLF, blank lines, no last newline", b"\r\n\n \t\r\n" + ping(1)[:-1] + b"\r", [(1, OK)]),
    Situation("U+2028 in an id", with_id('"\u2028"'), [("\u2028", OK)]),
    Situation(
        "a line over the limit", b"x" * 1025 + b"\n" + ping(1), [UNREADABLE, (1, OK)], {"MAX_MESSAGE_BYTES": "1024"}
    ),
    Situation("100,000 open brackets", b"[" * 100_000 + b"\n" + ping(1), [UNREADABLE, (1, OK)]),
    Situation("numbers that are none", b"".join(map(with_id, ("NaN", "Infinity", "1e999"))), [UNREADABLE] * 3),
    Situation("5,000 digits", with_id("1" * 5_000) + ping(1), [UNREADABLE, (1, OK)]),
    Situation("a key twice", b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}\n', [UNREADABLE]),
    Situation("half a surrogate pair", with_id(r'"\ud800"'), [("\ud800", OK)]),
    # messages
    Situation("values that are no objects", b'5\n"x"\nnull\ntrue\n', [INVALID] * 4),
    Situation(
        "JSON-RPC 1.0, or none",
        line({"jsonrpc": "1.0", "id": 1, "method": "ping"}) + line({"id": 2, "method": "ping"}),
        [(1, -32600), (2, -32600)],
    ),
    Situation("no method", line({"jsonrpc": "2.0", "id": 1}), [(1, -32600)]),
    Situation("params in an array", line({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}), [(1, -32602)]),
    Situation("a response that nobody asked for", line({"jsonrpc": "2.0", "id": 1, "result": {}}) + ping(1), [(1, OK)]),
    Situation(
        "ids of every good type",
        ping("") + ping(0) + ping(-BIG) + ping("1") + ping(1),
        [("", OK), (0, OK), (-BIG, OK), ("1", OK), (1, OK)],
    ),
    Situation("ids of every bad type", b"".join(map(with_id, ("null", "true", "1.5", "{}", "[]"))), [INVALID] * 5),
    Situation(
        "wrong notifications",
        notification("nope") + notification("tools/call") + notification("initialize") + ping(1),
        [(1, OK)],
    ),
    Situation(
        "odd cancellations",
        b"".join(notification("notifications/cancelled", requestId=odd) for odd in (9, None, [0], True)) + ping(1),
        [(1, OK)],
    ),
    # batches
    *(
        Situation(
            f"a batch in {revision}",
            initialize(0, revision) + batch(ping(1)) + batch() + ping(3),
            [(0, OK), INVALID, INVALID, (3, OK)],
        )
        for revision in ("2024-11-05", "2025-06-18", "2025-11-25")
    ),
    Situation(
        "batches in 2025-03-26",
        initialize(0, "2025-03-26")
        + batch(ping(1), b"5", request(2, "nope"))
        + batch(notification("a"), notification("b"))
        + batch()
        + batch(initialize(3, "2025-03-26"))
        + batch(modern(4, "tools/list")),
        [(0, OK), [(1, OK), INVALID, (2, -32601)], INVALID, [(3, -32600)], [(4, -32600)]],
    ),
    # eras
    Situation("requests before any initialize", request(1, "tools/list") + ping(2), [(1, OK), (2, OK)]),
    Situation("initialize twice", initialize(1, "2024-11-05") + initialize(2, "2025-06-18"), [(1, OK), (2, OK)]),
    Situation("revisions nobody knows", initialize(1, "2099-01-01") + initialize(2, ""), [(1, OK), (2, OK)]),
    Situation(
        "initialize after server/discover",
        modern(1, "server/discover") + initialize(2, "2025-11-25"),
        [(1, OK), (2, OK)],
    ),
    Situation(
        "both eras interleaved",
        initialize(1, "2024-11-05")
        + modern(2, "tools/list")
        + ping(3)
        + modern(4, "ping")
        + modern(5, "initialize")
        + request(6, "server/discover")
        + request(7, "subscriptions/listen"),
        [(1, OK), (2, OK), (3, OK), (4, -32601), (5, -32601), (6, -32602), (7, -32602)],
    ),
    Situation(
        "modern _meta that is malformed",
        b"".join(
            modern(id_, "tools/list", meta)
            for id_, meta in enumerate(
                (
                    {VERSION: "2026-07-28"},
                    {VERSION: "2026-07-28", CAPABILITIES: None},
                    {VERSION: "2026-07-28", CAPABILITIES: []},
                    {VERSION: "2026-07-28", CAPABILITIES: {}, CLIENT: 5},
                    {VERSION: 5, CAPABILITIES: {}},
                    {VERSION: None, CAPABILITIES: {}},
                    {VERSION: "2025-11-25", CAPABILITIES: {}},
                    {VERSION: "", CAPABILITIES: {}},
                    "no object",
                )
            )
        ),
        [
            (0, -32602),
            (1, -32602),
            (2, -32602),
            (3, -32602),
            (4, -32602),
            (5, -32602),
            (6, -32022),
            (7, -32022),
            (8, -32602),
        ],
    ),
    Situation(
        "a listen at the end of input",
        modern("L", "subscriptions/listen", notifications={"toolsListChanged": True}) + ping(1),
        ["notifications/subscriptions/acknowledged", (1, OK), "notifications/cancelled", ("L", OK)],
    ),
    # calls
    Situation(
        "a progress token that is none",
        request(1, "tools/call", name="chat", arguments={}, _meta={"progressToken": 1.5}),
        [(1, -32602)],
    ),
    Situation(
        "what is not there",
        request(1, "tools/call", name="nope")
        + request(2, "prompts/get", name="nope")
        + request(3, "tools/list", cursor="x"),
        [(1, -32602), (2, -32602), (3, -32602)],
    ),
    Situation("an id that is in flight", chat(1) + ping(1) + ping(2), [(1, -32600), (2, OK), (1, OK)]),
    Situation(
        "a call cancelled in the same breath",
        chat(1) + notification("notifications/cancelled", requestId=1) + ping(1),
        [(1, OK)],
    ),
    Situation(
        "one slot, and a parked call is cancelled",
        chat(1) + chat(2) + chat(3) + notification("notifications/cancelled", requestId=2) + ping(4),
        [(4, OK), (1, OK), (3, OK)],
        {"MAX_IN_FLIGHT": "1"},
    ),
]


def converse(sent: bytes, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "--embedded", "--drain", "30"],
        input=sent,
        env=environment() | environ,
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def outline(message: Json) -> Json:
    if isinstance(message, list):
        return [outline(entry) for entry in message]
    if "method" in message:
        return message["method"]
    return (message["id"], message["error"]["code"] if "error" in message else OK)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_what_is_sent_gets_its_answers_and_nothing_else(situation: Situation) -> None:
    done = converse(situation.sent, **situation.environ)
    assert [outline(json.loads(text)) for text in done.stdout.splitlines()] == situation.out
    assert done.stdout.isascii()
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_a_stderr_that_nobody_reads_stops_nothing() -> None:
    """Each message is worth a line of the log; together they are more than a pipe holds."""
    unanswered = notification("completion/complete", prompt="the seed document's example has no id")
    done = subprocess.Popen(
        [*COMMAND, "--embedded"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    )
    assert done.stdin is not None
    assert done.stdout is not None
    assert done.stderr is not None
    with done.stdin as stdin, done.stdout as stdout, done.stderr as stderr:
        for id_ in range(40):
            stdin.write(unanswered * 25 + ping(id_))
            stdin.flush()
            assert json.loads(stdout.readline())["id"] == id_
        stdin.close()
        assert done.wait(PATIENCE) == 0
        assert b"without an id" in os.read(stderr.fileno(), 1_000)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no shell to close a descriptor with")
def test_a_wrong_setting_with_stderr_closed_still_ends_with_its_code() -> None:
    command = " ".join([*COMMAND, "2>&-"])
    done = subprocess.run(["/bin/sh", "-c", command], env=environment() | {"TIMEOUT": "x"}, cwd=ROOT, check=False)
    assert done.returncode == 2
