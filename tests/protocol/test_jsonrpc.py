"""JSON-RPC, strictly: what is a message, what is answered, and with which id."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.playbook import Json, Playbook, Remarked, cancel, failure, handed, modern, notification, request, response
from tests.protocol.offering import HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.events import Level, ToolCalled
from openai_gateway_mcp.protocol.jsonrpc import read_message
from openai_gateway_mcp.protocol.params import shown

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
DEEP = 10_000


# --- unreadable -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("base/jsonrpc")
@pytest.mark.requirement("transports/utf-8")
@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"hello",
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} {}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
        b'{"jsonrpc":"2.0","id":1,"method":"p\xffng"}',
        b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}',
        PING.decode().encode("utf-16-le"),
        b'{"id":' * DEEP + b"1" + b"}" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b"[" * DEEP,
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":-Infinity}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}',
        b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":' + b"1" * 5_000 + b',"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","\\u006dethod":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a\tb"}',
        b"\xef\xbb\xbf\xef\xbb\xbf" + PING,
        b"nul",
        b"\x00",
    ],
)
def test_an_unreadable_line_is_a_parse_error_without_an_id_and_the_connection_goes_on(
    play: Playbook, line: bytes
) -> None:
    play >> line + b"\n" << failure(None, -32700, "Parse error")
    play >> request(2, "ping") << response(2, {})


def test_a_key_may_be_twice_below_the_envelope(play: Playbook) -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","name":"chat"}}\n'
    play >> line << handed(ToolCalled, 1, name="chat")


def test_nesting_up_to_the_limit_is_read(play: Playbook) -> None:
    nested: object = 1
    for _ in range(120):
        nested = [nested]
    play >> request(1, "tools/call", name="chat", arguments={"a": nested})
    play << handed(ToolCalled, 1, arguments={"a": nested})


# --- readable, but no request ---------------------------------------------------------------------------------------


@pytest.mark.requirement("base/jsonrpc")
@pytest.mark.parametrize("value", [None, True, 1, 1.5, "ping", "{}"])
def test_a_value_that_is_no_object_is_an_invalid_request_without_an_id(play: Playbook, value: object) -> None:
    play >> json.dumps(value).encode() + b"\n" << failure(None, -32600)


@pytest.mark.requirement("base/id-type")
@pytest.mark.requirement("base/id-not-null")
@pytest.mark.requirement("legacy/id")
@pytest.mark.parametrize("id_", [None, True, False, 1.5, -0.5, [], [1], {}, {"id": 1}])
@pytest.mark.parametrize("method", ["ping", "tools/call", "notifications/initialized"])
def test_an_id_that_is_neither_string_nor_integer_is_an_invalid_request(
    play: Playbook, id_: object, method: str
) -> None:
    play >> request(id_, method, name="chat") << failure(None, -32600, "id")


@pytest.mark.requirement("base/id-echoed")
@pytest.mark.requirement("legacy/id-echoed")
@pytest.mark.parametrize(
    "id_",
    [0, 1, -1, "1", "", "a" * 1_000, 2**53 + 1, 2**64, -(10**4_000), "\u2028\u2029\x85", "\ud800", "☃", '"', "null"],
)
def test_an_id_comes_back_exactly_as_it_was(play: Playbook, id_: int | str) -> None:
    play >> request(id_, "ping") << response(id_, {})
    play >> request(id_, "no/such") << failure(id_, -32601)
    play >> request(id_, "tools/call", name="chat") << handed(ToolCalled, id_)
    play.answer(id_, HELLO) << response(id_, HELLO_LEGACY)


@pytest.mark.parametrize(("literal", "id_"), [(b"7.0", 7), (b"1e2", 100), (b"-0.0", 0), (b"1E+15", 10**15)])
def test_a_whole_number_written_as_a_float_is_that_integer(play: Playbook, literal: bytes, id_: int) -> None:
    play >> b'{"jsonrpc":"2.0","id":%b,"method":"ping"}\n' % literal << response(id_, {})


@pytest.mark.parametrize("literal", [b"9007199254740992.0", b"-9007199254740992.0", b"1e300"])
def test_a_float_that_may_have_lost_digits_is_no_id(play: Playbook, literal: bytes) -> None:
    play >> b'{"jsonrpc":"2.0","id":9007199254740991.0,"method":"ping"}\n' << response(2**53 - 1, {})
    play >> b'{"jsonrpc":"2.0","id":%b,"method":"ping"}\n' % literal << failure(None, -32600, "id")


@pytest.mark.parametrize("place", ["envelope", "entry"])
def test_a_duplicate_key_spoils_a_batch_as_a_whole(play: Playbook, place: str) -> None:
    play >> request(0, "initialize", protocolVersion="2025-03-26")
    play.result(0)
    entry = b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}'
    line = b"[%b]" % entry if place == "entry" else entry
    play >> line + b"\n" << failure(None, -32700, "Duplicate key")


def test_the_ids_1_and_string_1_are_two_calls(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> request("1", "tools/call", name="chat") << handed(ToolCalled, "1")
    play.answer("1", HELLO) << response("1", HELLO_LEGACY)
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)


@pytest.mark.requirement("base/jsonrpc")
@pytest.mark.requirement("legacy/jsonrpc")
@pytest.mark.parametrize("version", ["1.0", "2", 2, 2.0, None, "", ["2.0"]])
def test_a_request_that_is_not_json_rpc_2_is_invalid(play: Playbook, version: object) -> None:
    play >> {**request(1, "ping"), "jsonrpc": version} << failure(1, -32600, "jsonrpc")


def test_a_request_without_the_jsonrpc_member_is_invalid(play: Playbook) -> None:
    play >> {"id": "a", "method": "ping"} << failure("a", -32600, "jsonrpc")


@pytest.mark.parametrize("method", [None, 1, [], {}, True])
def test_a_method_that_is_no_string_is_invalid_with_the_id_if_there_is_one(play: Playbook, method: object) -> None:
    play >> {"jsonrpc": "2.0", "id": 9, "method": method} << failure(9, -32600, "method")
    play >> {"jsonrpc": "2.0", "method": method} << failure(None, -32600, "method")


def test_a_method_that_is_no_string_makes_no_response_of_a_message(play: Playbook) -> None:
    play >> {"jsonrpc": "2.0", "id": 9, "method": 3, "result": {}} << failure(9, -32600, "method")


@pytest.mark.parametrize("message", [{}, {"jsonrpc": "2.0"}, {"jsonrpc": "2.0", "params": {}}])
def test_an_object_without_a_method_is_invalid(play: Playbook, message: object) -> None:
    play >> message << failure(None, -32600, "method")


def test_an_object_with_an_id_alone_is_invalid_with_that_id(play: Playbook) -> None:
    play >> {"jsonrpc": "2.0", "id": 3} << failure(3, -32600, "method")


@pytest.mark.requirement("legacy/jsonrpc")
@pytest.mark.parametrize("more", [{"result": {}}, {"error": {"code": 1, "message": ""}}, {"result": None}])
def test_a_request_that_is_also_a_response_is_invalid(play: Playbook, more: dict[str, object]) -> None:
    play >> {**request(1, "ping"), **more} << failure(1, -32600)


@pytest.mark.parametrize("params", [[], [1], "x", 1, True, False, 0])
def test_params_that_are_no_object_are_bad_params(play: Playbook, params: object) -> None:
    play >> {**request(1, "ping"), "params": params} << failure(1, -32602, "params")


def test_absent_null_and_empty_params_are_the_same(play: Playbook) -> None:
    spellings: list[dict[str, Json]] = [{}, {"params": None}, {"params": {}}]
    for more in spellings:
        play >> {**request(1, "ping"), **more} << response(1, {})


def test_unknown_members_of_an_envelope_are_ignored(play: Playbook) -> None:
    play >> {**request(1, "ping"), "traceparent": "00-1", "meta": None} << response(1, {})


@pytest.mark.requirement("base/ids-unique")
@pytest.mark.parametrize("method", ["ping", "tools/call", "no/such", "initialize"])
@pytest.mark.parametrize("build", [request, modern])
def test_an_id_in_flight_is_refused_and_the_first_call_goes_on(
    play: Playbook, method: str, build: Callable[..., Json]
) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> build(1, method, name="chat") << failure(1, -32600, "in flight")
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)
    play >> request(1, "ping") << response(1, {})


# --- notifications and responses ------------------------------------------------------------------------------------


@pytest.mark.requirement("cancellation/invalid-ignored")
@pytest.mark.requirement("base/notification-unanswered")
@pytest.mark.requirement("legacy/notification-unanswered")
@pytest.mark.parametrize(
    "message",
    [
        notification("notifications/initialized"),
        notification("notifications/roots/list_changed"),
        notification("notifications/progress", progressToken=1, progress=1),
        notification("no/such"),
        notification("ping"),
        notification("initialize"),
        notification("tools/call", name="nope"),
        notification("server/discover"),
        notification("subscriptions/listen"),
        notification("models/list"),
        notification("notifications/cancelled"),
        cancel(99),
        cancel(None),
        cancel([1]),
        cancel(1.5),
        {"jsonrpc": "2.0", "method": "ping", "params": [1]},
        {"jsonrpc": "1.0", "method": "ping"},
        {"method": "ping"},
        {"method": "ping", "result": 1},
    ],
)
def test_a_notification_is_never_answered_not_even_when_it_is_wrong(play: Playbook, message: object) -> None:
    play.connection.receive_data(json.dumps(message).encode() + b"\n")
    play.connection.next_event()
    assert play.connection.data_to_send() == b""
    assert play.connection.calls_in_flight == 0


@pytest.mark.parametrize("method", ["completion/complete", "models/list", "tools/call", "ping", "server/discover"])
def test_a_request_that_came_as_a_notification_is_worth_a_warning(play: Playbook, method: str) -> None:
    play >> notification(method, prompt="Hello!") << Remarked(Level.WARNING, f"{method} came without an id")


def test_an_unknown_notification_is_worth_a_debug_line(play: Playbook) -> None:
    play >> notification("notifications/roots/list_changed") << Remarked(Level.DEBUG, "roots/list_changed")


def test_what_the_log_is_told_of_a_peer_is_short_and_without_control_characters(play: Playbook) -> None:
    play >> notification("\x1b[2J\n" + "x" * 10_000) << Remarked(Level.DEBUG, r"\x1b[2J\nxxx")
    play >> {"jsonrpc": "2.0", "id": "\x1b\n" * 10_000, "result": {}} << Remarked(Level.DEBUG, r"\x1b\n")


def test_what_is_shown_of_a_peer_has_100_characters_and_what_is_more_is_left_out() -> None:
    whole, cut = "x" * 98, "x" * 99  # and two quotation marks
    assert shown(whole) == f"'{whole}'"
    assert shown(cut) == f"'{cut}…"


def test_what_is_answered_at_once_is_a_response(play: Playbook) -> None:
    play.connection.receive_message(read_message(request(1, "ping")), 1)
    play.connection.receive_message(read_message(request(2, "no/such")), 1)
    assert play.connection.next_event() is None
    assert [(one.is_response, one.code) for one in play.connection.messages_to_send()] == [(True, None), (True, -32601)]


@pytest.mark.requirement("transports/directions")
@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no"}},
        {"jsonrpc": "2.0", "result": 0},
        {"id": "server-1", "result": {"roots": []}},
    ],
)
def test_a_response_that_nobody_asked_for_is_ignored_with_a_debug_line(play: Playbook, message: object) -> None:
    play >> message << Remarked(Level.DEBUG, "a response that nobody asked for")


def test_a_response_with_the_id_of_a_call_does_not_touch_the_call(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> {"jsonrpc": "2.0", "id": 1, "result": {}} << Remarked(Level.DEBUG)
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)
