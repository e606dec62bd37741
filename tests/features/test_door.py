"""The door opens once, when it is needed, and for everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Gateway, Settings, open_gateway
from openai_gateway_mcp.features.door import Door, open_door
from tests.features.scripted import REMOTE, Upstream, lists, settings_of

SETTINGS = settings_of({}).gateway
OTHERS = settings_of(REMOTE).gateway


class Opening:
    """An opener that takes its time and keeps count."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    @asynccontextmanager
    async def __call__(self, settings: Settings, *, record: object) -> AsyncIterator[Gateway]:
        self.opened += 1
        await trio.sleep(5)
        try:
            async with open_gateway(settings, transport=Upstream()) as gateway:
                yield gateway
        finally:
            self.closed += 1


async def test_nothing_is_opened_before_it_is_needed(autojump_clock: MockClock) -> None:
    opening = Opening()
    async with open_door(SETTINGS, opener=opening):
        await trio.sleep(10)
    assert opening.opened == 0


async def test_all_callers_share_one_gateway_which_is_closed_at_the_end(autojump_clock: MockClock) -> None:
    opening = Opening()
    got: list[Gateway] = []

    async def ask(door: Door) -> None:
        got.append(await door.gateway())

    async with open_door(SETTINGS, opener=opening) as door:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, door)
        await ask(door)
        assert opening.closed == 0
    assert len(set(got)) == 1
    assert len(got) == 4
    assert (opening.opened, opening.closed) == (1, 1)


async def test_a_caller_that_is_cancelled_while_it_opens_spoils_it_for_no_other(autojump_clock: MockClock) -> None:
    opening = Opening()
    async with open_door(SETTINGS, opener=opening) as door:
        with trio.move_on_after(1) as scope:
            await door.gateway()
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await door.gateway()
    assert opening.opened == 1


@asynccontextmanager
async def cannot_open(_: Settings, *, record: object) -> AsyncIterator[Gateway]:
    await trio.lowlevel.checkpoint()
    raise ImportError("httpx is broken")
    yield  # type: ignore[unreachable]  # what makes it a generator


async def test_a_gateway_that_cannot_be_opened_fails_each_caller_and_not_the_server() -> None:
    async with open_door(SETTINGS, opener=cannot_open) as door:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="not open") as raised:
                await door.gateway()
            assert isinstance(raised.value.__cause__, ImportError)


async def test_a_list_that_cannot_be_renewed_behind_the_callers_back_ends_nothing(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    upstream = Upstream(models=[lists("a"), breaks])

    @asynccontextmanager
    async def opener(settings: Settings, *, record: object) -> AsyncIterator[Gateway]:
        async with open_gateway(settings, transport=upstream) as gateway:
            yield gateway

    caplog.set_level("INFO", logger="openai_gateway_mcp")
    async with open_door(settings_of(REMOTE).gateway, opener=opener) as door:
        assert [model.id for model in await door.models_at_once()] == ["a"]
        await trio.sleep(3600)
        assert [model.id for model in await door.models_at_once()] == ["a"]
        await trio.sleep(3600)
    assert "could not be renewed" in caplog.text
    assert "ZeroDivisionError('a mistake of ours')" in caplog.text


def breaks() -> httpx.Response:
    raise ZeroDivisionError("a mistake of ours")


async def test_warming_up_opens_nothing_and_may_be_done_twice(autojump_clock: MockClock) -> None:
    opening = Opening()
    async with open_door(SETTINGS, opener=opening) as door:
        await door.warm_up()
        await door.warm_up()
        assert opening.opened == 0
        await door.gateway()
    assert (opening.opened, opening.closed) == (1, 1)


async def test_a_reload_before_anything_was_opened_changes_what_will_be(autojump_clock: MockClock) -> None:
    opening = Opening()
    async with open_door(SETTINGS, opener=opening) as door:
        await door.reload(OTHERS)
        assert opening.opened == 0
        assert (await door.gateway()).settings is OTHERS


async def test_a_reload_while_it_opens_is_not_lost(autojump_clock: MockClock) -> None:
    async with open_door(SETTINGS, opener=Opening()) as door, trio.open_nursery() as nursery:
        nursery.start_soon(door.gateway)
        await trio.sleep(1)
        await door.reload(OTHERS)
        assert (await door.gateway()).settings is OTHERS


async def test_a_reload_of_an_open_gateway_is_what_the_next_caller_sees(autojump_clock: MockClock) -> None:
    async with open_door(SETTINGS, opener=Opening()) as door:
        gateway = await door.gateway()
        await door.reload(OTHERS)
        assert (await door.gateway()) is gateway
        assert (gateway.settings, door.settings) == (OTHERS, OTHERS)
