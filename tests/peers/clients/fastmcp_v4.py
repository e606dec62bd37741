"""Drives FastMCP's client with `fastmcp-tasks`: slow calls that become tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import driving  # type: ignore[import-not-found]  # it lies beside this script
import fastmcp  # type: ignore[import-not-found]  # lives in the peer's own environment
import fastmcp_tasks  # type: ignore[import-not-found]  # the same
from fastmcp.client.transports import StdioTransport  # type: ignore[import-not-found]  # the same

Json = Any


async def drive(job: Json) -> Json:
    async with fastmcp.Client(transport(job)) as client:
        report = {
            "version": client.session.protocol_version,
            "finished": await finish(client, job),
            "cancelled": await cancel(client, job),
        }
        report["alive"] = shown(await client.call_tool("chat", {"prompt": "Still there?", "model": "echo"}))
    return report


def transport(job: Json) -> Any:
    if "url" in job:
        return job["url"]
    command, *arguments = job["command"]
    return StdioTransport(command, arguments, job["env"], keep_alive=False, log_file=Path(job["server_log"]))


async def finish(client: fastmcp.Client, job: Json) -> Json:
    """A call that ends only once it is known to be a task that works."""
    task = await fastmcp_tasks.call_tool_task(client, "chat", {"prompt": "Drip", "model": "drip"})
    states = [(await task.status()).status]
    await driving.release(job, "drip")
    states.append((await task.wait()).status)
    return {"states": states, **shown(await task.result())}


async def cancel(client: fastmcp.Client, job: Json) -> Json:
    """Returns once the upstream has seen its caller leave, with the session still open."""
    task = await fastmcp_tasks.call_tool_task(client, "chat", {"prompt": "Wait", "model": "stuck"})
    states = [(await task.status()).status]
    await task.cancel()
    await driving.upstream_has(job, "gone", "stuck")
    states.append((await task.wait()).status)
    return {"states": states}


def shown(result: Any) -> Json:
    return {"text": result.content[0].text, "is_error": bool(result.is_error)}


driving.run(drive)
