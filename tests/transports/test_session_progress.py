"""Progress of a call: the first report at once, then two a second at most, growing, and none after the answer."""

from __future__ import annotations

import itertools
from typing import Any

import trio
import trio.testing
from tests.transports.conversation import Conversation, answer
from trio.testing import MockClock as Clock

from openai_gateway_mcp.transports.calls import Reporter


def notification(progress: float, **more: Any) -> dict[str, Any]:
    params = {"progressToken": "token", "progress": progress, **more}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


async def test_a_report_goes_out_at_once_and_before_the_answer(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def report(text: str, reporter: Reporter) -> str:
        assert reporter.wanted
        reporter.progress(1, 2, "half way")
        return await conversation.wait_for_gate(text, reporter)

    conversation.script = report
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x", progress_token="token")

    assert await conversation.wire.receive() == notification(1, total=2, message="half way")
    assert conversation.wire.unread() == []
    conversation.open("x")
    assert await conversation.wire.receive() == answer(id_, "x")
    conversation.wire.close()


async def test_at_most_two_reports_go_out_in_a_second(nursery: trio.Nursery, autojump_clock: Clock) -> None:
    conversation = Conversation()

    async def report(text: str, reporter: Reporter) -> str:
        for tick in range(100):
            reporter.progress(tick)
            await trio.sleep(0.1)
        return text

    conversation.script = report
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x", progress_token="token")
    received = [await conversation.wire.receive()]
    while received[-1] != answer(id_, "x"):
        received.append(await conversation.wire.receive())

    ticks = [message["params"]["progress"] for message in received[:-1]]
    assert ticks[0] == 0
    assert {later - earlier for earlier, later in itertools.pairwise(ticks)} <= {5, 6}
    conversation.wire.close()


async def test_only_a_value_that_grows_goes_out(nursery: trio.Nursery, autojump_clock: Clock) -> None:
    conversation = Conversation()

    async def report(text: str, reporter: Reporter) -> str:
        for value in (1.0, 1.0, 0.5, 2.0):
            reporter.progress(value)
            await trio.sleep(1)
        return text

    conversation.script = report
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x", progress_token="token")

    received = [await conversation.wire.receive() for _ in range(3)]
    assert received == [notification(1.0), notification(2.0), answer(id_, "x")]
    conversation.wire.close()


async def test_a_client_that_did_not_ask_gets_none(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def report(text: str, reporter: Reporter) -> str:
        assert not reporter.wanted
        reporter.progress(1)
        await trio.lowlevel.checkpoint()
        return text

    conversation.script = report
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x")

    assert await conversation.wire.receive() == answer(id_, "x")
    conversation.wire.close()


async def test_a_reporter_kept_beyond_the_answer_reports_nothing(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    kept: list[Reporter] = []

    async def keep(text: str, reporter: Reporter) -> str:
        kept.append(reporter)
        await trio.lowlevel.checkpoint()
        return text

    conversation.script = keep
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x", progress_token="token")
    assert await conversation.wire.receive() == answer(id_, "x")

    kept[0].progress(1)
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.wire.unread() == []
    conversation.wire.close()


async def test_a_cancelled_call_that_still_reports_is_not_heard(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def report_at_the_end(text: str, reporter: Reporter) -> str:
        try:
            return await conversation.wait_for_gate(text, reporter)
        finally:
            reporter.progress(1)

    conversation.script = report_at_the_end
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x", progress_token="token")
    await trio.testing.wait_all_tasks_blocked()
    conversation.cancel(id_)
    await trio.testing.wait_all_tasks_blocked()

    assert conversation.cancelled == ["x"]
    assert conversation.wire.unread() == []
    conversation.wire.close()
