"""Our real command as a child process, spoken to in plain JSON-RPC lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from tests.installed import ambient

Json = Any
ANSWER_SECONDS = 30
SCRIPT = Path(sys.executable).with_name("openai-gateway-mcp")
# The installed script is what people run; a checkout on PYTHONPATH without it is what a developer may have.
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "openai_gateway_mcp"]


@attrs.define(kw_only=True, eq=False)
class Conversation:
    """One process. Every line of its stdout must be one JSON-RPC message, or reading fails the test."""

    _process: trio.Process
    _answers: dict[int, Json] = attrs.field(factory=dict)
    _waiting: dict[int, trio.Event] = attrs.field(factory=dict)
    _next_id: int = 0
    notices: list[Json] = attrs.field(factory=list)
    log: bytearray = attrs.field(factory=bytearray)

    async def send(self, method: str, params: Json = None) -> int:
        """Sends a request without waiting; returns its id."""
        self._next_id += 1
        self._waiting[self._next_id] = trio.Event()
        await self._write({"id": self._next_id, "method": method, "params": params or {}})
        return self._next_id

    async def notify(self, method: str, params: Json = None) -> None:
        await self._write({"method": method, "params": params or {}})

    async def answer(self, request_id: int) -> Json:
        """The whole response, error or not; trio.TooSlowError if it does not come."""
        with trio.fail_after(ANSWER_SECONDS):
            await self._waiting[request_id].wait()
        return self._answers.pop(request_id)

    def is_answered(self, request_id: int) -> bool:
        return self._waiting[request_id].is_set()

    async def ask(self, method: str, params: Json = None) -> Json:
        """The result of a request that succeeds."""
        answer = await self.answer(await self.send(method, params))
        assert "result" in answer, answer
        return answer["result"]

    async def call(self, tool: str, **arguments: Json) -> Json:
        """The result of a tool call, isError or not."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})

    async def hang_up(self) -> int:
        """Closes its stdin and waits for its end; returns the exit code."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with trio.fail_after(5):
            return await self._process.wait()

    async def terminate(self) -> int:
        """Sends SIGTERM and waits for its end; returns the exit code as a shell would say it."""
        self._process.terminate()
        with trio.fail_after(5):
            code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def _write(self, message: dict[str, Json]) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def read_stdout(self) -> None:
        assert self._process.stdout is not None
        buffer = bytearray()
        async for data in self._process.stdout:
            buffer += data
            *lines, rest = buffer.split(b"\n")
            buffer = bytearray(rest)
            for line in lines:
                self._take(json.loads(line))

    async def read_stderr(self) -> None:
        assert self._process.stderr is not None
        async for data in self._process.stderr:
            self.log += data

    def _take(self, message: Json) -> None:
        assert message["jsonrpc"] == "2.0"
        if "id" not in message:
            self.notices.append(message)
            return
        assert not self._waiting[message["id"]].is_set(), f"answered twice: {message}"
        self._answers[message["id"]] = message
        self._waiting[message["id"]].set()


@asynccontextmanager
async def conversation(*arguments: str, env: Mapping[str, str]) -> AsyncIterator[Conversation]:
    """Starts our command with `env` (and what a Python needs), past `initialize`; it is gone after the block."""
    environment = {**ambient("PATH", "PYTHONPATH", "LANG"), **env}
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        talk = Conversation(process=process)
        nursery.start_soon(talk.read_stdout)
        nursery.start_soon(talk.read_stderr)
        try:
            await talk.ask("initialize", INITIALIZE)
            await talk.notify("notifications/initialized")
            yield talk
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()


INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "upstream-tests", "version": "1"},
}
