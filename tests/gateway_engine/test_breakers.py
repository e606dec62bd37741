"""A target that fails again and again is asked last, until one call has found that it is back."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Gateway, GatewayError, Settings, open_gateway
from openai_gateway.routing.health import BreakerState
from openai_gateway.routing.settings import Breaking, Retries
from tests.gateway_engine.scripted import FOREVER, Script, ask, refusal, settings, two_providers, whole

NO_RETRIES = Retries(max_retries=0)
QUICK = Breaking(failures=2, rest=10)


def hosts(script: Script) -> list[str]:
    return [request.url.host.split(".")[0] for request in script.requests]


def shared(**more: object) -> Settings:
    return two_providers(retries=NO_RETRIES, breakers=QUICK, **more)


async def test_a_broken_target_rests_and_is_probed_by_one_call(autojump_clock: MockClock) -> None:
    script = Script(refusal(503), whole(), refusal(503), whole(), whole(), whole(before=(5.0,)), whole(), whole())
    async with open_gateway(shared(), transport=script) as gateway:
        for _ in range(3):
            await gateway.call(ask())
        assert hosts(script) == ["one", "two", "one", "two", "two"]
        assert gateway.health() == {"one/m-at-one": BreakerState.OPEN, "two/m-at-two": BreakerState.CLOSED}

        await trio.sleep(10)
        assert gateway.health()["one/m-at-one"] is BreakerState.HALF_OPEN
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.call, ask())
            await trio.sleep(1)
            await gateway.call(ask())  # while the first probes
        await gateway.call(ask())

    assert hosts(script)[5:] == ["one", "two", "one"]
    assert gateway.health()["one/m-at-one"] is BreakerState.CLOSED


async def test_a_probe_that_is_cancelled_may_be_made_again(autojump_clock: MockClock) -> None:
    script = Script(refusal(503), whole(), refusal(503), whole(), whole(before=(FOREVER,)), whole())
    async with open_gateway(shared(), transport=script) as gateway:
        for _ in range(2):
            await gateway.call(ask())
        await trio.sleep(10)
        with trio.move_on_after(1):
            await gateway.call(ask())
        await gateway.call(ask())

    assert hosts(script)[4:] == ["one", "one"]


async def test_a_lone_target_is_still_tried(autojump_clock: MockClock) -> None:
    script = Script(*[refusal(503)] * 3, whole())
    async with open_gateway(
        settings(retries=Retries(max_retries=2), breakers=QUICK), transport=script, random=lambda: 0.0
    ) as gateway:
        await _refused(gateway)
        assert (await gateway.call(ask())).served.attempts == 1


async def _refused(gateway: Gateway) -> None:
    with pytest.raises(GatewayError):
        await gateway.call(ask())


async def test_a_target_that_asks_to_be_left_alone_is_asked_last_for_that_long(autojump_clock: MockClock) -> None:
    script = Script(refusal(429, headers={"retry-after": "50"}), whole(), whole(), whole())
    async with open_gateway(shared(), transport=script) as gateway:
        for _ in range(2):
            await gateway.call(ask())
        await trio.sleep(50)
        await gateway.call(ask())

    assert hosts(script) == ["one", "two", "two", "one"]


async def test_what_a_target_refuses_is_no_sign_of_ill_health(autojump_clock: MockClock) -> None:
    script = Script(refusal(404, "The model does not exist", code="model_not_found"), whole(), whole(), whole())
    async with open_gateway(shared(), transport=script) as gateway:
        await gateway.call(ask())
        assert set(gateway.health().values()) == {BreakerState.CLOSED}
