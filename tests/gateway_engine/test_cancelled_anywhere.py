"""Cancelled before any step of its task, over our own transport, a call leaves nothing behind but its record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Account, Call, Gateway, Outcome, Settings, open_gateway
from openai_gateway.net.pool import Limits
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Cache, Retries
from tests.gateway_engine.loopback import HEAD, Connection, framed, whole_answer
from tests.gateway_engine.scripted import DONE, ROLE, STOP, USAGE, ask, chunk, provider, row, settings
from tests.gateway_engine.test_cancellation import CancelAtStep
from tests.gateway_net.memory import Memory, in_memory

HOSTS: Final = ("one", "two")
PLACES: Final = 2  # connections that a host may have

Acts = tuple[bytes | float, ...]
"""What a host does for one request: bytes are sent, a number is a silence of so many seconds; CLOSE ends a cut one."""
CLOSE: Final = b""

CHOICE: Final = {"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}
GOOD: Final = whole_answer(
    json.dumps({"choices": [CHOICE], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()
)


def said(*events: bytes) -> bytes:
    return b"".join(map(framed, events))


REFUSED: Acts = (0.5, b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n", 0.5, b"no")
WHOLE: Acts = (0.5, GOOD[:90], 0.5, GOOD[90:])
CUT_WHOLE: Acts = (GOOD[:90], 0.5, GOOD[90:-9], CLOSE)
CUT_BEFORE: Acts = (HEAD + said(ROLE), 0.5, CLOSE)
CUT: Acts = (HEAD + said(ROLE), 0.5, said(chunk("Hel")), 0.5, CLOSE)
NEW: Final = said(ROLE, chunk("lo")), 0.5, said(chunk("!"), STOP), 0.5, said(USAGE, DONE)
REST: Acts = (HEAD, 0.5, *NEW, 0.05, b"0\r\n\r\n")


def cold(*, whole: bool = False) -> Call:
    return ask(tenant="me", whole=whole, body={"temperature": 0})


async def call(gateway: Gateway) -> None:
    await gateway.call(cold())


async def stream(gateway: Gateway) -> None:
    async with gateway.stream(cold()) as parts:
        async for _ in parts:
            pass


async def stream_for_the_whole(gateway: Gateway) -> None:
    async with gateway.stream(cold(whole=True)) as parts:
        async for _ in parts:
            pass


async def stream_with_beats(gateway: Gateway) -> None:
    async with gateway.stream_with_beats(cold(), every=0.4) as parts:
        async for _ in parts:
            pass


@attrs.frozen
class Way:
    """How the gateway is called, and what the hosts do then, request by request.

    `warm`: it was called so once before, and has the answer. `tasks`: it works in tasks of its own.
    """

    run: Callable[[Gateway], Awaitable[None]]
    answers: tuple[Acts, ...]
    prefill: Prefill | None = None
    warm: bool = False
    tasks: bool = False


WAYS: Final = {
    "whole": Way(call, (REFUSED, CUT_WHOLE, WHOLE)),
    "stream": Way(stream, (REFUSED, CUT_BEFORE, REST)),
    "stream for the whole": Way(stream_for_the_whole, (REFUSED, CUT, REST)),
    "stream with beats": Way(stream_with_beats, (REFUSED, CUT_BEFORE, REST), tasks=True),
    "continuation": Way(stream, (REFUSED, CUT, REST), prefill=Prefill.MESSAGE),
    "cached": Way(call, (WHOLE,), warm=True),
    "cached stream": Way(stream, (REST,), warm=True),
}


class CancelAtAnyStep(CancelAtStep):
    """The same before the n-th step of any task, those of the hosts included."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        super().before_task_step(self.task)


@attrs.define(eq=False)
class World:
    """A gateway over hosts in memory, and all that a call could lose of it. `answers` are given in turn."""

    answers: list[Acts]
    accounts: list[Account] = attrs.field(factory=list)
    gateway: Gateway = attrs.field(init=False)
    memory: Memory = attrs.field(init=False)
    transport: Http11Transport = attrs.field(init=False)

    async def serve(self, connection: Connection) -> None:
        while await connection.request():
            for act in self.answers.pop(0):
                if act == CLOSE:
                    return
                if isinstance(act, bytes):
                    await connection.stream.send_all(act)
                else:
                    await trio.sleep(act)

    def check_connections(self, why: str) -> None:
        """No connection is open that is not kept, and each place of the pools is free."""
        pools = [self.transport.pool(httpx.URL(f"http://{name}.example/v1")) for name in HOSTS]
        assert self.memory.open == sum(pool.idle for pool in pools), why
        assert [pool.free for pool in pools] == [PLACES, PLACES], why

    async def check_reservations(self, why: str) -> None:
        """Each row has its one place free: of two calls at once none has to stand in line."""
        self.answers[:] = [(1.0, GOOD)] * 2
        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in HOSTS:
                nursery.start_soon(self.gateway.call, ask())
        assert trio.current_time() == before + 1, why


def made(prefill: Prefill | None) -> Settings:
    rows = [row(provider=name, order=order, max_parallel=1, prefill=prefill) for order, name in enumerate(HOSTS)]
    providers = [provider(name, base_url=f"http://{name}.example/v1") for name in HOSTS]
    return settings(*rows, providers=providers, retries=Retries(max_retries=1), cache=Cache(enabled=True))


@asynccontextmanager
async def world(way: Way) -> AsyncIterator[World]:
    here = World(list(way.answers))
    async with in_memory(here.serve) as here.memory:
        here.transport = Http11Transport(connect=here.memory.connect, limits=Limits(connections=PLACES))
        async with (
            here.transport,
            open_gateway(
                made(way.prefill), transport=here.transport, random=lambda: 0.0, record=here.accounts.append
            ) as here.gateway,
        ):
            if way.warm:
                await way.run(here.gateway)
                here.accounts.clear()
            yield here
        assert here.memory.open == 0


async def cancelled_before(step: int, here: World, way: Way) -> bool:
    """Run it, cancelled before the n-th step of its task, 0 for before it begins; whether that was in its time."""
    with trio.CancelScope() as scope:
        canceller = (CancelAtAnyStep if way.tasks else CancelAtStep)(scope, trio.lowlevel.current_task(), step)
        trio.lowlevel.add_instrument(canceller)
        if step == 0:
            scope.cancel()
        try:
            await way.run(here.gateway)
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return scope.cancel_called


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_nothing_is_left_of_a_call_that_was_cancelled_but_its_record(autojump_clock: MockClock, way: Way) -> None:
    step, cancelled = 0, True
    while cancelled:
        async with world(way) as here:
            cancelled = await cancelled_before(step, here, way)
            why = f"cancelled before step {step}"

            here.check_connections(why)
            (account,) = here.accounts
            assert account.outcome in {Outcome.ANSWERED, Outcome.LEFT}, why
            assert account.cached == way.warm, why
            await here.check_reservations(why)
            here.check_connections(why)
        step += 1

    # The last round was cancelled nowhere: it took all of the way, or nobody was asked for what is in the cache.
    assert account.outcome is Outcome.ANSWERED
    assert len(account.asked) == (0 if way.warm else len(way.answers))
    assert step > (1 if way.warm else 20)


async def test_a_large_request_that_is_given_up_is_left_too(autojump_clock: MockClock) -> None:
    # Our client sends it in a nursery, so that Cancelled comes in a group.
    large = ask(body={"messages": [{"role": "user", "content": "x" * 100_000}]})
    async with world(Way(stream, ((5.0, *WHOLE), WHOLE))) as here, here.gateway.stream(large) as parts:
        for _ in range(3):
            with trio.move_on_after(1):
                await anext(parts, None)
        assert [account.outcome for account in here.accounts] == [Outcome.LEFT]
        assert len(here.answers) == 1
