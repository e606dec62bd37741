"""What each tool's result is on the wire, in every revision, and the rules that clients make of it.

Claude Code and Codex show their model `structuredContent` alone where there is one, and Codex drops pictures beside
it; so only what is data has any, and then the same as text.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from trio.testing import MockClock

from openai_gateway_mcp.features.application import describe
from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.protocol import dress
from openai_gateway_mcp.protocol.model import ToolResult
from openai_gateway_mcp.protocol.revisions import REVISIONS
from tests import schema_oracle
from tests.features.scripted import Upstream, answers, client_of, delta, lists, refuses, says, settings_of, streams
from tests.features.test_whole_tools import PNG, WAV, encoded

Json = Any
DATA = {"list_models", "moderate"}

UPSTREAM: dict[str, Any] = {
    "models": lists("m1", "m2"),
    "m1": says("Hello"),
    "draws": streams(
        delta("Here:", images=[{"image_url": {"url": f"data:image/png;base64,{encoded(PNG)}"}}]), delta(finish="stop")
    ),
    "refuses": refuses(400, "no"),
    "vectors": answers(200, {"data": [{"index": 0, "embedding": [0.5]}]}),
    "pictures": answers(200, {"data": [{"b64_json": encoded(PNG)}, {"url": "https://pictures.example/2.png"}]}),
    "voice": lambda: httpx.Response(200, headers={"content-type": "audio/wav"}, content=WAV),
    "ears": answers(200, {"text": "So be it."}),
    "judge": answers(200, {"results": [{"flagged": False}]}),
}
CALLS: list[tuple[str, dict[str, Json], str]] = [
    ("chat", {"prompt": "hi", "model": "m1"}, "text"),
    ("chat", {"prompt": "hi", "model": "m1", "thread_id": "new"}, "text"),
    ("chat", {"prompt": "hi", "model": "draws"}, "text image"),
    ("chat", {"prompt": "hi", "model": "refuses"}, "text"),
    ("chat", {"prompt": 7}, "text"),
    ("compare_models", {"prompt": "hi", "models": ["m1", "refuses"]}, "text"),
    ("list_models", {}, "text"),
    ("list_models", {"cursor": "99"}, "text"),
    ("embed", {"input": "a", "model": "vectors"}, "text resource_link"),
    ("embed", {"input": "a", "model": "vectors", "inline": True}, "text"),
    ("generate_image", {"prompt": "a", "model": "pictures"}, "text image resource_link"),
    ("speak", {"text": "a", "model": "voice"}, "text audio resource_link"),
    ("transcribe", {"audio": encoded(WAV), "model": "ears"}, "text"),
    ("moderate", {"input": "a", "model": "judge"}, "text"),
    ("moderate", {"input": "a", "model": "refuses"}, "text"),
]
"""Tool, its arguments, and the sorts of blocks that come in the newest revision."""

# What an older revision has in the place of a sort of block that it does not know.
OLDER = {"2024-11-05": {"audio": "text", "resource_link": "text"}, "2025-03-26": {"resource_link": "text"}}


def test_every_tool_is_called() -> None:
    assert {tool for tool, _, _ in CALLS} == set(TOOLS)


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(("tool", "arguments", "sorts"), CALLS, ids=[f"{tool} {args}" for tool, args, _ in CALLS])
async def test_a_result_is_what_clients_can_show(
    tool: str, arguments: dict[str, Json], sorts: str, revision: str, autojump_clock: MockClock
) -> None:
    async with client_of(Upstream(**UPSTREAM)) as client:
        result = await client.call(tool, **arguments)
    assert isinstance(result, ToolResult)
    shape = json.loads(json.dumps(dress.dress(result, describe(settings_of()), REVISIONS[revision])))
    schema_oracle.check(revision, "tools/call", {"jsonrpc": "2.0", "id": 1, "result": shape})
    older = OLDER.get(revision, {})
    assert [block["type"] for block in shape["content"]] == [older.get(sort, sort) for sort in sorts.split()]
    assert shape["content"][0]["text"].strip()
    is_data = tool in DATA and not shape["isError"] and revision not in OLDER
    assert ("structuredContent" in shape) is is_data
    if is_data:
        assert json.loads(shape["content"][0]["text"]) == shape["structuredContent"]
        assert len(shape["content"]) == 1
