"""A scripted upstream behind the real gateway, and an application in front of it, all in memory."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import attrs
import httpx
import trio

from openai_gateway import config as gateway_config
from openai_gateway import open_gateway
from openai_gateway_mcp.features.application import Application
from openai_gateway_mcp.features.door import Door, _load_engine, open_door
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.protocol.events import Call, Era, ResourceRead, ToolCalled
from openai_gateway_mcp.protocol.model import ResourceResult, Task, Text, ToolResult

# The door loads it in a thread, for which a virtual clock does not wait: the first test of a run would be out of time.
_load_engine()

Json = Any
CANARY = "sk-canary-0123456789abcdef0123456789"
REMOTE = {"GATEWAY_URL": "https://gateway.example", "GATEWAY_API_KEY": CANARY}

DONE = "[DONE]"
FOREVER = None
Step = float | dict[str, Json] | str | None


class Events(httpx.AsyncByteStream):
    """A stream of server-sent events: a number sleeps, a dict is sent as JSON, FOREVER never ends."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = iter(steps)
        self.closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for step in self.steps:
            if step is FOREVER:
                await trio.sleep_forever()
            elif isinstance(step, float):
                await trio.sleep(step)
            else:
                data = step if isinstance(step, str) else json.dumps(step)
                return f"data: {data}\n\n".encode()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


Act = Callable[[], httpx.Response]


def streams(*steps: Step) -> Act:
    return lambda: httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Events(steps))


def answers(status: int, body: Json, **headers: str) -> Act:
    return lambda: httpx.Response(status, headers=headers, json=body)


def delta(content: str | None = None, *, finish: str | None = None, **others: Json) -> dict[str, Json]:
    change = ({} if content is None else {"content": content}) | others
    return {"id": "c1", "model": "served-1", "choices": [{"index": 0, "delta": change, "finish_reason": finish}]}


def usage(**counts: int) -> dict[str, Json]:
    return {"id": "c1", "model": "served-1", "choices": [], "usage": counts}


def says(*pieces: str, finish: str = "stop") -> Act:
    return streams(*(delta(piece) for piece in pieces), delta(finish=finish), DONE)


def lists(*names: str) -> Act:
    data = [{"id": name, "object": "model", "created": 7, "owned_by": "them", "context_window": 8} for name in names]
    return answers(200, {"object": "list", "data": data})


def refuses(status: int, message: str, **members: Json) -> Act:
    return answers(status, {"error": {"message": message, "type": "t", "param": None, "code": None} | members})


class Upstream(httpx.AsyncBaseTransport):
    """Answers each request by the next act for its model ("/models" for the list); the last act repeats."""

    def __init__(self, **acts: Act | list[Act]) -> None:
        self.acts = {name: act if isinstance(act, list) else [act] for name, act in acts.items()}
        self.bodies: list[dict[str, Json]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.streams: list[Events] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.paths.append(request.url.path)
        self.headers.append(dict(request.headers))
        name = "models"
        if request.method == "POST":
            self.bodies.append(_fields(await request.aread(), request.headers["content-type"]))
            name = self.bodies[-1]["model"].replace("-", "_")
        acts = self.acts.get(name) or self.acts["any"]
        response = (acts.pop(0) if len(acts) > 1 else acts[0])()
        if isinstance(response.stream, Events):
            self.streams.append(response.stream)
        return response


def _fields(body: bytes, content_type: str) -> dict[str, Json]:
    """What a body says: JSON's members, or a form's fields, a file as its headers and content in one text."""
    if content_type.startswith("application/json"):
        fields: dict[str, Json] = json.loads(body)
        return fields
    boundary = content_type.partition("boundary=")[2].encode()
    found = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removesuffix(b"\r\n").partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        is_file = b"filename=" in head
        found[name] = f"{head.decode()}\n{content.decode('latin-1')}" if is_file else content.decode()
    return found


@attrs.define
class Watcher:
    """A reporter that keeps what it is told."""

    wanted: bool = True
    reports: list[tuple[float, str | None]] = attrs.field(factory=list)
    tasks: list[Task] = attrs.field(factory=list)

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        self.reports.append((progress, message))

    def task(self, task: Task) -> None:
        self.tasks.append(task)


def settings_of(environ: dict[str, str] | None = None, **others: Any) -> Settings:
    environ = REMOTE if environ is None else environ
    make = gateway_config.remote if "GATEWAY_URL" in environ or not environ else gateway_config.embedded
    return Settings(gateway=make(environ), **{"tools": tuple(TOOLS), **others})


@asynccontextmanager
async def door_to(upstream: Upstream, environ: dict[str, str] | None = None) -> AsyncIterator[Door]:
    opener = functools.partial(open_gateway, transport=upstream, random=lambda: 0.5)
    async with open_door(settings_of(environ).gateway, opener=opener) as door:
        yield door


@attrs.define
class Client:
    """Calls tools the way the session does."""

    application: Application

    async def call(self, tool: str, watcher: Watcher | None = None, **arguments: Json) -> ToolResult:
        event = ToolCalled(call=a_call("tools/call"), name=tool, arguments=arguments)
        result = await self.application.handle(event, watcher or Watcher(wanted=False))
        assert isinstance(result, ToolResult)
        return result

    async def read(self, uri: str) -> ResourceResult:
        event = ResourceRead(call=a_call("resources/read"), uri=uri)
        result = await self.application.handle(event, Watcher(wanted=False))
        assert isinstance(result, ResourceResult)
        return result


@asynccontextmanager
async def client_of(upstream: Upstream, environ: dict[str, str] | None = None, **others: Any) -> AsyncIterator[Client]:
    async with door_to(upstream, environ) as door:
        yield Client(Application(settings_of(environ, **others), door))


def a_call(method: str, era: Era = Era.LEGACY, **meta: Json) -> Call:
    return Call(id=1, method=method, revision="2025-11-25", era=era, wants_progress=True, meta=meta)


def text_of(result: ToolResult) -> str:
    """The one text of a result; what else is in it is no text."""
    (text,) = (block.text for block in result.content if isinstance(block, Text))
    assert isinstance(result.content[0], Text)
    return text


def meta_of(result: ToolResult) -> dict[str, Json]:
    return {key.removeprefix("openai-gateway-mcp/"): value for key, value in result.meta.items()}
