"""A session over a memory stream with scripted tools: what every test of the session starts from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from tests.transports.memory import MemoryStream

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Remark, ToolCalled, Work
from openai_gateway_mcp.protocol.model import Result, Server, Text, Tool, ToolResult
from openai_gateway_mcp.transports.calls import Reporter
from openai_gateway_mcp.transports.session import run_session

Json = Any
Script = Callable[[str, Reporter], Awaitable[str]]

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


class Conversation:
    """One tool, `do`, whose script is the test's; the default one answers when the test opens the gate."""

    def __init__(self, *, capacity: float = math.inf, max_in_flight: int = 256) -> None:
        self.wire = MemoryStream(capacity=capacity)
        tool = Tool(name="do", title="Do", description="Does.", input_schema=SCHEMA)
        server = Server(name="s", title="S", version="0", instructions="", tools=(tool,))
        self.connection = Connection(server, max_in_flight=max_in_flight)
        self.script: Script = self.wait_for_gate
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.remarks: list[Remark] = []
        self._gates: dict[str, trio.Event] = {}
        self._ids = itertools.count(1)

    async def run(self, **options: Any) -> None:
        await run_session(self.wire, self.connection, self._handle, remark=self.remarks.append, **options)

    def call(self, text: str, *, progress_token: str | None = None, id_: int | None = None) -> int:
        """Call the tool; the id."""
        request = self.request(text, progress_token=progress_token, id_=id_)
        self.wire.send(request)
        id_ = request["id"]
        assert isinstance(id_, int)
        return id_

    def request(self, text: str, *, progress_token: str | None = None, id_: int | None = None) -> dict[str, Json]:
        id_ = next(self._ids) if id_ is None else id_
        params: dict[str, Json] = {"name": "do", "arguments": {"text": text}}
        if progress_token is not None:
            params["_meta"] = {"progressToken": progress_token}
        return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}

    def cancel(self, id_: int) -> None:
        self.wire.send(cancellation(id_))

    def open(self, text: str) -> None:
        """Let the calls with this text answer."""
        self._gates.setdefault(text, trio.Event()).set()

    async def wait_for_gate(self, text: str, _: Reporter) -> str:
        await self._gates.setdefault(text, trio.Event()).wait()
        return text

    async def _handle(self, work: Work, reporter: Reporter) -> Result:
        assert isinstance(work, ToolCalled)
        text = work.arguments["text"]
        self.started.append(text)
        try:
            return ToolResult(content=(Text(await self.script(text, reporter)),))
        except trio.Cancelled:
            self.cancelled.append(text)
            raise


def cancellation(id_: int) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}


def ping(id_: int | str) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": id_, "method": "ping"}


def pong(id_: int | str) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": id_, "result": {}}


def answer(id_: int, text: str) -> dict[str, Json]:
    result = {"content": [{"type": "text", "text": text}], "isError": False}
    return {"jsonrpc": "2.0", "id": id_, "result": result}
