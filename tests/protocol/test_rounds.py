"""Requests that take several rounds: the question, the answers that come back, and the state that nobody can forge."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import CAPABILITIES, meta, modern, request
from tests.protocol.offering import FULL as OFFER

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import Fault, LocalProtocolError
from openai_gateway_mcp.protocol.events import CallCancelled, Remark, ToolCalled, Work
from openai_gateway_mcp.protocol.jsonrpc import read_message
from openai_gateway_mcp.protocol.model import InputRequest, InputRequired, Result, Text, ToolResult
from openai_gateway_mcp.protocol.rounds import Seal

Json = Any
NAME = OFFER.tools[0].name
FORM = InputRequest(method="elicitation/create", params={"message": "Who?", "requestedSchema": {"type": "object"}})
URL = InputRequest(method="elicitation/create", params={"mode": "url", "message": "Go", "url": "https://a.example"})
SAMPLE = InputRequest(method="sampling/createMessage", params={"messages": [], "maxTokens": 1})
ROOTS = InputRequest(method="roots/list")
DONE = ToolResult(content=(Text("done"),))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def seal(clock: Clock = CLOCK, key: bytes = b"k" * 32) -> Seal:
    return Seal(key, now=clock)


def asked(message: Json, *, sealed: Seal | None = None, principal: str = "me") -> tuple[Connection, Work | None]:
    """What the application is handed for one message."""
    connection = Connection(OFFER, seal=sealed, principal=principal)
    read = read_message(message)
    connection.receive_message(read, 100)
    event = connection.next_event()
    assert not isinstance(event, CallCancelled | Remark)
    return connection, event


def said(connection: Connection) -> Json:
    (message,) = connection.messages_to_send()
    assert message.is_response
    value = json.loads(message.data)
    assert message.code == value.get("error", {}).get("code")
    return value


def call(capabilities: Json, **params: Json) -> Json:
    return modern(1, "tools/call", name=NAME, _meta=meta(**{CAPABILITIES: capabilities}), **params)


def answered(message: Json, result: Result, **how: Any) -> Json:
    """The answer on the wire."""
    connection, work = asked(message, **how)
    assert work is not None
    try:
        connection.answer(work.call, result)
    except Fault as fault:
        connection.fail(work.call, fault)
    return said(connection)


@pytest.mark.requirement("mrtr/unique-keys")
def test_a_question_and_its_answer() -> None:
    message = call({"elicitation": {}})
    result = answered(message, InputRequired(requests={"who": FORM}, state="s"), sealed=seal())["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"] == {"who": {"method": FORM.method, "params": FORM.params}}
    assert "ttlMs" not in result
    again = call({"elicitation": {}}, inputResponses={"who": {"action": "accept"}}, requestState=result["requestState"])
    _, work = asked(again, sealed=seal())
    assert work is not None
    assert work.call.input_responses == {"who": {"action": "accept"}}
    assert work.call.state == "s"
    assert work.call.capabilities == {"elicitation": {}}


def test_a_state_is_for_the_caller_of_the_connection_it_went_out_on() -> None:
    question = InputRequired(state="s")
    sealed = answered(call({}), question, sealed=seal(), principal="me")["result"]["requestState"]
    _, work = asked(call({}, requestState=sealed), sealed=seal(), principal="me")
    assert work is not None
    assert refused(call({}, requestState=sealed), sealed=seal(), principal="you")["code"] == -32602
    of_nobody = Connection(OFFER, seal=seal())
    of_nobody.receive_message(read_message(call({}, requestState=sealed)), 100)
    assert said(of_nobody)["error"]["code"] == -32602


def test_who_has_no_name_is_the_empty_one() -> None:
    sealed = seal().close("s", "", "tools/call", {"name": NAME})
    connection = Connection(OFFER, seal=seal())
    connection.receive_message(read_message(call({}, requestState=sealed)), 100)
    work = connection.next_event()
    assert isinstance(work, ToolCalled)
    assert work.call.state == "s"


def test_a_question_may_have_no_state_or_nothing_else() -> None:
    assert "requestState" not in answered(call({"roots": {}}), InputRequired(requests={"r": ROOTS}))["result"]
    assert "inputRequests" not in answered(call({}), InputRequired(state="s"), sealed=seal())["result"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": NAME}),
        ("prompts/get", {"name": "ask", "arguments": {"question": "?"}}),
        ("resources/read", {"uri": "a:b"}),
    ],
)
def test_three_requests_may_be_answered_with_a_question(method: str, params: dict[str, Json]) -> None:
    message = modern(1, method, **params, _meta=meta() | {CAPABILITIES: {"roots": {}}})
    result = answered(message, InputRequired(requests={"r": ROOTS}, state="s"), sealed=seal())["result"]
    assert result["inputRequests"] == {"r": {"method": "roots/list", "params": {}}}
    message["params"] |= {"inputResponses": {"r": {"roots": []}}, "requestState": result["requestState"]}
    _, work = asked(message, sealed=seal())
    assert work is not None
    assert (work.call.input_responses, work.call.state) == ({"r": {"roots": []}}, "s")


@pytest.mark.parametrize("message", [request(1, "tools/call", name=NAME), modern(1, "models/list")])
def test_a_call_that_was_asked_nothing_has_no_answers(message: Json) -> None:
    _, work = asked(message)
    assert work is not None
    assert (work.call.input_responses, work.call.state) == ({}, None)


@pytest.mark.requirement("base/capabilities")
@pytest.mark.requirement("mrtr/declared")
@pytest.mark.parametrize(
    ("capabilities", "question", "missing"),
    [
        ({}, FORM, {"elicitation": {}}),
        ({"elicitation": True}, FORM, {"elicitation": {}}),
        ({"elicitation": {}}, URL, {"elicitation": {"url": {}}}),
        ({"elicitation": {"form": {}}}, URL, {"elicitation": {"url": {}}}),
        ({"elicitation": {}}, SAMPLE, {"sampling": {}}),
        ({"sampling": {}}, ROOTS, {"roots": {}}),
    ],
)
def test_nobody_is_asked_for_what_they_cannot_give(capabilities: Json, question: InputRequest, missing: Json) -> None:
    error = answered(call(capabilities), InputRequired(requests={"q": question}))["error"]
    words = "This needs a client of MCP 2026-07-28 that can be asked for it"
    assert error == {"code": -32021, "message": words, "data": {"requiredCapabilities": missing}}


def test_who_says_that_it_can_is_asked() -> None:
    able: Json = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
    question = InputRequired(requests={"a": FORM, "b": URL, "c": SAMPLE, "d": ROOTS})
    assert len(answered(call(able), question)["result"]["inputRequests"]) == 4


def test_in_the_legacy_era_nobody_can_be_asked() -> None:
    message = request(1, "tools/call", name=NAME)
    assert answered(message, InputRequired(requests={"q": FORM}))["error"]["code"] == -32021


@pytest.mark.requirement("mrtr/only-three-methods")
@pytest.mark.requirement("mrtr/not-empty")
def test_a_handler_must_ask_for_something_where_questions_are_allowed() -> None:
    connection, work = asked(call({}))
    assert work is not None
    with pytest.raises(LocalProtocolError, match=r"^a question needs requests, or at least a state$"):
        connection.answer(work.call, InputRequired())
    with pytest.raises(LocalProtocolError, match=r"^a state needs a seal$"):
        connection.answer(work.call, InputRequired(state="s"))
    completion = modern(
        1, "completion/complete", ref={"type": "ref/prompt", "name": "p"}, argument={"name": "a", "value": ""}
    )
    connection, work = asked(completion)
    assert work is not None
    with pytest.raises(LocalProtocolError, match=r"^completion/complete cannot be answered with a question$"):
        connection.answer(work.call, InputRequired(state="s"))


# --- what comes back ------------------------------------------------------------------------------------------------


def refused(message: Json, **how: Any) -> Json:
    connection, work = asked(message, **how)
    assert work is None
    return said(connection)["error"]


@pytest.mark.requirement("mrtr/answers-validated")
@pytest.mark.parametrize("responses", [[], "x", {"who": 3}, {"who": None}])
def test_answers_must_be_objects(responses: Json) -> None:
    assert refused(call({}, inputResponses=responses))["code"] == -32602


def test_other_requests_have_no_rounds() -> None:
    message = modern(1, "models/list", inputResponses=3, requestState=4)
    _, work = asked(message)
    assert work is not None
    assert work.call.state is None


PARAMS = {"name": "t", "arguments": {"a": 1}}


@given(st.text())
def test_a_state_comes_back_as_it_went(state: str) -> None:
    sealed = seal().close(state, "me", "tools/call", PARAMS)
    assert sealed.isascii()
    assert seal().open(sealed, "me", "tools/call", {**PARAMS, "inputResponses": {}, "_meta": {}}) == state


@pytest.mark.requirement("mrtr/replay")
@pytest.mark.requirement("mrtr/request-state")
@pytest.mark.parametrize(
    "change",
    [
        {"principal": "you"},
        {"method": "prompts/get"},
        {"params": {"name": "t", "arguments": {"a": 2}}},
        {"params": {"name": "t"}},
    ],
)
def test_a_state_is_good_for_one_caller_s_one_request(change: dict[str, Any]) -> None:
    sealed = seal().close("s", "me", "tools/call", PARAMS)
    asked_for: dict[str, Any] = {"principal": "me", "method": "tools/call", "params": PARAMS, **change}
    with pytest.raises(Fault, match="not what this server sent"):
        seal().open(sealed, **asked_for)


def test_members_may_come_back_in_another_order() -> None:
    sealed = seal().close("s", "me", "tools/call", {"name": "t", "arguments": {"a": 1, "b": 2}})
    again = {"arguments": {"b": 2, "a": 1}, "name": "t"}
    assert seal().open(sealed, "me", "tools/call", again) == "s"


@pytest.mark.parametrize("state", ["", "a", "ab", "abc"])
def test_a_state_goes_through_a_url_and_a_header_as_it_is(state: str) -> None:
    sealed = seal().close(state, "me", "tools/call", PARAMS)
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", sealed)


def test_a_state_of_another_key_is_nobody_s() -> None:
    sealed = seal(key=b"o" * 32).close("s", "me", "tools/call", PARAMS)
    with pytest.raises(Fault):
        seal().open(sealed, "me", "tools/call", PARAMS)


@pytest.mark.requirement("mrtr/request-state")
@given(st.data())
def test_a_changed_state_is_refused(data: st.DataObject) -> None:
    sealed = seal().close("state", "me", "tools/call", PARAMS)
    place = data.draw(st.integers(0, len(sealed) - 1))
    letter = data.draw(st.characters(max_codepoint=127).filter(lambda one: one != sealed[place]))
    changed = sealed[:place] + letter + sealed[place + 1 :]
    with pytest.raises(Fault):
        seal().open(changed, "me", "tools/call", PARAMS)


@pytest.mark.parametrize("sealed", ["", ".", "x", "a.b.c", "é.é", "W10.W10"])
def test_what_is_no_state_is_refused(sealed: str) -> None:
    with pytest.raises(Fault):
        seal().open(sealed, "me", "tools/call", PARAMS)


@pytest.mark.requirement("mrtr/replay")
@pytest.mark.requirement("mrtr/request-state")
def test_a_state_expires() -> None:
    clock = Clock()
    sealed = seal(clock).close("s", "me", "tools/call", PARAMS)
    clock.now += 15 * 60
    assert seal(clock).open(sealed, "me", "tools/call", PARAMS) == "s"
    clock.now += 1
    with pytest.raises(Fault) as caught:
        seal(clock).open(sealed, "me", "tools/call", PARAMS)
    assert caught.value.message == "Invalid params: requestState has expired; make the request anew"


def test_without_a_seal_no_state_is_ours() -> None:
    assert refused(call({}, requestState="a.b"))["code"] == -32602
    assert refused(call({}, requestState=3), sealed=seal())["code"] == -32602
    assert refused(call({}, requestState="a.b"), sealed=seal())["code"] == -32602
