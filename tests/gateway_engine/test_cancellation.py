"""A call that is cancelled, wherever it is, has closed its connection before anything else happens."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Account, Gateway, GatewayError, Outcome, open_gateway
from tests.gateway_engine.scripted import (
    DONE,
    FOREVER,
    ROLE,
    STOP,
    WAYS,
    Answer,
    Script,
    ask,
    chunk,
    refusal,
    settings,
    stream,
    two_providers,
    whole,
)


def all_closed(script: Script) -> bool:
    """Whether every request that was sent has been closed."""
    asked = {line.removeprefix("asked ") for line in script.log if line.startswith("asked")}
    return asked == {line.removeprefix("closed ") for line in script.log if line.startswith("closed")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("answer", "at"),
    [
        (whole(connect=FOREVER), 1.0),
        (whole(before=(FOREVER,)), 1.0),
        (whole(body=(b'{"id"', FOREVER)), 1.0),
        (stream(ROLE, FOREVER), 1.0),
        (stream(chunk("Hi"), FOREVER), 1.0),
        (Answer(status=500, body=(FOREVER,)), 1.0),
        (refusal(429, headers={"retry-after": "20"}), 10.0),
    ],
    ids=["connecting", "no head", "in the body", "no content", "in the stream", "in an error", "waiting to retry"],
)
async def test_the_connection_is_closed_at_once(autojump_clock: MockClock, way: str, answer: Answer, at: float) -> None:
    script = Script(answer, whole())
    async with open_gateway(settings(), transport=script) as gateway:
        with trio.move_on_after(at) as scope:
            await WAYS[way](gateway)

        assert scope.cancelled_caught
        assert trio.current_time() == at
        assert script.log[-1] == "closed 0"
        assert len(script.requests) == 1


@attrs.define(eq=False)  # trio keeps instruments in a dict
class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the n-th step of one task."""

    scope: trio.CancelScope
    task: trio.lowlevel.Task
    steps_left: int

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.scope.cancel()


def long_way() -> Script:
    """A script that takes a call through all its kinds of waiting."""
    return Script(
        whole(connect=1.0, before=(1.0,), status=503, body=(b"x", 1.0, b"y")),
        stream(ROLE, 1.0, ROLE, connect=None),
        stream(ROLE, 1.0, chunk("Hi"), 1.0, STOP, DONE, 1.0),
    )


async def steps_until_the_end(way: str) -> int:
    """How often the task is resumed in a run that nobody cancels."""
    counted = CancelAtStep(trio.CancelScope(), trio.lowlevel.current_task(), 0)
    script = long_way()
    async with open_gateway(two_providers(), transport=script) as gateway:
        trio.lowlevel.add_instrument(counted)
        await run_way(gateway, way)
        trio.lowlevel.remove_instrument(counted)
    return -counted.steps_left


async def run_way(gateway: Gateway, way: str) -> None:
    # A call takes no stream for an answer: the script's last answers are then simply no success.
    try:
        await WAYS[way](gateway)
    except GatewayError:
        return


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_any_await_a_call_leaves_nothing_open(autojump_clock: MockClock, way: str) -> None:
    steps = await steps_until_the_end(way)
    assert steps > 10

    for step in range(1, steps):
        script = long_way()
        async with open_gateway(two_providers(), transport=script) as gateway:
            with trio.CancelScope() as scope:
                canceller = CancelAtStep(scope, trio.lowlevel.current_task(), step)
                trio.lowlevel.add_instrument(canceller)
                try:
                    await run_way(gateway, way)
                finally:
                    trio.lowlevel.remove_instrument(canceller)
            assert all_closed(script), f"cancelled at step {step}: {script.log}"


async def test_leaving_a_stream_early_closes_it_before_the_block_ends(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), chunk("more"), FOREVER))
    async with open_gateway(settings(), transport=script) as gateway:
        async with gateway.stream(ask()) as parts:
            await anext(parts)
            assert not all_closed(script)

        assert script.log[-1] == "closed 0"
        assert trio.current_time() == 0


async def read_and_fail(gateway: Gateway) -> None:
    async with gateway.stream(ask()) as parts:
        async for _ in parts:
            raise ZeroDivisionError


async def test_a_stream_that_was_left_asks_nothing_more(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), FOREVER))
    async with open_gateway(settings(), transport=script) as gateway:
        async with gateway.stream(ask()) as parts:
            await anext(parts)
        assert [part async for part in parts] == []

    assert len(script.requests) == 1


async def test_an_error_of_the_caller_closes_the_stream(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), FOREVER))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(ZeroDivisionError):
            await read_and_fail(gateway)

    assert all_closed(script)


async def test_a_stream_that_nobody_asks_sends_nothing(autojump_clock: MockClock) -> None:
    script = Script()
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()):
        await trio.sleep(1)

    assert script.log == []


async def test_a_deadline_around_single_parts_ends_the_stream(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), FOREVER))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()) as parts:
        await anext(parts)
        with trio.move_on_after(2):
            await anext(parts)

        assert script.log[-1] == "closed 0"


@pytest.mark.parametrize(
    "answer",
    [
        whole(before=(FOREVER,)),
        refusal(429, headers={"retry-after": "20"}),
        stream(ROLE, FOREVER),
        stream(chunk("Hi"), FOREVER),
    ],
    ids=["no head", "waiting to retry", "no content", "in the stream"],
)
@pytest.mark.parametrize("for_the_whole", [True, False])
async def test_who_gave_up_a_wait_for_a_part_has_left_and_asks_nothing_more(
    autojump_clock: MockClock, answer: Answer, *, for_the_whole: bool
) -> None:
    accounts: list[Account] = []
    script = Script(answer, whole())
    opening = open_gateway(settings(), transport=script, record=accounts.append)
    async with opening as gateway, gateway.stream(ask(whole=for_the_whole)) as parts:
        for _ in range(5):
            with trio.move_on_after(1):
                await anext(parts, None)

    assert trio.current_time() == 1
    assert len(script.requests) == 1
    assert [account.outcome for account in accounts] == [Outcome.LEFT]


async def test_the_end_of_the_farewell_is_no_hindrance_to_cancelling(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), STOP, DONE, FOREVER))
    async with open_gateway(settings(), transport=script) as gateway:
        with trio.CancelScope() as scope:
            async with gateway.stream(ask()) as parts:
                async for _ in parts:
                    pass
                scope.cancel()

    assert all_closed(script)
    assert trio.current_time() == 0


async def test_one_cancelled_asker_does_not_take_the_list_from_the_others(autojump_clock: MockClock) -> None:
    script = Script(whole(before=(FOREVER,)), whole(body=(b'{"data": [{"id": "x"}]}',)))
    got: list[str] = []

    async def impatient(gateway: Gateway) -> None:
        with trio.move_on_after(3):
            await gateway.models()

    async def patient(gateway: Gateway) -> None:
        await trio.sleep(1)
        got.extend(model.id for model in await gateway.models())

    async with open_gateway(settings(), transport=script) as gateway, trio.open_nursery() as nursery:
        nursery.start_soon(impatient, gateway)
        nursery.start_soon(patient, gateway)

    assert got == ["m"]
    assert trio.current_time() == 3
