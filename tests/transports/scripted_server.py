"""A server of the real Connection, session and stdio with scripted tools; the tests start it as a process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable

import trio

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Remark, ToolCalled, Work
from openai_gateway_mcp.protocol.model import Result, Server, Text, Tool, ToolResult
from openai_gateway_mcp.transports.calls import Reporter
from openai_gateway_mcp.transports.descriptors import Kind, claim
from openai_gateway_mcp.transports.session import run_session
from openai_gateway_mcp.transports.signals import exit_at_once
from openai_gateway_mcp.transports.stdio import run
from openai_gateway_mcp.transports.streams import Stream


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


async def echo(text: str) -> str:
    await trio.lowlevel.checkpoint()
    return text


async def wait(text: str) -> str:
    """Never answers; says when it has started and when it is cancelled."""
    say(f"started {text}")
    try:
        await trio.sleep_forever()
    finally:
        say(f"cancelled {text}")


async def take_a_second(text: str) -> str:
    """Longer than the drain."""
    await trio.sleep(1)
    return text


async def cling(text: str) -> str:
    """Refuses to be cancelled."""
    say(f"started {text}")
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
    return text


async def block(text: str) -> str:
    """Blocks the whole loop."""
    say(f"started {text}")
    time.sleep(60)  # noqa: ASYNC251 - what a careless library does
    return await echo(text)


async def block_a_thread(text: str) -> str:
    say(f"started {text}")
    await trio.to_thread.run_sync(time.sleep, 60, abandon_on_cancel=True)
    return text


async def crash(text: str) -> str:
    await trio.lowlevel.checkpoint()
    raise ValueError(text)


async def be_noisy(text: str) -> str:
    """Prints in every way a library may, and starts a child that reads what it inherits."""
    print("from print", text)  # noqa: T201 - the very thing to be caught
    assert sys.__stdout__ is not None
    sys.__stdout__.write(f"from the old object {text}\n")
    os.write(1, b"from descriptor 1\n")
    child = await trio.run_process([sys.executable, "-c", "import sys; print('child read', repr(sys.stdin.read()))"])
    return f"{text} {child.returncode} {sys.stdin.read()!r}"


async def flood(text: str) -> str:
    await trio.lowlevel.checkpoint()
    return "x" * int(text)


TOOLS: dict[str, Callable[[str], Awaitable[str]]] = {
    tool.__name__: tool for tool in (echo, wait, take_a_second, cling, block, block_a_thread, crash, be_noisy, flood)
}


def offering() -> Server:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    tools = tuple(Tool(name=name, title=name, description=name, input_schema=schema) for name in TOOLS)
    return Server(name="scripted", title="Scripted", version="0", instructions="", tools=tools)


async def handle(work: Work, _: Reporter) -> Result:
    assert isinstance(work, ToolCalled)
    return ToolResult(content=(Text(await TOOLS[work.name](work.arguments.get("text", ""))),))


def log(remark: Remark) -> None:
    say(f"{remark.level.value}: {remark.text}")


def main() -> int:
    exit_at_once()
    wire = claim()
    print("printed after the claim", flush=True)  # noqa: T201 - to be found on stderr

    async def converse(stream: Stream) -> None:
        say(f"ready {wire.receive.kind.value} {wire.send.kind.value}")
        finish_all = wire.receive.kind is Kind.FILE
        async with trio.open_nursery(), trio.open_nursery():  # as an application has them around its session
            await run_session(stream, Connection(offering()), handle, remark=log, finish_all=finish_all)

    return run(wire, converse, say=say)


if __name__ == "__main__":
    sys.exit(main())
