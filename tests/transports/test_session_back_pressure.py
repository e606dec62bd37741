"""A client that does not read its answers is not read from, and costs a bounded amount of memory."""

from __future__ import annotations

import trio
import trio.testing
from tests.transports.conversation import Conversation, answer, ping, pong
from trio.testing import MockClock as Clock

from openai_gateway_mcp.transports.calls import Reporter
from openai_gateway_mcp.transports.outbox import HIGH_WATER
from openai_gateway_mcp.transports.session import DRAIN, FAREWELL

BIG = HIGH_WATER // 4


async def answer_big(text: str, _: Reporter) -> str:
    await trio.lowlevel.checkpoint()
    return text.ljust(BIG)


async def test_reading_stops_while_the_queue_is_full_and_goes_on_when_the_client_reads(nursery: trio.Nursery) -> None:
    conversation = Conversation(capacity=65_536)
    conversation.script = answer_big
    nursery.start_soon(conversation.run)
    for _ in range(100):
        conversation.call("x")
        await trio.testing.wait_all_tasks_blocked()
    assert len(conversation.started) < 10

    for id_ in range(1, 101):
        assert await conversation.wire.receive() == answer(id_, "x".ljust(BIG))
    assert len(conversation.started) == 100
    conversation.wire.close()


async def test_reports_do_not_pile_up_behind_a_full_queue(nursery: trio.Nursery, autojump_clock: Clock) -> None:
    conversation = Conversation(capacity=65_536)

    async def report(text: str, reporter: Reporter) -> str:
        for tick in range(100):
            reporter.progress(tick, message="x" * (HIGH_WATER // 10))
            await trio.sleep(1)
        return text

    conversation.script = report
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x", progress_token="token")
    await trio.sleep(1_000)

    received = [await conversation.wire.receive()]
    while received[-1] != answer(id_, "x"):
        received.append(await conversation.wire.receive())
    assert 10 <= len(received) <= 14
    conversation.wire.close()


async def test_no_parked_call_starts_while_the_queue_is_full(nursery: trio.Nursery) -> None:
    conversation = Conversation(capacity=65_536, max_in_flight=2)
    conversation.script = answer_big
    nursery.start_soon(conversation.run)
    conversation.wire.send(*(conversation.request("x") for _ in range(100)))
    await trio.testing.wait_all_tasks_blocked()
    assert len(conversation.started) < 10

    for _ in range(100):
        await conversation.wire.receive()
    assert len(conversation.started) == 100
    conversation.wire.close()


async def test_a_cancel_read_before_the_pause_still_stops_its_call(nursery: trio.Nursery) -> None:
    conversation = Conversation(capacity=65_536)
    nursery.start_soon(conversation.run)
    doomed = conversation.call("doomed")
    await trio.testing.wait_all_tasks_blocked()
    conversation.wire.send(ping("x" * 2 * HIGH_WATER))
    conversation.cancel(doomed)
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.cancelled == []  # not read yet: the client has to read first

    assert await conversation.wire.receive() == pong("x" * 2 * HIGH_WATER)
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.cancelled == ["doomed"]
    conversation.wire.close()


async def test_the_end_is_noticed_behind_a_full_queue(autojump_clock: Clock) -> None:
    conversation = Conversation(capacity=65_536)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        conversation.call("in flight")
        conversation.wire.send(ping("x" * 2 * HIGH_WATER))
        await trio.sleep(3600)
        assert conversation.cancelled == []
        start = trio.current_time()
        conversation.wire.close()
    assert conversation.cancelled == ["in flight"]
    assert trio.current_time() - start <= DRAIN + FAREWELL + 0.001


async def test_stopped_while_reading_is_paused_it_leaves(autojump_clock: Clock) -> None:
    conversation = Conversation(capacity=65_536)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        conversation.wire.send(ping("x" * 2 * HIGH_WATER))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert conversation.wire.reads == 1


async def test_stopped_while_calls_wait_for_room_it_leaves(autojump_clock: Clock) -> None:
    conversation = Conversation(capacity=65_536, max_in_flight=8)
    conversation.script = answer_big
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        conversation.wire.send(*(conversation.request("x") for _ in range(20)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert conversation.connection.calls_in_flight == 0


async def test_a_client_that_goes_while_the_queue_is_full_ends_the_session() -> None:
    conversation = Conversation(capacity=65_536)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        conversation.call("in flight")
        conversation.wire.send(ping("x" * 2 * HIGH_WATER))
        await trio.testing.wait_all_tasks_blocked()
        conversation.wire.fail_writing(trio.BrokenResourceError())
    assert conversation.cancelled == ["in flight"]
