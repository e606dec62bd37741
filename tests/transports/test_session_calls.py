"""A session runs every call in its own task and scope, and answers what the core does not answer by itself."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from tests.transports.conversation import Conversation, answer, cancellation, ping, pong
from trio.testing import MockClock as Clock

from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import Level
from openai_gateway_mcp.transports.calls import Reporter


async def test_answers_go_out_in_the_order_in_which_they_are_ready(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    first, second = conversation.call("first"), conversation.call("second")

    conversation.open("second")
    assert await conversation.wire.receive() == answer(second, "second")
    conversation.open("first")
    assert await conversation.wire.receive() == answer(first, "first")
    conversation.wire.close()


async def test_cheap_methods_are_answered_while_calls_run(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    conversation.call("slow")
    conversation.wire.send(ping("p"))

    assert await conversation.wire.receive() == pong("p")
    conversation.wire.close()


async def test_what_came_in_one_read_is_answered_in_one_write(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    conversation.wire.send(*map(ping, range(50)))
    await trio.testing.wait_all_tasks_blocked()

    assert conversation.wire.unread() == [pong(i) for i in range(50)]
    assert conversation.wire.writes == 1
    conversation.wire.close()


async def test_calls_that_end_together_are_answered_in_one_write(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    conversation.call("unrelated")
    for _ in range(50):
        conversation.call("together")
    await trio.testing.wait_all_tasks_blocked()
    conversation.open("together")
    await trio.testing.wait_all_tasks_blocked()

    assert len(conversation.wire.unread()) == 50
    assert conversation.wire.writes == 1
    conversation.wire.close()


async def test_a_cancelled_call_stops_at_once_and_is_never_answered(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    doomed, other = conversation.call("doomed"), conversation.call("other")
    await trio.testing.wait_all_tasks_blocked()

    conversation.cancel(doomed)
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.cancelled == ["doomed"]
    assert conversation.connection.calls_in_flight == 1

    conversation.open("doomed")
    conversation.open("other")
    assert await conversation.wire.receive() == answer(other, "other")
    assert conversation.wire.unread() == []
    conversation.wire.close()


async def test_a_call_cancelled_in_the_same_read_never_answers(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    conversation.open("doomed")
    nursery.start_soon(conversation.run)
    conversation.wire.send(conversation.request("doomed", id_=7), cancellation(7), ping("p"))

    assert await conversation.wire.receive() == pong("p")
    await trio.testing.wait_all_tasks_blocked()
    assert conversation.wire.unread() == []
    assert conversation.connection.calls_in_flight == 0
    conversation.wire.close()


async def test_the_id_of_a_cancelled_call_can_be_used_again_at_once(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    conversation.call("old", id_=7)
    await trio.testing.wait_all_tasks_blocked()
    conversation.wire.send(cancellation(7), conversation.request("new", id_=7))
    await trio.testing.wait_all_tasks_blocked()
    conversation.open("new")

    assert await conversation.wire.receive() == answer(7, "new")
    assert conversation.cancelled == ["old"]
    conversation.wire.close()


async def test_a_handler_that_cleans_up_slowly_holds_back_nobody_else(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    conversation = Conversation()

    async def tidy_up_slowly(text: str, reporter: Reporter) -> str:
        try:
            return await conversation.wait_for_gate(text, reporter)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(60)

    conversation.script = tidy_up_slowly
    nursery.start_soon(conversation.run)
    conversation.call("slow", id_=7)
    await trio.testing.wait_all_tasks_blocked()
    start = trio.current_time()
    conversation.wire.send(cancellation(7), ping("p"))

    assert await conversation.wire.receive() == pong("p")
    assert trio.current_time() - start < 60
    nursery.cancel_scope.cancel()


async def test_with_every_slot_taken_a_cancel_and_an_end_still_take_effect(autojump_clock: Clock) -> None:
    conversation = Conversation(max_in_flight=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conversation.run)
        ids = [conversation.call(name) for name in ("a", "b", "parked", "withdrawn")]
        await trio.testing.wait_all_tasks_blocked()
        assert conversation.started == ["a", "b"]

        conversation.cancel(ids[3])
        conversation.cancel(ids[0])
        await trio.testing.wait_all_tasks_blocked()
        assert conversation.cancelled == ["a"]
        assert conversation.started == ["a", "b", "parked"]

        conversation.wire.close()
    assert conversation.cancelled[0] == "a"
    assert sorted(conversation.cancelled[1:]) == ["b", "parked"]
    assert conversation.wire.unread() == []


async def test_a_parked_call_starts_when_another_ends(nursery: trio.Nursery) -> None:
    conversation = Conversation(max_in_flight=1)
    nursery.start_soon(conversation.run)
    first, parked = conversation.call("first"), conversation.call("parked")
    await trio.testing.wait_all_tasks_blocked()
    conversation.open("first")
    conversation.open("parked")

    assert await conversation.wire.receive() == answer(first, "first")
    assert await conversation.wire.receive() == answer(parked, "parked")
    conversation.wire.close()


@pytest.mark.parametrize("nested", [False, True])
async def test_a_fault_is_answered_as_it_is(nursery: trio.Nursery, nested: bool) -> None:
    conversation = Conversation()

    async def fail(_: str, __: Reporter) -> str:
        await trio.lowlevel.checkpoint()
        fault = Fault(-32602, "no such tool", {"tool": "x"})
        raise ExceptionGroup("of a nursery", [fault]) if nested else fault

    conversation.script = fail
    nursery.start_soon(conversation.run)
    id_ = conversation.call("x")

    error = {"code": -32602, "message": "no such tool", "data": {"tool": "x"}}
    assert await conversation.wire.receive() == {"jsonrpc": "2.0", "id": id_, "error": error}
    assert conversation.remarks == []
    conversation.wire.close()


async def test_a_resource_that_is_not_there_gets_the_code_of_its_era(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def fail(text: str, _: Reporter) -> str:
        await trio.lowlevel.checkpoint()
        raise ResourceNotFound(text)

    conversation.script = fail
    nursery.start_soon(conversation.run)
    conversation.call("openai://nothing")

    assert (await conversation.wire.receive())["error"]["code"] == -32002
    conversation.wire.close()


@pytest.mark.parametrize("nested", [False, True])
async def test_a_crash_is_an_internal_error_and_tells_the_client_nothing(nursery: trio.Nursery, nested: bool) -> None:
    conversation = Conversation()

    async def crash(text: str, _: Reporter) -> str:
        await trio.lowlevel.checkpoint()
        if nested:
            async with trio.open_nursery():
                raise ValueError(text)
        raise ValueError(text)

    conversation.script = crash
    nursery.start_soon(conversation.run)
    id_ = conversation.call("a secret")

    error = {"code": -32603, "message": "Internal error"}
    assert await conversation.wire.receive() == {"jsonrpc": "2.0", "id": id_, "error": error}
    warning, detail = conversation.remarks
    assert warning.level is Level.WARNING
    assert "tools/call failed: ValueError at " in warning.text
    assert "test_session_calls.py:" in warning.text
    assert "a secret" not in warning.text
    assert detail.level is Level.DEBUG
    assert "Traceback" in detail.text
    assert "a secret" in detail.text
    conversation.wire.close()


async def test_a_crash_that_was_never_raised_has_an_unknown_place(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def crash(_: str, __: Reporter) -> str:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("made by hand", [ValueError("never raised")])

    conversation.script = crash
    nursery.start_soon(conversation.run)
    conversation.call("x")

    assert (await conversation.wire.receive())["error"]["code"] == -32603
    assert conversation.remarks[0].text == "tools/call failed: ValueError at an unknown place"
    conversation.wire.close()


async def test_a_result_that_cannot_be_written_as_json_is_an_internal_error(nursery: trio.Nursery) -> None:
    conversation = Conversation()

    async def answer_with_no_text(_: str, __: Reporter) -> str:
        await trio.lowlevel.checkpoint()
        return object()  # type: ignore[return-value]  # a bug of ours, to be survived

    conversation.script = answer_with_no_text
    nursery.start_soon(conversation.run)
    conversation.call("x")

    assert (await conversation.wire.receive())["error"]["code"] == -32603
    conversation.wire.close()


async def test_what_the_core_remarks_reaches_the_log(nursery: trio.Nursery) -> None:
    conversation = Conversation()
    nursery.start_soon(conversation.run)
    conversation.wire.send({"jsonrpc": "2.0", "id": 1, "result": {}})
    await trio.testing.wait_all_tasks_blocked()

    assert [remark.level for remark in conversation.remarks] == [Level.DEBUG]
    conversation.wire.close()
