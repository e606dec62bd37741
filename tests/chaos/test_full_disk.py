"""A disk that is full for a while: nobody calls for nothing, no answer is lost, and afterwards the books are whole."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.watched import MEGABYTE
from tests.cli.test_state_process import Server, server
from tests.gateway_service.process import configuration, made_key, served
from tests.gateway_store.load import totals
from tests.installed import is_ci
from tests.peers.fake_upstream import Kind, running

Json = Any
Full = Callable[[int], AbstractContextManager[None]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are set, with prlimit")


@contextmanager
def nothing_may_be_written(pid: int) -> Iterator[None]:
    """The kernel refuses the process each write to a file."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def no_room_in(path: Path) -> Iterator[None]:
    """The small disk of this directory has not a byte left."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(b"x" * size) == size:
                    continue
            except OSError:
                continue
    yield
    ballast.unlink()


@pytest.fixture(params=["no write", pytest.param("a real disk", marks=pytest.mark.peers)])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Full]]:
    """A directory, and what fills its disk. A real one is mounted, which takes root."""
    if request.param == "no write":
        yield tmp_path, nothing_may_be_written
        return
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * MEGABYTE}", "none", str(path)]
    if subprocess.run(mount, check=False).returncode and not is_ci():
        pytest.skip("a disk of this size can be mounted by root alone")
    yield path, lambda _: no_room_in(path)
    subprocess.run(["umount", str(path)], check=True)


def test_the_gateway_s_store(disk: tuple[Path, Full], tmp_path: Path) -> None:
    path, full = disk
    data = path / "data"
    with running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        with served(data, "--config", str(config)) as service:
            key = made_key(data, "--budget", "100")
            answers: list[httpx.Response] = []

            def ask(model: str = "echo") -> httpx.Response:
                body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": model == "drip"}
                url, fields = f"{service.url}/v1/chat/completions", {"Authorization": f"Bearer {key}"}
                return httpx.post(url, headers=fields, json=body, timeout=30)

            assert ask().status_code == 200
            in_work = threading.Thread(target=lambda: answers.append(ask("drip")))
            in_work.start()
            upstream.wait_for(Kind.ASKED, "drip")
            with full(service.process.pid):
                for _ in range(5):
                    refused = ask()
                    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
                    assert refused.headers["retry-after"] == "1"
                urllib.request.urlopen(f"{upstream.url}/release/drip").close()  # noqa: S310 - it is http, on this machine
                in_work.join(30)
                # All of its text, and no end: what a client has whole is in the books.
                assert "drop drop" in "".join(_words(answers[0].text))
                assert "store_unavailable" in answers[0].text
                assert "[DONE]" not in answers[0].text
            assert upstream.journal.kinds("echo") == ["asked", "answered"]  # nothing of what was refused went on
            assert ask().status_code == 200
            assert service.stop() == 0
            assert "Traceback" not in "".join(service.log)
        with closing(sqlite3.connect(data / "gateway.db")) as ledger:
            rows = Counter(ledger.execute("SELECT model, status FROM ledger"))
        assert rows == {("echo", 200): 2, ("echo", 503): 5, ("drip", 200): 1}
        books = totals(str(data / "gateway.db"))
        assert (books["reserved"], books["running"], books["spent"] - books["rows"]) == (0, 0, 0)


def test_the_file_of_tasks_and_conversations(disk: tuple[Path, Full], tmp_path: Path) -> None:
    """Answers come all the same, and what they leave is there until the process ends; that it is not kept is said."""
    path, full = disk
    state = path / "state.db"
    with running() as upstream:
        with server(state, upstream.url) as started:
            thread = _thread(started, thread_id="new")
            with full(started.process.pid):
                assert _thread(started, thread_id=thread) == thread
                task = started.begin("drip")
                urllib.request.urlopen(f"{upstream.url}/release/drip").close()  # noqa: S310 - it is http, on this machine
                assert started.until(task, "completed")["result"]["isError"] is False
            assert _thread(started, thread_id=thread) == thread
            started.process.kill()
            assert started.process.stderr is not None
            assert "The file of --state cannot be written" in started.process.stderr.read()
        with server(state, upstream.url) as again:  # what was said last is kept
            assert _thread(again, thread_id=thread) == thread


def _thread(server: Server, **more: str) -> str:
    """Ask a question; the conversation that its answer is of."""
    result = server.ask("tools/call", name="chat", arguments={"prompt": "Hi", "model": "echo", **more})
    if "taskId" in result:  # a slow machine
        result = server.until(result["taskId"], "completed")["result"]
    assert result["isError"] is False, json.dumps(result)
    return str(result["_meta"]["openai-gateway-mcp/thread_id"])


def _words(events: str) -> Iterator[str]:
    for event in events.split("\n\n"):
        if event.startswith("data: {"):
            for choice in json.loads(event.removeprefix("data: ")).get("choices", ()):
                yield choice["delta"].get("content") or ""
