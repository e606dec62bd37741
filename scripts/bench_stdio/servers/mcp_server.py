"""The PyPI `mcp` server at its fastest: the low-level one, its tools read once from the file it is given."""

import asyncio  # noqa: TID251 - a contestant, not the project
import json
import sys
from pathlib import Path

import mcp_types as types
from mcp.server.lowlevel import Server  # type: ignore[import-not-found] # lives in its own environment
from mcp.server.stdio import stdio_server  # type: ignore[import-not-found] # the same

TOOLS = types.ListToolsResult.model_validate(json.loads(Path(sys.argv[1]).read_text()))


async def list_tools(_context: object, _params: object) -> types.ListToolsResult:
    await asyncio.sleep(0)
    return TOOLS


async def main() -> None:
    server = Server("bench", version="1", on_list_tools=list_tools)
    async with stdio_server() as (receive, send):
        await server.run(receive, send, server.create_initialization_options())


asyncio.run(main())
