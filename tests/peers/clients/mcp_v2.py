"""Drives the client of PyPI `mcp` 2.x, in each of its modes, through one session."""

from __future__ import annotations

from typing import Any

import anyio.lowlevel  # noqa: TID251 - the peer's SDK runs on it
import driving  # type: ignore[import-not-found]  # it lies beside this script
import mcp  # type: ignore[import-not-found]  # lives in the peer's own environment
import mcp.client.stdio  # type: ignore[import-not-found]  # the same
import mcp_types as types

Json = Any


async def drive(job: Json) -> Json:
    if "url" in job:
        async with mcp.Client(job["url"], mode=job["mode"]) as client:
            return await look_around(client) | await work(client, job)
    command, *arguments = job["command"]
    server = mcp.StdioServerParameters(command=command, args=arguments, env=job["env"])
    with open(job["server_log"], "a") as log:  # noqa: ASYNC230, PTH123 - the SDK wants an open text file
        transport = mcp.client.stdio.stdio_client(server, errlog=log)
        async with mcp.Client(transport, mode=job["mode"]) as client:
            report = await look_around(client)
            if job["upstream"]:
                report |= await work(client, job)
    return report


async def look_around(client: mcp.Client) -> Json:
    tools = (await client.list_tools()).tools
    resources = (await client.list_resources()).resources
    templates = (await client.list_resource_templates()).resource_templates
    prompts = (await client.list_prompts()).prompts
    read = await client.read_resource(resources[0].uri)
    prompt = await client.get_prompt("ask", {"question": "Why?", "model": "echo"})
    reference = types.PromptReference(type="ref/prompt", name="ask")
    completed = await client.complete(reference, {"name": "model", "value": "ec"})
    chat = await client.call_tool("chat", {"prompt": "Hello ✓", "model": "echo"})
    listed = await client.call_tool("list_models", {})
    return {
        "version": client.protocol_version,
        "server": client.server_info and client.server_info.name,
        "instructions": client.instructions,
        "tools": [tool.name for tool in tools],
        "resources": [resource.uri for resource in resources],
        "templates": [template.uri_template for template in templates],
        "prompts": [prompt.name for prompt in prompts],
        "read": read.contents[0].text,
        "prompt": prompt.messages[0].content.text,
        "completed": completed.completion.values,
        "chat": shown(chat),
        "listed": listed.structured_content,
    }


async def work(client: mcp.Client, job: Json) -> Json:
    refused = await client.call_tool("chat", {"prompt": "Hello", "model": "refuse"})
    report = {"refused": shown(refused), **await progress(client, job)}
    report["cancelled"] = [await cancel(client, job, model) for model in ("mute", "stuck")]
    if client.protocol_version >= "2026-07-28":
        async with client.listen(tools_list_changed=True) as subscription:
            report["honored"] = subscription.honored.tools_list_changed
    report["alive"] = shown(await client.call_tool("chat", {"prompt": "Still there?", "model": "echo"}))
    return report


async def progress(client: mcp.Client, job: Json) -> Json:
    """A call that ends only after two reports of progress have come."""
    reports: list[Json] = []
    enough = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append({"progress": progress, "total": total, "message": message})
        if len(reports) == 2:
            enough.set()
        await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:

        async def let_go() -> None:
            await enough.wait()
            await driving.release(job, "drip")

        group.start_soon(let_go)
        dripped = await client.call_tool("chat", {"prompt": "Drip", "model": "drip"}, progress_callback=note)
    return {"progress": reports, "dripped": shown(dripped)}


async def cancel(client: mcp.Client, job: Json, model: str) -> Json:
    """Cancels a running call; returns once the upstream has seen its caller leave, with the session still open."""
    answers: list[Json] = []

    async def call() -> None:
        answers.append(shown(await client.call_tool("chat", {"prompt": "Wait", "model": model})))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await driving.upstream_has(job, "asked", model)
        group.cancel_scope.cancel()
    await driving.upstream_has(job, "gone", model)
    return {"model": model, "answers": answers}


def shown(result: Any) -> Json:
    return {"text": result.content[0].text, "is_error": bool(result.is_error)}


driving.run(drive)
