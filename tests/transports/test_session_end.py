"""How a session ends: the client closes its side, or is gone, or we are told to stop."""

from __future__ import annotations

import errno
import os

import pytest
import trio
import trio.testing
from tests.transports.conversation import Conversation, answer, ping, pong
from trio.testing import MockClock as Clock

from openai_gateway_mcp.transports.calls import Reporter
from openai_gateway_mcp.transports.session import DRAIN, FAREWELL
from openai_gateway_mcp.transports.streams import StreamFailed

LISTEN = {
    "jsonrpc": "2.0",
    "id": "listen",
    "method": "subscriptions/listen",
    "params": {
        "notifications": {"toolsListChanged": True},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}


# --- the client closes its side -------------------------------------------------------------------------------------


async def test_an_idle_session_ends_at_once(autojump_clock: Clock) -> None:
    conversation = Conversation()
    conversation.wire.close()
    start = trio.current_time()
    await conversation.run()
    assert trio.current_time() == start


async def test_what_was_read_is_still_answered_within_the_drain(autojump_clock: Clock) -> None:
    conversation = Conversation()

    async def take_a_while(text: str, _: Reporter) -> str:
        await trio.sleep(float(text))
        return text

    conversation.script = take_a_while
    quick = conversation.call("0.4")
    conversation.call("0.6")
    conversation.wire.close()
    start = trio.current_time()
    await conversation.run()

    assert trio.current_time() - start == pytest.approx(DRAIN)
    assert conversation.wire.unread() == [answer(quick, "0.4")]
    assert conversation.cancelled == ["0.6"]


async def test_parked_calls_have_their_turn_within_the_drain(autojump_clock: Clock) -> None:
    conversation = Conversation(max_in_flight=1)

    async def take_a_while(text: str, _: Reporter) -> str:
        await trio.sleep(0.1)
        return text

    conversation.script = take_a_while
    ids = [conversation.call("x") for _ in range(9)]
    conversation.wire.close()
    await conversation.run(drain=0.45)

    assert conversation.wire.unread() == [answer(id_, "x") for id_ in ids[:4]]


async def test_the_end_of_a_file_lets_every_call_finish(autojump_clock: Clock) -> None:
    conversation = Conversation(max_in_flight=1)

    async def take_hours(text: str, _: Reporter) -> str:
        await trio.sleep(3600)
        return text

    conversation.script = take_hours
    ids = [conversation.call("x") for _ in range(3)]
    conversation.wire.close()
    await conversation.run(finish_all=True)

    assert conversation.wire.unread() == [answer(id_, "x") for id_ in ids]


async def test_a_file_with_more_calls_than_may_wait_loses_none(autojump_clock: Clock) -> None:
    conversation = Conversation(max_in_flight=1)

    async def take_a_second(text: str, _: Reporter) -> str:
        await trio.sleep(1)
        return text

    conversation.script = take_a_second
    ids = [conversation.call("x") for _ in range(5_000)]
    conversation.wire.close()
    await conversation.run(finish_all=True)

    assert conversation.wire.unread() == [answer(id_, "x") for id_ in ids]


async def test_what_a_file_asked_is_written_however_slow_the_reader_is(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    conversation = Conversation(capacity=10)
    conversation.wire.send(*map(ping, range(20)))
    conversation.wire.close()

    nursery.start_soon(lambda: conversation.run(finish_all=True))
    for i in range(20):
        await trio.sleep(60)
        assert await conversation.wire.receive() == pong(i)


async def test_a_listen_ends_at_once_while_calls_drain(autojump_clock: Clock, nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    conversation.wire.send(LISTEN)
    conversation.call("slow")
    assert (await conversation.wire.receive())["method"] == "notifications/subscriptions/acknowledged"
    start = trio.current_time()
    conversation.wire.close()

    assert (await conversation.wire.receive())["method"] == "notifications/cancelled"
    assert (await conversation.wire.receive())["id"] == "listen"
    assert trio.current_time() == start


async def test_a_crash_while_the_session_ends_is_remarked_and_nothing_more(autojump_clock: Clock) -> None:
    conversation = Conversation()

    async def crash_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    async def crash_when_cancelled(text: str, reporter: Reporter) -> str:
        async with trio.open_nursery() as inner:
            inner.start_soon(crash_at_the_end)
            await conversation.wait_for_gate(text, reporter)
        return text

    conversation.script = crash_when_cancelled
    conversation.call("x")
    conversation.wire.close()
    await conversation.run()

    assert conversation.remarks[0].text.startswith("tools/call failed: ValueError at ")
    assert conversation.wire.unread() == []


# --- the client is gone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [0, 1_000_000])
async def test_a_client_that_does_not_listen_any_more_ends_the_session_quietly(capacity: int) -> None:
    conversation = Conversation(capacity=capacity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        conversation.call("in flight")
        conversation.wire.send(ping(0))
        await trio.testing.wait_all_tasks_blocked()
        conversation.wire.fail_writing(trio.BrokenResourceError())
        conversation.wire.send(ping(1))
    assert conversation.cancelled == ["in flight"]


async def test_answers_after_the_client_went_are_dropped(autojump_clock: Clock) -> None:
    conversation = Conversation()

    async def answer_even_when_cancelled(text: str, _: Reporter) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        return text

    conversation.script = answer_even_when_cancelled
    conversation.wire.fail_writing(trio.BrokenResourceError())
    conversation.call("x")
    conversation.wire.send(ping(1))
    await conversation.run()

    assert conversation.wire.unread() == []


@pytest.mark.parametrize("capacity", [0, 1_000_000])
async def test_a_full_disk_is_said(capacity: int) -> None:
    conversation = Conversation(capacity=capacity)
    with pytest.RaisesGroup(pytest.RaisesExc(StreamFailed, match="writing failed: No space left on device")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conversation.run)
            conversation.wire.send(ping(0))
            await trio.testing.wait_all_tasks_blocked()
            conversation.wire.fail_writing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            conversation.wire.send(ping(1))


async def test_an_input_that_cannot_be_read_is_said() -> None:
    conversation = Conversation()
    conversation.wire.read_error = OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    with pytest.raises(StreamFailed, match="reading failed: Is a directory"):
        await conversation.run()


# --- we are told to stop: a cancellation at every await point -------------------------------------------------------


async def stop(conversation: Conversation, *, within: float = 0) -> None:
    """Run, wait until nothing moves, cancel; the session is gone after `within` seconds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == pytest.approx(within)


async def test_stopped_while_it_waits_for_input(autojump_clock: Clock) -> None:
    conversation = Conversation()
    await stop(conversation)
    assert conversation.wire.unread() == []


async def test_stopped_while_calls_run_it_cancels_them_and_answers_none(autojump_clock: Clock) -> None:
    conversation = Conversation(max_in_flight=1)
    conversation.call("running")
    conversation.call("parked")
    await stop(conversation)
    assert conversation.cancelled == ["running"]
    assert conversation.started == ["running"]
    assert conversation.wire.unread() == []


async def test_stopped_with_a_listen_open_it_says_farewell(autojump_clock: Clock) -> None:
    conversation = Conversation()
    conversation.wire.send(LISTEN)
    await stop(conversation)
    methods = [message.get("method", message.get("id")) for message in conversation.wire.unread()]
    assert methods == ["notifications/subscriptions/acknowledged", "notifications/cancelled", "listen"]


async def test_stopped_while_it_writes_it_gives_up_after_the_farewell(autojump_clock: Clock) -> None:
    conversation = Conversation(capacity=5)
    conversation.wire.send(ping(1))
    await stop(conversation, within=FAREWELL)
    assert len(conversation.wire.take()) == 5


async def test_stopped_while_it_writes_it_finishes_the_frame_for_a_client_that_reads(nursery: trio.Nursery) -> None:
    conversation = Conversation(capacity=5)
    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            await conversation.run()

    nursery.start_soon(run)
    conversation.wire.send(ping(1))
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    assert await conversation.wire.receive() == pong(1)


async def test_stopped_while_it_writes_out_a_file_s_answers(autojump_clock: Clock) -> None:
    conversation = Conversation(capacity=5)
    conversation.wire.send(ping(1))
    conversation.wire.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: conversation.run(finish_all=True))
        await trio.sleep(3600)
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == pytest.approx(FAREWELL)


# --- the chore after the first answer ---------------------------------------------------------------------------------


async def test_the_chore_starts_once_when_the_first_bytes_are_out(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    bytes_out: list[int] = []

    async def chore() -> None:
        await trio.lowlevel.checkpoint()
        bytes_out.append(conversation.wire.writes)

    nursery.start_soon(lambda: conversation.run(after_first_answer=chore))
    await trio.testing.wait_all_tasks_blocked()
    assert bytes_out == []
    for i in range(2):
        conversation.wire.send(ping(i))
        await trio.testing.wait_all_tasks_blocked()
    assert bytes_out == [1]
    conversation.wire.close()


async def test_a_chore_that_fails_is_remarked_and_the_conversation_goes_on(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def chore() -> None:
        await trio.lowlevel.checkpoint()
        raise ImportError("no such thing")

    nursery.start_soon(lambda: conversation.run(after_first_answer=chore))
    for i in range(2):
        conversation.wire.send(ping(i))
        assert await conversation.wire.receive() == pong(i)
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.remarks[0].text.startswith("a background chore failed: ImportError at ")
    conversation.wire.close()


@pytest.mark.parametrize("finish_all", [False, True])
async def test_a_chore_holds_back_no_end(autojump_clock: Clock, finish_all: bool) -> None:
    conversation = Conversation()
    conversation.wire.send(ping(1))
    conversation.wire.close()
    start = trio.current_time()
    await conversation.run(finish_all=finish_all, after_first_answer=trio.sleep_forever)
    assert trio.current_time() == start
