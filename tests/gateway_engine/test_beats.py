"""Signs of life in a silent stream, without a part lost, doubled or read ahead."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Beat, Chunk, Finished, Gateway, GatewayError, Part, open_gateway
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.scripted import (
    DONE,
    FOREVER,
    ROLE,
    STOP,
    Script,
    ask,
    chunk,
    refusal,
    settings,
    stream,
)
from tests.gateway_engine.test_cancellation import CancelAtStep, all_closed

FULL = stream(ROLE, 20.0, chunk("Hi"), 14.0, chunk("!"), 25.0, STOP, DONE)


async def test_a_silent_stream_gives_signs_of_life(autojump_clock: MockClock) -> None:
    script = Script(FULL)
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream_with_beats(ask()) as parts:
        kinds = [type(part) async for part in parts]

    assert kinds == [Beat, Chunk, Chunk, Chunk, Beat, Chunk, Finished]


async def test_the_wait_before_the_first_byte_is_silent_too(autojump_clock: MockClock) -> None:
    script = Script(refusal(429, headers={"retry-after": "35"}), stream(chunk("Hi"), STOP, DONE))
    async with (
        open_gateway(settings(), transport=script) as gateway,
        gateway.stream_with_beats(ask(), every=10) as parts,
    ):
        kinds = [type(part) async for part in parts]

    assert kinds == [Beat, Beat, Beat, Chunk, Chunk, Finished]


async def test_an_error_is_raised_where_it_came(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi")))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream_with_beats(ask()) as parts:
        assert isinstance(await anext(parts), Chunk)
        with pytest.raises(GatewayError):
            await anext(parts)
        with pytest.raises(StopAsyncIteration):
            await anext(parts)


async def raise_in_the_block(gateway: Gateway) -> None:
    async with gateway.stream_with_beats(ask()) as parts:
        await anext(parts)
        raise ZeroDivisionError


async def test_an_error_of_the_callers_own_comes_as_itself(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), FOREVER))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(ZeroDivisionError):
            await raise_in_the_block(gateway)
        assert all_closed(script)


async def test_a_slow_reader_slows_the_upstream(autojump_clock: MockClock) -> None:
    script = Script(stream(*[chunk(str(number)) for number in range(50)], STOP, DONE))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream_with_beats(ask()) as parts:
        await anext(parts)
        await trio.sleep(5)
        sent = sum(line.startswith("sent") for line in script.log)
        assert sent <= 3


async def test_a_wait_that_was_given_up_loses_nothing(autojump_clock: MockClock) -> None:
    script = Script(FULL)
    seen: list[Part | Beat] = []
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream_with_beats(ask()) as parts:
        while not (seen and isinstance(seen[-1], Finished)):
            with trio.move_on_after(7):
                seen.append(await anext(parts))

    chunks = [part.json["choices"][0]["delta"] for part in seen if isinstance(part, Chunk)]
    assert [delta.get("content") for delta in chunks] == ["", "Hi", "!", None]


async def test_cancelled_at_any_await_it_leaves_nothing_open(autojump_clock: MockClock) -> None:
    for step in range(1, 40):
        script = Script(FULL)
        async with open_gateway(settings(retries=Retries(max_retries=0)), transport=script) as gateway:
            with trio.CancelScope() as scope:
                canceller = CancelAtStep(scope, trio.lowlevel.current_task(), step)
                trio.lowlevel.add_instrument(canceller)
                try:
                    async with gateway.stream_with_beats(ask()) as parts:
                        async for _ in parts:
                            pass
                finally:
                    trio.lowlevel.remove_instrument(canceller)
            assert all_closed(script), f"cancelled at step {step}: {script.log}"
