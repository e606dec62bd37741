"""Drives the client of PyPI `mcp` 1.x, from 1.6 on, through one session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio  # noqa: TID251 - the peer's SDK runs on it
import driving  # type: ignore[import-not-found]  # it lies beside this script
from mcp import ClientSession, StdioServerParameters, stdio_client, types  # type: ignore[import-not-found]

Json = Any
TOKEN = "of-my-own"


class Listener:
    """Sees all that comes unasked: exceptions of the client's reader, and progress (1.6 has no callback for it)."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.reports: list[Json] = []
        self.enough = anyio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.faults.append(repr(message))
        elif isinstance(getattr(message, "root", None), types.ProgressNotification):
            self._note(message.root.params)

    def _note(self, params: Any) -> None:
        if params.progressToken == TOKEN:
            message = getattr(params, "message", None)
            self.reports.append({"progress": params.progress, "total": params.total, "message": message})
        if len(self.reports) == 2:
            self.enough.set()


async def drive(job: Json) -> Json:
    listener = Listener()
    async with (
        streams(job) as (reading, writing),
        ClientSession(reading, writing, message_handler=listener) as session,
    ):
        hello = await session.initialize()
        report = {
            "version": hello.protocolVersion,
            "server": hello.serverInfo.name,
            "instructions": hello.instructions,
            **await look_around(session),
        }
        if job["upstream"]:
            report |= await work(session, listener, job)
        report["faults"] = listener.faults
    return report


@asynccontextmanager
async def streams(job: Json) -> AsyncIterator[tuple[Any, Any]]:
    """Over stdio the client starts the server; over HTTP and a WebSocket it runs already, at `url`."""
    url = job.get("url", "")
    if url.startswith("ws:"):
        from mcp.client.websocket import websocket_client  # type: ignore[import-not-found]

        async with websocket_client(url) as (reading, writing):
            yield reading, writing
    elif url:
        from mcp.client.streamable_http import streamablehttp_client  # type: ignore[import-not-found]

        async with streamablehttp_client(url) as (reading, writing, _):
            yield reading, writing
    else:
        command, *arguments = job["command"]
        server = StdioServerParameters(command=command, args=arguments, env=job["env"])
        with open(job["server_log"], "a") as log:  # noqa: ASYNC230, PTH123 - the SDK wants an open text file
            async with stdio_client(server, errlog=log) as (reading, writing):
                yield reading, writing


async def look_around(session: ClientSession) -> Json:
    await session.send_ping()
    tools = (await session.list_tools()).tools
    resources = (await session.list_resources()).resources
    templates = (await session.list_resource_templates()).resourceTemplates
    prompts = (await session.list_prompts()).prompts
    read = await session.read_resource(resources[0].uri)
    prompt = await session.get_prompt("ask", {"question": "Why?", "model": "echo"})
    reference = types.PromptReference(type="ref/prompt", name="ask")
    completed = await session.complete(reference, {"name": "model", "value": "ec"})
    chat = await session.call_tool("chat", {"prompt": "Hello ✓", "model": "echo"})
    listed = await session.call_tool("list_models", {})
    return {
        "tools": [tool.name for tool in tools],
        "resources": [str(resource.uri) for resource in resources],
        "templates": [template.uriTemplate for template in templates],
        "prompts": [prompt.name for prompt in prompts],
        "read": read.contents[0].text,
        "prompt": prompt.messages[0].content.text,
        "completed": completed.completion.values,
        "chat": shown(chat),
        "listed": getattr(listed, "structuredContent", None),
    }


async def work(session: ClientSession, listener: Listener, job: Json) -> Json:
    refused = await session.call_tool("chat", {"prompt": "Hello", "model": "refuse"})
    report = {"refused": shown(refused), **await progress(session, listener, job)}
    report["cancelled"] = [await cancel(session, job, model) for model in ("mute", "stuck")]
    report["alive"] = shown(await session.call_tool("chat", {"prompt": "Still there?", "model": "echo"}))
    return report


async def progress(session: ClientSession, listener: Listener, job: Json) -> Json:
    """A call that ends only after two reports of progress have come."""
    async with anyio.create_task_group() as group:

        async def let_go() -> None:
            await listener.enough.wait()
            await driving.release(job, "drip")

        group.start_soon(let_go)
        dripped = await session.send_request(request("drip", meta={"progressToken": TOKEN}), types.CallToolResult)
    return {"progress": listener.reports, "dripped": shown(dripped)}


async def cancel(session: ClientSession, job: Json, model: str) -> Json:
    """Cancels a running call; returns once the upstream has seen its caller leave, with the session still open.

    1.x says nothing to the server when a call is cancelled: its users send the notification themselves.
    """
    answers: list[Json] = []
    call_id = session._request_id  # the next request's; there is no public way to learn it

    async def call() -> None:
        answers.append(shown(await session.send_request(request(model), types.CallToolResult)))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await driving.upstream_has(job, "asked", model)
        params = types.CancelledNotificationParams(requestId=call_id, reason="no longer needed")
        cancelled = types.CancelledNotification(method="notifications/cancelled", params=params)
        await session.send_notification(types.ClientNotification(cancelled))
        await driving.upstream_has(job, "gone", model)
        group.cancel_scope.cancel()
    return {"model": model, "answers": answers}


def request(model: str, meta: Json = None) -> Any:
    arguments = {"prompt": "Go", "model": model}
    params = types.CallToolRequestParams.model_validate({"name": "chat", "arguments": arguments, "_meta": meta})
    return types.ClientRequest(types.CallToolRequest(method="tools/call", params=params))


def shown(result: Any) -> Json:
    return {"text": result.content[0].text, "is_error": bool(result.isError)}


driving.run(drive)
