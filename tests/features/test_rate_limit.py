"""RATE_LIMIT: the server takes so many tool calls a minute, and says of one more how long to wait."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from openai_gateway_mcp.features.resources import RESOURCES
from openai_gateway_mcp.protocol.errors import Fault
from openai_gateway_mcp.protocol.events import Era, ExtensionCalled, ResourceRead
from openai_gateway_mcp.protocol.model import ExtensionResult, Result
from tests.features.scripted import Client, Upstream, Watcher, a_call, answers, client_of, lists, meta_of, says, text_of

REPLY = answers(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]})


async def extension(client: Client, method: str, era: Era = Era.LEGACY, **params: Any) -> Result:
    event = ExtensionCalled(call=a_call(method, era), params=params)
    return await client.application.handle(event, Watcher())


async def test_one_call_more_is_a_result_that_names_the_limit_and_the_seconds(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=says("Hello!"), models=lists("a"))
    async with client_of(upstream, rate_limit=2) as client:
        await client.call("chat", prompt="hi")
        await trio.sleep(10)
        await client.call("list_models")
        await trio.sleep(20.5)
        asked = len(upstream.paths)
        refused = await client.call("chat", prompt="hi")

        assert refused.is_error
        assert text_of(refused) == (
            "chat failed: The limit of 2 tool calls a minute (RATE_LIMIT) of this MCP server is reached; it frees up "
            "in 30 s. Wait that long and call again, or have RATE_LIMIT raised (0: no limit)."
        )
        assert meta_of(refused)["error"]["status"] == 429
        assert len(upstream.paths) == asked
        await trio.sleep(30)
        assert not (await client.call("chat", prompt="hi")).is_error
        assert (await client.call("chat", prompt="hi")).is_error


async def test_a_refused_call_does_not_count(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=says("Hello!")), rate_limit=1) as client:
        assert not (await client.call("chat", prompt="hi")).is_error
        for _ in range(59):
            await trio.sleep(1)
            refused = await client.call("chat", prompt="hi")
            assert "The limit of 1 tool call a minute" in text_of(refused)
        await trio.sleep(1)
        assert not (await client.call("chat", prompt="hi")).is_error


async def test_a_call_with_wrong_arguments_counts_and_an_unknown_tool_does_not(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=says("Hello!")), rate_limit=1) as client:
        with pytest.raises(Fault):
            await client.call("zzz")
        assert "RATE_LIMIT" not in text_of(await client.call("chat", prompt=5))
        assert "RATE_LIMIT" in text_of(await client.call("chat", prompt="hi"))


@pytest.mark.parametrize(("era", "code"), [(Era.LEGACY, -32002), (Era.MODERN, 1002)])
async def test_a_prompt_by_the_extension_method_counts_like_a_tool_call(
    autojump_clock: MockClock, era: Era, code: int
) -> None:
    async with client_of(Upstream(any=REPLY), rate_limit=1) as client:
        assert isinstance(await extension(client, "completion/complete", era, prompt="hi"), ExtensionResult)
        await trio.sleep(48)
        with pytest.raises(Fault) as caught:
            await extension(client, "completion/complete", era, prompt="hi")

        assert caught.value.code == code
        assert "(RATE_LIMIT) of this MCP server is reached; it frees up in 12 s." in caught.value.message
        assert "RATE_LIMIT" in text_of(await client.call("chat", prompt="hi"))


async def test_lists_and_resources_are_not_limited(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=says("Hello!"), models=lists("a")), rate_limit=1) as client:
        await client.call("chat", prompt="hi")
        for _ in range(5):
            await extension(client, "models/list")
            read = ResourceRead(call=a_call("resources/read"), uri=RESOURCES[0].uri)
            await client.application.handle(read, Watcher())


async def test_zero_is_no_limit(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a")), rate_limit=0) as client:
        results = [await client.call("list_models") for _ in range(1000)]
    assert not any(result.is_error for result in results)
