"""A server with `--state` that is killed in the middle: what its client finds in the next one."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.features.test_tasks import KNOWS
from tests.gateway_service.process import environment
from tests.peers.fake_upstream import KEY, running
from tests.playbook import CAPABILITIES, meta, request

Json = Any


@attrs.define
class Server:
    """One process, and its client's end of the pipes."""

    process: subprocess.Popen[str]
    last_id: int = 0

    def ask(self, method: str, **params: Json) -> Json:
        self.last_id += 1
        message = request(self.last_id, method, **params, _meta=meta() | {CAPABILITIES: KNOWS})
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.last_id
        return answer["result"]

    def begin(self, model: str) -> str:
        result = self.ask("tools/call", name="chat", arguments={"prompt": "hi", "model": model})
        assert result["resultType"] == "task"
        return str(result["taskId"])

    def until(self, task_id: str, status: str) -> Json:
        while (task := self.ask("tasks/get", taskId=task_id))["status"] != status:
            assert task["status"] == "working"
        return task


@contextmanager
def server(state: Path, url: str) -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, "-m", "openai_gateway_mcp", "--state", str(state)],
        env=environment(GATEWAY_URL=url, GATEWAY_API_KEY=KEY, SOFT_DEADLINE="0.05"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def test_a_task_that_ended_is_there_and_one_that_ran_has_failed(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with running() as upstream:
        with server(state, upstream.url) as first:
            ended, ran = first.begin("drip"), first.begin("stuck")
            urllib.request.urlopen(f"{upstream.url}/release/drip").close()  # noqa: S310 - of this machine
            done = first.until(ended, "completed")
            first.process.kill()
            first.process.wait()
        with server(state, upstream.url) as second:
            assert second.ask("tasks/get", taskId=ended)["result"] == done["result"]
            failed = second.ask("tasks/get", taskId=ran)
            assert failed["status"] == "failed"
            assert "stopped while this task ran" in failed["error"]["message"]
            # A second server of the same person finds the file taken, says so, and serves all the same.
            with server(state, upstream.url) as third:
                assert third.ask("tools/list")["tools"]
                third.process.kill()
                assert third.process.stderr is not None
                assert "in use by another process" in third.process.stderr.read()
