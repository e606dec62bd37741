"""The four clocks, each on trio's virtual clock."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Chunk, Finished, GatewayError, Kind, Reply, open_gateway
from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.settings import Retries, Settings, Timeouts
from tests.gateway_engine.scripted import (
    DONE,
    FOREVER,
    ROLE,
    STOP,
    WAYS,
    Answer,
    Script,
    Step,
    ask,
    chunk,
    row,
    settings,
    stream,
    whole,
)

ONCE = Retries(max_retries=0)
COMMENT = b": still here\n\n"


async def failure_of_call(
    made: Settings, answer: Answer, *, streamed: bool = False
) -> tuple[GatewayError, float, Script]:
    """The error of one call, when it came, and the script."""
    script = Script(answer)
    async with open_gateway(made, transport=script) as gateway:
        began = trio.current_time()
        with pytest.raises(GatewayError) as caught:
            await WAYS["stream" if streamed else "call"](gateway)
        return caught.value, trio.current_time() - began, script


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind", "after"),
    [
        (whole(connect=FOREVER), Kind.CONNECT_TIMEOUT, 5),
        (whole(before=(FOREVER,)), Kind.FIRST_BYTE_TIMEOUT, 30),
        (whole(connect=4.0, before=(FOREVER,)), Kind.FIRST_BYTE_TIMEOUT, 34),
        (whole(connect=None, before=(FOREVER,)), Kind.FIRST_BYTE_TIMEOUT, 30),
        (whole(body=(b'{"id":', FOREVER)), Kind.IDLE_TIMEOUT, 30),
        (whole(body=(b'{"id":', *(20.0, b" ") * 40)), Kind.TOTAL_TIMEOUT, 600),
    ],
)
async def test_each_clock_runs_out_as_its_own_error(
    autojump_clock: MockClock, answer: Answer, kind: Kind, after: float, streamed: bool
) -> None:
    error, took, script = await failure_of_call(settings(retries=ONCE), answer, streamed=streamed)

    assert error.kind is kind
    assert took == pytest.approx(after)
    assert script.log[-1] == "closed 0"


@pytest.mark.parametrize(
    ("steps", "kind", "after"),
    [
        ((FOREVER,), Kind.FIRST_BYTE_TIMEOUT, 30),
        ((ROLE, FOREVER), Kind.FIRST_BYTE_TIMEOUT, 30),
        ((*(COMMENT, 9.0) * 20,), Kind.FIRST_BYTE_TIMEOUT, 30),
        ((10.0, chunk("Hi"), FOREVER), Kind.IDLE_TIMEOUT, 40),
        ((10.0, chunk("Hi"), *(20.0, chunk("!")) * 40), Kind.TOTAL_TIMEOUT, 600),
    ],
    ids=["silence", "only a role", "only comments", "a stall", "no end"],
)
async def test_a_stream_has_its_first_byte_with_its_first_content(
    autojump_clock: MockClock, steps: tuple[Step, ...], kind: Kind, after: float
) -> None:
    error, took, script = await failure_of_call(settings(retries=ONCE), stream(*steps), streamed=True)

    assert error.kind is kind
    assert took == pytest.approx(after)
    assert script.log[-1] == "closed 0"


async def test_a_healthy_long_stream_is_not_killed_before_the_total(autojump_clock: MockClock) -> None:
    script = Script(stream(*(chunk("a"), 29.0) * 20, STOP, DONE))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()) as parts:
        kinds = [type(part) async for part in parts]

    assert kinds == [*[Chunk] * 21, Finished]


async def test_comments_are_a_sign_of_life_once_the_answer_began(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("a"), *(20.0, COMMENT) * 5, STOP, DONE))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()) as parts:
        assert isinstance([part async for part in parts][-1], Finished)


async def test_a_slow_reader_is_no_idle_upstream(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("a"), chunk("b"), STOP, DONE))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()) as parts:
        async for _ in parts:
            await trio.sleep(100)


async def test_a_slow_reader_slows_the_upstream(autojump_clock: MockClock) -> None:
    script = Script(stream(*[chunk("a")] * 50, STOP, DONE))
    async with open_gateway(settings(), transport=script) as gateway, gateway.stream(ask()) as parts:
        await anext(parts)
        await trio.sleep(10)
        sent = [line for line in script.log if line.startswith("sent")]

    assert len(sent) == 1


async def test_a_row_may_think_longer(autojump_clock: MockClock) -> None:
    made = settings(row(first_byte=120.0))
    async with open_gateway(made, transport=Script(whole(before=(100.0,)))) as gateway:
        assert isinstance(await gateway.call(ask()), Reply)


async def test_the_calls_own_deadline_ends_it_earlier(autojump_clock: MockClock) -> None:
    async with open_gateway(settings(), transport=Script(whole(before=(FOREVER,)))) as gateway:
        deadline = trio.current_time() + 7
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask(deadline=deadline))

        assert trio.current_time() == pytest.approx(deadline)
    assert caught.value.kind is Kind.TOTAL_TIMEOUT


async def test_the_wait_for_a_place_in_the_pool_counts_as_connecting(autojump_clock: MockClock) -> None:
    clocks = Clocks(connect=5, first_byte=30, idle=30)
    await trio.sleep(4)
    await clocks.trace("connection.connect_tcp.started", {})

    with pytest.raises(Broke) as caught, clocks.wait():
        await trio.sleep_forever()

    assert caught.value.cause is Cause.CONNECT_CLOCK
    assert trio.current_time() == pytest.approx(5)


async def test_the_request_to_a_proxy_is_still_connecting(autojump_clock: MockClock) -> None:
    clocks = Clocks(connect=5, first_byte=30, idle=30)
    connect = httpx.Request("CONNECT", "https://one.example")
    await clocks.trace("connection.connect_tcp.started", {})
    await clocks.trace("http11.send_request_headers.started", {"request": _Raw(connect)})
    with pytest.raises(Broke) as caught, clocks.wait():
        await trio.sleep_forever()

    assert caught.value.cause is Cause.CONNECT_CLOCK


class _Raw:
    """A request as httpcore has it: the method is bytes."""

    def __init__(self, request: httpx.Request) -> None:
        self.method = request.method.encode()


class _Silent(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_transport_that_tells_nothing_is_taken_as_connected(autojump_clock: MockClock) -> None:
    made = settings(timeouts=Timeouts(connect=1, first_byte=3), retries=ONCE)
    async with open_gateway(made, transport=_Silent()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert caught.value.kind is Kind.FIRST_BYTE_TIMEOUT
    assert trio.current_time() == pytest.approx(3)
