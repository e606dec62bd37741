"""MCP over HTTP in memory: a scripted application behind the endpoint, and a client whose side is bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from tests.gateway_service.house import Answered, read, unchunked
from tests.playbook import modern
from trio.testing import memory_stream_pair

from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import Bounds, HttpServer
from openai_gateway_mcp.protocol.events import Remark, ToolCalled, Work
from openai_gateway_mcp.protocol.model import Result, Server, Text, Tool, ToolResult
from openai_gateway_mcp.transports.callers import Caller, Verifier, let_in_anybody
from openai_gateway_mcp.transports.calls import Handler, Reporter
from openai_gateway_mcp.transports.http import Endpoint
from openai_gateway_mcp.transports.replies import refuse

Json = Any
Script = Callable[[ToolCalled, Reporter], Awaitable[Result]]
BOTH = "application/json, text/event-stream"
TOOL = Tool(name="do", title="Do", description="Does.", input_schema={"type": "object", "properties": {}})
SERVER = Server(name="s", title="S", version="0", instructions="", tools=(TOOL,))


async def done(_asked: ToolCalled, _reporter: Reporter) -> Result:
    await trio.lowlevel.checkpoint()
    return ToolResult(content=(Text("done"),))


@attrs.define
class House:
    """The endpoint over a server in memory. `script` answers the calls of the one tool, `do`."""

    script: Script = done
    server: Server = SERVER
    started: list[Json] = attrs.field(factory=list)
    cancelled: list[Json] = attrs.field(factory=list)
    callers: list[str] = attrs.field(factory=list)
    remarks: list[Remark] = attrs.field(factory=list)
    lacks: str | None = None
    endpoint: Endpoint = attrs.field(init=False)
    http: HttpServer = attrs.field(init=False)

    def server_for(self, _caller: Caller) -> Server:
        return self.server

    def handler_for(self, caller: Caller) -> Handler:
        async def handle(work: Work, reporter: Reporter) -> Result:
            assert isinstance(work, ToolCalled)
            self.callers.append(caller.identity)
            self.started.append(work.call.id)
            try:
                return await self.script(work, reporter)
            except trio.Cancelled:
                self.cancelled.append(work.call.id)
                raise

        return handle

    def missing_scope(self, _caller: Caller, _tool: str) -> str | None:
        return self.lacks

    async def post(self, body: Json, /, path: str = "/mcp", **fields: str) -> Answered:
        """One POST on a connection of its own; `Mcp_Method` stands for the header Mcp-Method."""
        return read(await self.raw(posted(body, path, **fields)))

    async def call(self, id_: Json = 1, **more: Any) -> Answered:
        """The tool, called in the modern era."""
        message, fields = modern_call(id_, **more)
        return await self.post(message, **fields)

    async def raw(self, data: bytes) -> bytes:
        async with self.connection() as stream:
            await stream.send_all(data)
            said = b""
            while piece := await stream.receive_some():
                said += piece
            return said

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[trio.abc.Stream]:
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.http.serve_connection, theirs)
            yield ours
            await trio.aclose_forcefully(ours)


def house(
    script: Script = done,
    *,
    verify: Verifier = let_in_anybody,
    admission: Admission | None = None,
    lacks: str | None = None,
    **options: Any,
) -> House:
    made = House(script=script, lacks=lacks)
    made.endpoint = Endpoint(
        made,
        verify=verify,
        admission=admission or Admission.of(bound="127.0.0.1", hosts=(), origins=()),
        remark=made.remarks.append,
        **options,
    )
    made.http = HttpServer(made.endpoint.handle, refuse=refuse, bounds=Bounds(linger_seconds=0.05))
    return made


def posted(body: Json, path: str = "/mcp", *, method: str = "POST", **fields: str) -> bytes:
    """A request in bytes, after which the connection ends. A field that is "" is left out."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "host": "localhost:3000",
        "connection": "close",
        "content-type": "application/json",
        "content-length": str(len(content)),
        **{name.lower().replace("_", "-"): value for name, value in fields.items()},
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def modern_call(id_: Json = 1, *, token: Json = None, **fields: str) -> tuple[Json, Mapping[str, str]]:
    message = modern(id_, "tools/call", name="do")
    if token is not None:
        message["params"]["_meta"]["progressToken"] = token
    return message, {**modern_fields("tools/call", "do"), **fields}


def modern_fields(method: str, name: str = "") -> dict[str, str]:
    return {"Accept": BOTH, "Mcp_Protocol_Version": "2026-07-28", "Mcp_Method": method, "Mcp_Name": name}


def events(answered: Answered) -> list[Json]:
    """The messages of a stream of events; `...` for a comment."""
    assert answered.headers["content-type"] == "text/event-stream"
    return messages(answered.body)


def messages(body: bytes) -> list[Json]:
    found: list[Json] = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        if data:
            assert "event: message" in lines
            found.append(json.loads("".join(data)))
        elif lines:
            assert all(line.startswith(":") for line in lines)
            found.append(...)
    return found


def heard(said: bytes) -> list[Json]:
    """The messages in what came of an answer so far."""
    body = said.partition(b"\r\n\r\n")[2]
    return messages(unchunked(body).removesuffix(b"<cut>"))
