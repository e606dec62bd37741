"""Many callers through one door: what each is shown, may ask, and has left of its limit."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from openai_gateway_mcp.features.guests import Guests
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.features.tools import MODEL_VARIABLES
from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.model import CacheScope, ToolResult
from openai_gateway_mcp.transports.callers import ANYBODY, Caller
from tests.features.scripted import Upstream, Watcher, a_call, door_to, lists, says, text_of

Json = Any
NAMES = tuple(name for name, variable in MODEL_VARIABLES.items() if variable is None)


async def ask(guests: Guests, caller: Caller, tool: str = "chat", **arguments: Json) -> ToolResult:
    asked = ToolCalled(call=a_call("tools/call"), name=tool, arguments=arguments)
    result = await guests.handler_for(caller)(asked, Watcher())
    assert isinstance(result, ToolResult)
    return result


@pytest.mark.requirement("tools/access-control")
async def test_a_caller_sees_the_tools_that_are_its_own() -> None:
    async with door_to(Upstream()) as door:
        guests = Guests(Settings(gateway=door.settings, tools=NAMES), door, is_private=True)
        few = guests.server_for(Caller(identity="a", tools=("list_*",)))
        assert [tool.name for tool in few.tools] == ["list_models"]
        assert few is guests.server_for(Caller(identity="b", tools=("list_models",)))
        assert few.cache_scope is CacheScope.PRIVATE
        assert len(guests.server_for(Caller(identity="c")).tools) == len(NAMES)
        assert guests.missing_scope(Caller(tools=("list_*",)), "chat") == "tools:chat"
        assert guests.missing_scope(Caller(tools=("list_*",)), "no_such") is None
        assert guests.missing_scope(Caller(tools=("ch*",)), "chat") is None


async def test_where_nobody_says_who_they_are_the_lists_are_anybody_s() -> None:
    async with door_to(Upstream()) as door:
        guests = Guests(Settings(gateway=door.settings, tools=NAMES), door, is_private=False)
        assert guests.server_for(ANYBODY).cache_scope is CacheScope.PUBLIC


async def test_a_caller_asks_the_models_that_are_its_own(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=says("Hi"), models=lists("small-1", "large-1"))
    async with door_to(upstream) as door:
        guests = Guests(Settings(gateway=door.settings, tools=NAMES), door, is_private=True)
        caller = Caller(identity="a", models=("small-*",))
        listed = (await ask(guests, caller, "list_models")).structured
        assert listed is not None
        assert [model["id"] for model in listed["models"]] == ["small-1"]
        refused = await ask(guests, caller, prompt="Hi", model="large-1")
        assert refused.is_error
        assert "large-1" in text_of(refused)
        assert not (await ask(guests, caller, prompt="Hi", model="small-1")).is_error
    assert [body["model"] for body in upstream.bodies] == ["small-1"]


async def test_the_limit_is_each_caller_s_own_and_outlives_new_rights(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=says("Hi"), models=lists("m"))
    async with door_to(upstream) as door:
        guests = Guests(Settings(gateway=door.settings, tools=NAMES, rate_limit=1), door, is_private=True)
        first, second = Caller(identity="a"), Caller(identity="b")
        assert not (await ask(guests, first, prompt="Hi", model="m")).is_error
        assert "RATE_LIMIT" in text_of(await ask(guests, first, prompt="Hi", model="m"))
        assert not (await ask(guests, second, prompt="Hi", model="m")).is_error
        again = Caller(identity="a", models=("m",))
        assert "RATE_LIMIT" in text_of(await ask(guests, again, prompt="Hi", model="m"))
