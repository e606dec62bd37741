"""The cache of answers in use: what is asked once, for whom, and what its repeat looks like."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Account, Call, Chunk, Finished, Part, Settings, open_gateway
from openai_gateway.routing.plan import ModelRow
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Cache, Retries
from tests.gateway_engine.scripted import (
    DONE,
    STOP,
    USAGE,
    Answer,
    Script,
    ask,
    chunk,
    provider,
    refusal,
    row,
    settings,
    stream,
    whole,
)


def caching(*rows: ModelRow, **more: Any) -> Settings:
    return settings(*rows, cache=Cache(enabled=True, ttl=60), retries=Retries(max_retries=0), **more)


def cold(tenant: str | None = "me", **more: Any) -> Call:
    return ask(tenant=tenant, body={"temperature": 0, **more.pop("body", {})}, **more)


async def test_an_exact_repeat_is_not_asked_again(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    script = Script(whole("once", before=(2.0,)))
    async with open_gateway(caching(), transport=script, record=accounts.append) as gateway:
        first = await gateway.call(cold())
        again = await gateway.call(cold())

    assert (again.body, again.json, again.status) == (first.body, first.json, first.status)
    assert (first.served.cached, again.served.cached, again.served.attempts) == (False, True, 0)
    assert (again.served.usage, again.served.cost, again.served.elapsed) == (first.served.usage, 0, 0)
    assert [(account.cached, account.asked) for account in accounts] == [(False, ("one/m-at-one",)), (True, ())]


async def test_a_stream_is_repeated_as_it_was(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("On"), chunk("ce"), STOP, USAGE, DONE))
    streams: list[list[Part]] = []
    async with open_gateway(caching(), transport=script) as gateway:
        for _ in range(2):
            async with gateway.stream(cold()) as parts:
                streams.append([part async for part in parts])

    first, again = streams
    assert [part for part in first if isinstance(part, Chunk)] == [part for part in again if isinstance(part, Chunk)]
    assert isinstance(again[-1], Finished)
    assert again[-1].served.cached
    assert len(script.requests) == 1


async def test_a_broken_start_is_no_part_of_what_is_kept(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Gar"), httpx.ReadError("reset")), stream(chunk("Good"), STOP, DONE))
    made = settings(cache=Cache(enabled=True), retries=Retries(max_retries=1))
    async with open_gateway(made, transport=script) as gateway:
        async with gateway.stream(cold(whole=True)) as parts:
            assert [part async for part in parts]
        async with gateway.stream(cold(whole=True)) as parts:
            again = [part async for part in parts]

    texts = [part.json["choices"][0]["delta"].get("content") for part in again if isinstance(part, Chunk)]
    assert texts == ["Good", None]


async def kept(made: Settings, *answers: Answer) -> bool:
    """Whether the stream that these answers made is not asked for again."""
    script = Script(*answers, stream(chunk("anew"), STOP, DONE))
    async with open_gateway(made, transport=script) as gateway:
        for _ in range(2):
            async with gateway.stream(cold()) as parts:
                assert [part async for part in parts]
    return len(script.requests) == len(answers)


async def test_a_stream_with_a_hole_in_it_is_not_kept(autojump_clock: MockClock) -> None:
    assert await kept(caching(), stream(chunk("On"), chunk("ce"), STOP, DONE))
    assert not await kept(caching(), stream(chunk("On"), b"data: {broken\n\n", chunk("e"), STOP, DONE))


async def test_what_two_models_wrote_is_not_kept(autojump_clock: MockClock) -> None:
    rows = row(order=1), row(provider="two", order=2, prefill=Prefill.MESSAGE)
    made = caching(*rows, providers=(provider("one"), provider("two")))
    cut = stream(chunk("On"), httpx.ReadError("reset"))
    assert not await kept(made, cut, stream(chunk("ce"), STOP, DONE))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (cold("me"), cold("you")),
        (cold(None), cold(None)),
        (cold(body={"temperature": 1}), cold(body={"temperature": 1})),
        (cold(cache=False), cold()),
        (cold(), cold(body={"seed": 1})),
    ],
    ids=["another tenant", "nobody's", "warm", "not wanted", "another body"],
)
async def test_all_else_is_asked(autojump_clock: MockClock, first: Call, second: Call) -> None:
    script = Script(whole(), whole())
    async with open_gateway(caching(), transport=script) as gateway:
        await gateway.call(first)
        await gateway.call(second)

    assert len(script.requests) == 2


async def test_a_caller_may_want_a_warm_answer_kept(autojump_clock: MockClock) -> None:
    script = Script(whole())
    async with open_gateway(caching(), transport=script) as gateway:
        for _ in range(2):
            await gateway.call(cold(cache=True, body={"temperature": 1}))

    assert len(script.requests) == 1


async def test_after_its_time_it_is_asked_again(autojump_clock: MockClock) -> None:
    script = Script(whole(), whole())
    async with open_gateway(caching(), transport=script) as gateway:
        await gateway.call(cold())
        await trio.sleep(60)
        await gateway.call(cold())

    assert len(script.requests) == 2


async def test_no_failure_is_kept(autojump_clock: MockClock) -> None:
    script = Script(refusal(503), whole())
    async with open_gateway(caching(), transport=script) as gateway:
        with pytest.raises(Exception, match="no"):
            await gateway.call(cold())
        await gateway.call(cold())

    assert len(script.requests) == 2


async def test_without_a_cache_everything_is_asked(autojump_clock: MockClock) -> None:
    script = Script(whole(), whole())
    async with open_gateway(settings(), transport=script) as gateway:
        for _ in range(2):
            await gateway.call(cold(cache=True))

    assert len(script.requests) == 2
