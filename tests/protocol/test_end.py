"""The end of a conversation, and what our own code may not do to a connection."""

from __future__ import annotations

import math

import attrs
import pytest
from tests.playbook import EOF, Playbook, failure, handed, modern, notification, playbook, request, response
from tests.protocol.offering import FULL, HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import Fault, LocalProtocolError, ResourceNotFound
from openai_gateway_mcp.protocol.events import ExtensionCalled, ResourceRead, ToolCalled
from openai_gateway_mcp.protocol.model import ExtensionResult

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


# --- the peer closes ------------------------------------------------------------------------------------------------


def test_at_the_end_of_input_what_was_read_is_still_answered(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> EOF
    assert play.connection.calls_in_flight == 1
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)
    assert play.connection.calls_in_flight == 0


def test_lines_that_came_with_the_end_are_read(play: Playbook) -> None:
    play.connection.receive_data(PING * 3)
    play >> EOF << response(1, {}) << response(1, {}) << response(1, {})


def test_progress_goes_on_after_the_end_of_input(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat", _meta={"progressToken": 1}) << handed(ToolCalled, 1)
    play >> EOF
    play.progress(1, 1) << notification("notifications/progress", progressToken=1, progress=1)


def test_an_empty_conversation_ends_quietly(play: Playbook) -> None:
    play >> EOF


@pytest.mark.parametrize("data", [b"", b"{}"])
def test_nothing_comes_after_the_end(play: Playbook, data: bytes) -> None:
    play >> EOF
    with pytest.raises(LocalProtocolError, match="after the end"):
        play >> data


# --- we close -------------------------------------------------------------------------------------------------------


def test_when_we_close_every_call_is_withdrawn_and_nothing_more_is_sent() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> request(1, "tools/call", name="chat", _meta={"progressToken": 1}) << handed(ToolCalled, 1)
        play >> request(2, "tools/call", name="chat")
        play.close()
        play.progress(1, 1)
        play.answer(1, HELLO)
        assert play.connection.calls_in_flight == 0


def test_when_we_close_no_more_is_read(play: Playbook) -> None:
    play.connection.receive_data(PING)
    play.close()
    play >> PING
    play >> EOF


def test_closing_twice_is_closing_once(play: Playbook) -> None:
    play >> modern("l", "subscriptions/listen", notifications={})
    assert play.line()["method"] == "notifications/subscriptions/acknowledged"
    play.close()
    assert play.line()["method"] == "notifications/cancelled"
    assert play.result("l")["resultType"] == "complete"
    play.close()


def test_after_we_closed_a_change_is_told_to_nobody(play: Playbook) -> None:
    play >> notification("notifications/initialized")
    play.close()
    play.offer(attrs.evolve(FULL, tools=()))


# --- our own code ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("base/id-echoed")
def test_a_call_cannot_be_answered_twice(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    call = play.calls[1]
    play.connection.answer(call, HELLO)
    play.pump() << response(1, HELLO_LEGACY)
    with pytest.raises(LocalProtocolError, match="answered already"):
        play.connection.answer(call, HELLO)
    with pytest.raises(LocalProtocolError, match="answered already"):
        play.connection.fail(call, Fault(1, "x"))
    play.finish(1)


@pytest.mark.parametrize("verb", ["answer", "fail", "progress", "finished"])
def test_a_call_that_is_finished_is_not_touched_again(play: Playbook, verb: str) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    call = play.calls[1]
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)
    more = {"answer": (HELLO,), "fail": (Fault(1, "x"),), "progress": (1,), "finished": ()}[verb]
    with pytest.raises(LocalProtocolError, match="is not running"):
        getattr(play.connection, verb)(call, *more)


def test_a_call_of_another_connection_is_not_running_here(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    with pytest.raises(LocalProtocolError, match="is not running"):
        Connection(FULL).answer(play.calls[1], HELLO)


@pytest.mark.requirement("base/error-shape")
def test_a_call_that_ends_without_an_answer_is_an_internal_error(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play.finish(1) << failure(1, -32603, "Internal error")


def test_an_answer_that_is_no_json_leaves_the_call_open(play: Playbook) -> None:
    play >> request(1, "models/list") << handed(ExtensionCalled, 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        play.connection.answer(play.calls[1], ExtensionResult(value={"cost": math.nan}))
    play.finish(1) << failure(1, -32603)


@pytest.mark.requirement("base/error-shape")
@pytest.mark.parametrize("data", [None, {"type": "rate_limit_error"}, [1], "x", 0, False])
def test_a_fault_goes_out_with_its_code_message_and_data(play: Playbook, data: object) -> None:
    play >> request(1, "models/list") << handed(ExtensionCalled, 1)
    play.fail(1, Fault(1002, "rate limited\nwait", data))
    error = {"code": 1002, "message": "rate limited\nwait"}
    play << {"jsonrpc": "2.0", "id": 1, "error": error if data is None else {**error, "data": data}}


def test_a_missing_resource_is_quoted_without_control_characters(play: Playbook) -> None:
    play >> request(1, "resources/read", uri="\x1b\n") << handed(ResourceRead, 1)
    play.fail(1, ResourceNotFound("\x1b\n"))
    error = play.line()["error"]
    assert error["message"] == r"Resource not found: '\x1b\n'"
    assert error["data"] == {"uri": "\x1b\n"}
