"""The real clients again, over HTTP and over a WebSocket: the session that they play over stdio."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.installed import ambient
from tests.peers import fake_upstream
from tests.peers.fake_upstream import Upstream
from tests.peers.peers import CLIENTS, Client
from tests.peers.playing import COMMAND, Runtime, drive, environment, gateway
from tests.peers.test_inspector import inspecting

# The first test waits for the installations, which have their own bound.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

Json = Any

# Of each library one release an era; mcp 1.6 knows only HTTP+SSE. Over stdio they all have their turn.
OVER_HTTP: Final = tuple(
    client
    for client in CLIENTS
    if client.name
    in {
        "mcp-2-auto",
        "mcp-2-legacy",
        "mcp-1.30",
        "mcp-1.9",
        "npm-sdk-1",
        "npm-client-2-auto",
        "npm-client-2-legacy",
    }
)
OVER_WEBSOCKET: Final = tuple(client for client in CLIENTS if client.name in {"npm-sdk-1", "mcp-1.30"})


@contextmanager
def serving(room: Path, upstream: Upstream, **more: str) -> Iterator[str]:
    """Our installed command over HTTP; the URL. It must have nothing to complain of."""
    env = {**environment(room, **gateway(upstream)), "LOG_LEVEL": "info", **more}
    with subprocess.Popen([COMMAND, "http", "--port", "0"], env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+/mcp", process.stderr.readline())
            assert found is not None
            yield found[0]
            process.terminate()
            log = process.stderr.read()
            assert [line for line in log.splitlines() if " INFO " not in line] == []
            assert process.wait(30) == 0
        finally:
            process.kill()


def session(client: Client, runtime: Runtime, room: Path, scheme: str) -> Json:
    with fake_upstream.running() as upstream, serving(room, upstream) as url:
        job = {
            "url": url.replace("http:", scheme),
            "mode": client.mode,
            "packages": str(runtime.packages),
            "upstream": upstream.url,
        }
        done = drive(client, runtime, room, job)
        assert done.returncode == 0, f"{client.name} failed:\n{done.stderr}"
        gone = [entry.model for entry in upstream.journal.entries if entry.kind.value == "gone"]
        assert {"mute", "stuck"} <= set(gone)
        return json.loads(done.stdout)


def judge(client: Client, report: Json) -> None:
    assert report["version"] == client.revision
    assert report["tools"] == ["chat", "list_models", "compare_models"]
    assert report["chat"] == {"text": "Hello ✓", "is_error": False}
    assert report["refused"]["is_error"]
    first, second, *_ = report["progress"]
    assert first["progress"] < second["progress"]
    assert report["cancelled"] == [{"model": model, "answers": []} for model in ("mute", "stuck")]
    assert report["alive"] == {"text": "Still there?", "is_error": False}
    assert report["complaints"] == []
    assert report.get("faults", []) == []


@pytest.mark.parametrize("client", OVER_HTTP, ids=lambda client: client.name, scope="module")
def test_a_client_over_http(client: Client, runtime: Runtime, tmp_path: Path) -> None:
    report = session(client, runtime, tmp_path, "http:")
    judge(client, report)
    assert ("honored" in report) is (client.revision == "2026-07-28")


@pytest.mark.parametrize("client", OVER_WEBSOCKET, ids=lambda client: client.name, scope="module")
def test_a_client_over_a_websocket(client: Client, runtime: Runtime, tmp_path: Path) -> None:
    judge(client, session(client, runtime, tmp_path, "ws:"))


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_over_http(era: str, inspector: Runtime, tmp_path: Path) -> None:
    asked = (
        "--method",
        "tools/call",
        "--tool-name",
        "chat",
        "--tool-args-json",
        '{"prompt": "Hello ✓", "model": "echo"}',
    )
    with fake_upstream.running() as upstream, serving(tmp_path, upstream) as url:
        words = inspecting(inspector, [url], {}, "--transport", "http", "--protocol-era", era, *asked)
        done = subprocess.run(
            words,
            env={**ambient("PATH"), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["content"][0]["text"] == "Hello ✓"


def test_curl_s_one_line(tmp_path: Path) -> None:
    message = '{"jsonrpc":"2.0","method":"models/list","id":1}'
    with fake_upstream.running() as upstream, serving(tmp_path, upstream) as url:
        words = ["curl", "-sS", "-X", "POST", url, "-H", "Content-Type: application/json", "-d", message]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert {model["id"] for model in json.loads(done.stdout)["result"]["models"]} >= {"echo", "mute"}
