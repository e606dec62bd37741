"""The limits of model rows: who passes, who goes elsewhere, who waits, and what a call is charged with in the end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Call, Gateway, GatewayError, Kind, Settings, open_gateway
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.loopback import Connection
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
    provider,
    refusal,
    row,
    settings,
    stream,
    whole,
)
from tests.gateway_engine.test_cancellation import CancelAtStep
from tests.gateway_net.memory import in_memory


def limited(**limits: Any) -> Settings:
    return settings(row(**limits), retries=Retries(max_retries=0))


def small(*, used: int = 100, **more: Any) -> Answer:
    body = b'{"choices": [], "usage": {"prompt_tokens": %d, "completion_tokens": 0}}' % used
    return whole(body=(body,), **more)


def asking(**more: Any) -> Call:
    """Fewer than a thousand tokens, whatever happens."""
    return ask(body={"max_tokens": 500}, **more)


async def refused(gateway: Gateway, call: Call | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.call(call or asking())
    return caught.value


async def test_of_many_calls_at_once_exactly_as_many_pass_as_may(autojump_clock: MockClock) -> None:
    script = Script(*[whole(before=(1.0,))] * 10)
    outcomes: list[str] = []

    async def one(gateway: Gateway) -> None:
        try:
            await gateway.call(ask())
        except GatewayError as error:
            outcomes.append(error.message)
        else:
            outcomes.append("passed")

    async with open_gateway(limited(rpm=10), transport=script) as gateway, trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one, gateway)

    assert outcomes.count("passed") == 10
    assert len(script.requests) == 10
    refusals = {outcome for outcome in outcomes if outcome != "passed"}
    assert refusals == {
        "The limit of 10 requests a minute (rpm) of the model row m at one is reached; it frees up in 60 s."
    }


async def test_a_refused_call_is_told_how_long_to_wait_and_passes_then(autojump_clock: MockClock) -> None:
    script = Script(whole(), whole())
    async with open_gateway(limited(rpm=1), transport=script) as gateway:
        await gateway.call(ask())
        await trio.sleep(20)
        error = await refused(gateway)
        assert (error.kind, error.retry_after, error.attempts) == (Kind.RATE_LIMITED, 40, 0)
        await trio.sleep(40)
        await gateway.call(ask())


async def test_what_one_target_may_not_take_goes_to_the_next(autojump_clock: MockClock) -> None:
    rows = row(order=1, rpm=1), row(provider="two", order=2)
    made = settings(*rows, providers=(provider("one"), provider("two")))
    script = Script(whole(), whole())
    async with open_gateway(made, transport=script) as gateway:
        served = [(await gateway.call(ask())).served for _ in range(2)]

    assert [one.target for one in served] == ["one/m-at-one", "two/m-at-two"]
    assert [one.attempts for one in served] == [1, 1]


async def test_tokens_are_charged_as_they_were_counted(autojump_clock: MockClock) -> None:
    script = Script(*[small(used=100)] * 4)
    async with open_gateway(limited(tpm=1000), transport=script) as gateway:
        for _ in range(2):  # each may use some 830 tokens, and uses 100
            await gateway.call(asking())
        error = await refused(gateway)

    assert "(tpm)" in error.message
    assert len(script.requests) == 2


async def test_a_stream_is_charged_with_its_usage_and_a_cut_one_with_what_came(autojump_clock: MockClock) -> None:
    script = Script(
        stream(chunk("Hi"), STOP, USAGE, DONE), stream(chunk("x" * 4000), httpx.ReadError("reset")), small(), small()
    )
    async with open_gateway(limited(tpm=1800), transport=script) as gateway:
        async with gateway.stream(asking()) as parts:
            assert [part async for part in parts]
        async with gateway.stream(asking()) as parts:
            with pytest.raises(GatewayError):
                assert [part async for part in parts]
        error = await refused(gateway)

    # 5 tokens, then about a thousand: a further call of up to 800 does not fit.
    assert "(tpm)" in error.message


async def test_a_call_that_reached_nobody_is_not_charged(autojump_clock: MockClock) -> None:
    script = Script(Answer(connect=httpx.ConnectError("refused")), whole())
    async with open_gateway(limited(rpm=1), transport=script) as gateway:
        error = await refused(gateway)
        assert error.kind is Kind.NETWORK
        await gateway.call(ask())


async def test_a_refusal_of_the_upstream_counts_as_a_request_without_tokens(autojump_clock: MockClock) -> None:
    script = Script(refusal(400), small(), small())
    async with open_gateway(limited(rpm=2, tpm=900), transport=script) as gateway:
        await refused(gateway)
        await gateway.call(asking())
        assert "(rpm)" in (await refused(gateway)).message


async def test_where_no_place_is_free_and_nobody_else_is_there_calls_stand_in_line(autojump_clock: MockClock) -> None:
    script = Script(*[whole(before=(2.0,))] * 3)
    ended: list[float] = []

    async def one(gateway: Gateway) -> None:
        await gateway.call(ask())
        ended.append(trio.current_time())

    async with open_gateway(limited(max_parallel=1), transport=script) as gateway, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one, gateway)

    assert ended == [2, 4, 6]


async def test_a_place_is_free_again_once_a_stream_was_left(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), FOREVER), whole())
    async with open_gateway(limited(max_parallel=1), transport=script) as gateway:
        async with gateway.stream(ask()) as parts:
            await anext(parts)
        await gateway.call(ask())
        assert trio.current_time() == 0


async def test_a_call_whose_time_is_up_in_the_line_says_what_it_waited_for(autojump_clock: MockClock) -> None:
    script = Script(whole(before=(FOREVER,)))
    async with open_gateway(limited(max_parallel=1), transport=script) as gateway, trio.open_nursery() as nursery:
        nursery.start_soon(gateway.call, ask())
        await trio.sleep(1)
        error = await refused(gateway, ask(deadline=5.0))
        nursery.cancel_scope.cancel()

    assert (error.kind, error.attempts) == (Kind.TOTAL_TIMEOUT, 0)
    assert "waited for a free place at one/m-at-one (max_parallel)" in error.waited_for


async def test_a_target_with_a_place_free_is_asked_before_anybody_waits(autojump_clock: MockClock) -> None:
    rows = row(order=1, max_parallel=1), row(provider="two", order=2, max_parallel=1)
    made = settings(*rows, providers=(provider("one"), provider("two")))
    script = Script(whole(before=(5.0,)), whole(before=(5.0,)), whole())
    async with open_gateway(made, transport=script) as gateway, trio.open_nursery() as nursery:
        nursery.start_soon(gateway.call, ask())
        await trio.sleep(1)
        nursery.start_soon(gateway.call, ask())
        await trio.sleep(1)
        served = (await gateway.call(ask())).served

    assert [request.url.host for request in script.requests] == ["one.example", "two.example", "one.example"]
    assert served.elapsed == pytest.approx(3)


@pytest.mark.parametrize("words", [1, 100_000], ids=["a small prompt", "a large one"])
async def test_a_call_that_is_left_after_it_was_sent_counts(autojump_clock: MockClock, words: int) -> None:
    """A large body is sent while listening, in a nursery, whose Cancelled comes in a group."""

    async def silent(connection: Connection) -> None:
        await connection.request()
        await connection.until_gone()

    call = ask(body={"messages": [{"role": "user", "content": "Hi " * words}]})
    made = settings(row(rpm=1), providers=(provider(base_url="http://one.example/v1"),))
    async with (
        in_memory(silent) as memory,
        Http11Transport(connect=memory.connect) as transport,
        open_gateway(made, transport=transport) as gateway,
    ):
        with trio.move_on_after(1):
            await gateway.call(call)
        assert len(memory.connections) == 1
        assert (await refused(gateway)).kind is Kind.RATE_LIMITED


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_any_await_a_call_leaves_its_place_to_the_next(autojump_clock: MockClock, way: str) -> None:
    first = stream(chunk("Hi"), 1.0, STOP, DONE) if way == "stream" else whole(before=(1.0,))
    for step in range(1, 30):
        script = Script(refusal(503), first, whole(), whole())
        made = settings(row(max_parallel=1), retries=Retries(max_retries=1))
        async with open_gateway(made, transport=script) as gateway:
            with trio.CancelScope() as scope:
                canceller = CancelAtStep(scope, trio.lowlevel.current_task(), step)
                trio.lowlevel.add_instrument(canceller)
                try:
                    await WAYS[way](gateway)
                finally:
                    trio.lowlevel.remove_instrument(canceller)
            before = trio.current_time()
            script.answers[len(script.requests) :] = [whole()]
            await gateway.call(ask())
            assert trio.current_time() == before, f"cancelled at step {step}"


async def charged(way: str, answer: Answer, **limits: Any) -> str:
    """What a second call is refused for, after a first one whose answer came so; "" where it passes."""
    script = Script(answer, small())
    async with open_gateway(limited(**limits), transport=script) as gateway:
        with trio.move_on_after(1):
            with suppress(GatewayError):
                await WAYS[way](gateway)
        try:
            await gateway.call(asking())
        except GatewayError as error:
            return error.message
    return ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "body",
    [(FOREVER,), (b'{"id"', FOREVER), (b'{"id"', httpx.ReadError("reset")), (b"{",)],
    ids=["left before a byte", "left", "cut", "unreadable"],
)
async def test_what_began_to_be_answered_is_a_request(
    autojump_clock: MockClock, way: str, body: tuple[Any, ...]
) -> None:
    assert "(rpm)" in await charged(way, whole(body=body), rpm=1)


async def test_a_stream_that_is_left_is_charged_with_what_came(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("x" * 4000), FOREVER), small())
    async with open_gateway(limited(rpm=10, tpm=1800), transport=script) as gateway:
        async with gateway.stream(asking()) as parts:
            await anext(parts)
        assert "(tpm)" in (await refused(gateway)).message


@pytest.mark.parametrize("endpoint", ["images/generations", "moderations", "embeddings"])
async def test_an_answer_that_counts_no_tokens_is_a_request_all_the_same(
    autojump_clock: MockClock, endpoint: str
) -> None:
    script = Script(*[whole(body=(b'{"data": []}',))] * 2)
    call = Call(endpoint=endpoint, model="m", body={"input": "x"})
    async with open_gateway(limited(rpm=1), transport=script) as gateway:
        await gateway.call(call)
        assert "(rpm)" in (await refused(gateway, call)).message


async def test_a_call_whose_time_was_up_before_it_was_sent_is_not_charged(autojump_clock: MockClock) -> None:
    script = Script(Answer(connect=FOREVER), whole())
    async with open_gateway(limited(rpm=1), transport=script) as gateway:
        error = await refused(gateway, ask(deadline=2.0))
        assert error.kind is Kind.TOTAL_TIMEOUT
        await gateway.call(ask())


async def test_the_text_that_a_continuation_sends_is_part_of_its_prompt(autojump_clock: MockClock) -> None:
    rows = row(order=1), row(provider="two", order=2, prefill=Prefill.MESSAGE, tpm=2000)
    made = settings(*rows, providers=(provider("one"), provider("two")), retries=Retries(max_retries=0))
    script = Script(stream(chunk("x" * 4000), httpx.ReadError("reset")), stream(chunk("!"), STOP, DONE))
    async with open_gateway(made, transport=script) as gateway, gateway.stream(asking()) as parts:
        with pytest.raises(GatewayError, match="broke off"):
            assert [part async for part in parts]

    assert len(script.requests) == 1


async def test_what_a_row_cannot_bound_is_asked_where_nothing_has_to_be(autojump_clock: MockClock) -> None:
    deep: dict[str, Any] = {}
    for _ in range(600):
        deep = {"a": deep}
    rows = row(order=1, tpm=1000), row(provider="two", order=2)
    made = settings(*rows, providers=(provider("one"), provider("two")))
    script = Script(whole())
    async with open_gateway(made, transport=script) as gateway:
        served = (await gateway.call(ask(body={"metadata": deep}))).served

    assert (served.target, served.attempts) == ("two/m-at-two", 1)
