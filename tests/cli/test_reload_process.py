"""The real process: a signal or a changed file reloads it, whatever it is doing, and ends nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel

from tests.gateway_engine.loopback import Connection, Loopback, loopback, whole_answer

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux which signals are caught")

ROOT = Path(__file__).parents[2]
INHERITED = dict(os.environ)  # noqa: TID251 - a child process needs a PATH, and coverage its own variables
PATIENCE = 60  # seconds; a bound for a test that would hang, nothing is measured by it

FILE = """
[providers.p]
kind = "openai"
base_url = "{url}"
[[models]]
name = "m"
provider = "p"
model = "{model}"
"""


@attrs.define
class Lines:
    """The lines of a pipe."""

    stream: trio.abc.ReceiveStream
    _rest: bytes = b""

    async def next(self) -> str:
        while b"\n" not in self._rest:
            data = await self.stream.receive_some()
            assert data, f"it ended after {self._rest!r}"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def until(self, words: str) -> str:
        """The next line that holds `words`; what stands before it is read away."""
        return (await self.everything_until(words)).splitlines()[-1]

    async def everything_until(self, words: str) -> str:
        lines = [await self.next()]
        while words not in lines[-1]:
            lines.append(await self.next())
        return "\n".join(lines)


@attrs.define
class Server:
    process: trio.Process
    answers: Lines
    log: Lines

    async def send(self, id_: int, method: str, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
        assert self.process.stdin is not None
        await self.process.stdin.send_all(json.dumps(message).encode() + b"\n")

    async def chat(self, id_: int) -> None:
        await self.send(id_, "tools/call", name="chat", arguments={"prompt": "Hello!", "model": "m"})

    async def answer(self) -> tuple[int, str]:
        """The id of the next answer, and its text."""
        message = json.loads(await self.answers.next())
        content = message["result"].get("content")
        return message["id"], content[0]["text"] if content else ""

    async def initialize(self) -> None:
        await self.send(0, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t"})
        assert (await self.answer())[0] == 0

    async def until_it_watches_for_hangups(self) -> None:
        """Python's own start, before our first line, is the one moment in which the signal would end it."""
        status = trio.Path(f"/proc/{self.process.pid}/status")
        while not int(_field(await status.read_text(), "SigCgt"), 16) & 1 << (signal.SIGHUP - 1):
            pass

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)


def _field(text: str, name: str) -> str:
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:"))


@asynccontextmanager
async def server(*argv: str) -> AsyncIterator[Server]:
    kept = {name: value for name, value in INHERITED.items() if name == "PATH" or name.startswith("COVERAGE_")}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "openai_gateway_mcp", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=kept | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        with trio.fail_after(PATIENCE):
            yield Server(process, Lines(process.stdout), Lines(process.stderr))
            await process.stdin.aclose()
            assert await process.wait() == 0
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@attrs.define
class Upstream:
    """Answers with the name of the model that was asked; one called `slow` waits until it may."""

    asked: trio.Event = attrs.field(factory=trio.Event)
    may_answer: trio.Event = attrs.field(factory=trio.Event)

    async def __call__(self, connection: Connection) -> None:
        while request := await connection.request():
            model = json.loads(request.partition(b"\r\n\r\n")[2])["model"]
            if model == "slow":
                self.asked.set()
                await self.may_answer.wait()
            message = {"role": "assistant", "content": f"I am {model}"}
            body = {"model": model, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
            await connection.stream.send_all(whole_answer(json.dumps(body).encode()))


def write(path: Path, upstream: Loopback, model: str) -> None:
    """As an editor or `mv` does it: a new file takes the name of the old one."""
    new = path.with_suffix(".new")
    new.write_text(FILE.format(url=upstream.base_url, model=model))
    new.replace(path)


async def test_a_hangup_reloads_before_and_after_the_first_answer_and_a_call_in_flight_ends_where_it_began(
    tmp_path: Path,
) -> None:
    upstream, path = Upstream(), tmp_path / "gateway.toml"
    async with loopback(upstream) as at:
        write(path, at, "slow")
        async with server("--config", str(path)) as served:
            await served.until_it_watches_for_hangups()
            served.hang_up()
            await served.log.until("SIGHUP came")
            await served.initialize()
            await served.chat(1)
            await upstream.asked.wait()
            write(path, at, "new")
            served.hang_up()
            await served.log.until("SIGHUP came")
            await served.chat(2)
            assert await served.answer() == (2, "I am new")
            upstream.may_answer.set()
            assert await served.answer() == (1, "I am slow")


async def test_a_broken_file_is_told_in_one_line_and_the_old_one_serves_on(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    async with loopback(Upstream()) as at:
        write(path, at, "old")
        async with server("--config", str(path)) as served:
            await served.initialize()
            path.write_text("[providers")
            served.hang_up()
            line = await served.log.until("the old configuration serves on")
            assert f"{path}, line 1" in line
            await served.chat(1)
            assert await served.answer() == (1, "I am old")


async def test_a_watched_file_reloads_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    async with loopback(Upstream()) as at:
        write(path, at, "old")
        async with server("--config", str(path), "--watch") as served:
            await served.initialize()
            await served.chat(1)
            assert await served.answer() == (1, "I am old")
            write(path, at, "new")
            await served.log.until(f"{path} changed")
            await served.chat(2)
            assert await served.answer() == (2, "I am new")


async def test_a_rotated_key_is_sent_and_shows_nowhere(tmp_path: Path) -> None:
    new_key = "canary-of-a-rotated-key-0123456789"
    path, key = tmp_path / "gateway.toml", tmp_path / "key"
    key.write_text("the-first-key-0123456789")
    key.chmod(0o600)
    sent: list[str] = []

    async def refuses_and_quotes(connection: Connection) -> None:
        while request := await connection.request():
            authorization = request.lower().partition(b"authorization: ")[2].partition(b"\r\n")[0].decode()
            sent.append(authorization)
            body = json.dumps({"error": {"message": f"no such key: {authorization}", "type": "t"}}).encode()
            head = b"HTTP/1.1 401 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            await connection.stream.send_all(head + body)

    async with loopback(refuses_and_quotes) as at:
        write(path, at, "m")
        path.write_text(path.read_text().replace("[[models]]", f'api_key = {{ file = "{key}" }}\n[[models]]'))
        async with server("--config", str(path), "--log-level", "debug") as served:
            await served.initialize()
            key.write_text(new_key)
            served.hang_up()
            await served.log.until("SIGHUP came")
            await served.chat(1)
            _, text = await served.answer()
            served.hang_up()
            said = await served.log.everything_until("SIGHUP came")
    assert sent == [f"bearer {new_key}"]
    assert "[redacted]" in text
    assert new_key not in text + said


async def test_without_a_file_a_hangup_ends_nothing_either() -> None:
    async with server() as served:
        await served.initialize()
        served.hang_up()
        assert "the files of keys are read again" in await served.log.until("SIGHUP came")


def test_a_terminal_that_is_closed_ends_the_server_by_the_end_of_its_input() -> None:
    """The kernel sends a hangup then, which alone would not end it."""
    master, slave = pty.openpty()
    kept = {name: value for name, value in INHERITED.items() if name == "PATH" or name.startswith("COVERAGE_")}
    with subprocess.Popen(
        [sys.executable, "-c", _WITH_A_TERMINAL_OF_ITS_OWN, os.ttyname(slave)],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=kept | {"PYTHONPATH": str(ROOT / "src")},
    ) as process:
        os.close(slave)
        assert process.stderr is not None
        assert any(b"waiting for an MCP client" in line for line in iter(process.stderr.readline, b""))
        os.close(master)
        assert process.wait(PATIENCE) == 0


_WITH_A_TERMINAL_OF_ITS_OWN = """
import os, sys
os.close(os.open(sys.argv[1], os.O_RDWR))  # the first terminal that the leader of a session opens is its own
sys.argv[1:] = ["--embedded"]
from openai_gateway_mcp.__main__ import main
main()
"""
