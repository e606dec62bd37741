"""Released clients that know the tasks extension, over stdio and over HTTP: a slow call becomes a task for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.peers import fake_upstream
from tests.peers.fake_upstream import Upstream
from tests.peers.peers import TASK_CLIENTS, Client
from tests.peers.playing import Runtime, command, drive, environment, gateway
from tests.peers.record import read_sessions
from tests.peers.test_over_the_network import serving

# The first test waits for the installations, which have their own bound.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

Json = Any

SOON = {"SOFT_DEADLINE": "0.2"}


@pytest.fixture(scope="module", params=TASK_CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Each of them in turn, in the place of all clients."""
    chosen: Client = request.param
    return chosen


def play(client: Client, runtime: Runtime, room: Path, upstream: Upstream, job: Json) -> Json:
    done = drive(client, runtime, room, {"packages": str(runtime.packages), "upstream": upstream.url, **job})
    assert done.returncode == 0, f"{client.name} failed:\n{done.stderr}"
    return json.loads(done.stdout)


def judge(client: Client, report: Json, upstream: Upstream) -> None:
    assert report["version"] == client.revision
    assert report["finished"]["states"] == ["working", "completed"]
    assert report["finished"]["text"].startswith("drop drop ")
    assert not report["finished"]["is_error"]
    assert report["cancelled"]["states"] == ["working", "cancelled"]
    assert upstream.journal.kinds("stuck") == ["asked", "gone"], "cancelling a task closes its connection upstream"
    assert report["alive"] == {"text": "Still there?", "is_error": False}
    assert report["complaints"] == []


def test_a_client_polls_a_slow_call_to_its_end_and_cancels_another_over_stdio(
    client: Client, runtime: Runtime, tmp_path: Path
) -> None:
    record, log = tmp_path / "record", tmp_path / "server.log"
    record.mkdir()
    log.touch()
    with fake_upstream.running() as upstream:
        env = environment(tmp_path, **{**gateway(upstream), **SOON})
        job = {"command": command(record=record), "env": env, "server_log": str(log)}
        report = play(client, runtime, tmp_path, upstream, job)
    judge(client, report, upstream)
    assert log.read_text() == ""
    session = read_sessions(record)[0]
    session.judge()
    asked = [json.loads(line).get("method") for line in session.client_lines()]
    assert {"tools/call", "tasks/get", "tasks/cancel"} <= set(asked)


def test_a_client_polls_a_slow_call_to_its_end_and_cancels_another_over_http(
    client: Client, runtime: Runtime, tmp_path: Path
) -> None:
    with fake_upstream.running() as upstream, serving(tmp_path, upstream, **SOON) as url:
        report = play(client, runtime, tmp_path, upstream, {"url": url})
    judge(client, report, upstream)
