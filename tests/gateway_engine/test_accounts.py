"""The record of calls: one a call, whatever became of it."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Account, Finished, GatewayError, Outcome, Usage, open_gateway
from openai_gateway.routing.calls import Call
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.scripted import (
    DONE,
    FOREVER,
    STOP,
    USAGE,
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


async def test_an_answered_call_has_its_record(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    script = Script(refusal(401), whole(before=(2.0,)))
    async with open_gateway(two_providers(), transport=script, record=accounts.append) as gateway:
        await gateway.call(ask(tenant="me"))

    (account,) = accounts
    assert (account.endpoint, account.model, account.tenant) == ("chat/completions", "m", "me")
    assert (account.outcome, account.asked, account.error) == (Outcome.ANSWERED, ("one/m-at-one", "two/m-at-two"), None)
    assert account.usage is not None
    assert (account.usage.output, account.usage.estimated) == (2_000_000, False)
    assert account.first_byte == account.elapsed == pytest.approx(2)


@pytest.mark.parametrize("way", WAYS)
async def test_a_failed_call_has_its_record(autojump_clock: MockClock, way: str) -> None:
    accounts: list[Account] = []
    script = Script(refusal(400))
    async with open_gateway(settings(), transport=script, record=accounts.append) as gateway:
        with pytest.raises(GatewayError) as caught:
            await WAYS[way](gateway)

    (account,) = accounts
    assert account.outcome is Outcome.FAILED
    assert account.error is caught.value
    assert (account.usage, account.cost, account.asked) == (None, None, ("one/m-at-one",))
    assert caught.value.attempts == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answer", [whole(connect=FOREVER), refusal(503)], ids=["connecting", "waiting to retry"])
async def test_a_call_that_is_left_has_its_record(autojump_clock: MockClock, way: str, answer: Answer) -> None:
    accounts: list[Account] = []
    script = Script(*[answer] * 4)
    async with open_gateway(settings(), transport=script, record=accounts.append) as gateway:
        with trio.move_on_after(0.2):
            await WAYS[way](gateway)

    (account,) = accounts
    assert account.outcome is Outcome.LEFT
    assert account.elapsed == pytest.approx(0.2)


async def test_a_stream_that_is_left_is_charged_for_what_came(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    script = Script(stream(chunk("x" * 400), FOREVER))
    async with (
        open_gateway(settings(), transport=script, record=accounts.append) as gateway,
        gateway.stream(ask()) as parts,
    ):
        await anext(parts)

    (account,) = accounts
    assert account.outcome is Outcome.LEFT
    assert account.usage is not None
    assert (account.usage.output, account.usage.estimated) == (100, True)


async def test_a_call_of_an_unknown_model_has_its_record(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    async with open_gateway(settings(), transport=Script(), record=accounts.append) as gateway:
        with pytest.raises(GatewayError):
            await gateway.call(ask(model="nope"))
        async with gateway.stream(ask(model="nope")) as parts:
            with pytest.raises(GatewayError):
                await anext(parts)

    assert [(account.model, account.outcome, account.asked) for account in accounts] == [
        ("nope", Outcome.FAILED, ()),
        ("nope", Outcome.FAILED, ()),
    ]


async def test_a_body_that_is_no_json_has_its_record_too(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    async with open_gateway(settings(), transport=Script(), record=accounts.append) as gateway:
        with pytest.raises(GatewayError):
            await gateway.call(ask(body={"seed": float("nan")}))

    assert [(account.outcome, account.asked) for account in accounts] == [(Outcome.FAILED, ())]


async def test_a_stream_that_nobody_asked_for_a_part_was_no_call(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    async with open_gateway(settings(), transport=Script(), record=accounts.append) as gateway, gateway.stream(ask()):
        pass

    assert accounts == []


async def test_what_was_thrown_away_is_paid_for_too(autojump_clock: MockClock) -> None:
    accounts: list[Account] = []
    script = Script(stream(chunk("x" * 40), httpx.ReadError("reset")), stream(chunk("ok"), STOP, USAGE, DONE))
    made = settings(retries=Retries(max_retries=1))
    async with (
        open_gateway(made, transport=script, record=accounts.append) as gateway,
        gateway.stream(ask(whole=True)) as parts,
    ):
        last = [part async for part in parts][-1]

    (account,) = accounts
    assert account.usage is not None
    assert (account.usage.input, account.usage.output, account.usage.estimated) == (2 + 3, 10 + 2, True)
    assert isinstance(last, Finished)
    assert last.served.usage == Usage(input=3, output=2)


async def test_a_usage_that_nobody_counted_is_estimated_and_marked(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Grüße"), STOP, DONE))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()) as parts:
        last = [part async for part in parts][-1]

    assert isinstance(last, Finished)
    assert last.served.usage == Usage(input=2, output=2, estimated=True)


async def test_what_has_no_tokens_is_not_estimated(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b'{"data": []}',)))
    async with open_gateway(settings(), transport=script) as gateway:
        assert (await gateway.call(Call(endpoint="images/generations", model="m", body={}))).served.usage is None
