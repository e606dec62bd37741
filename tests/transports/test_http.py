"""Streamable HTTP, both eras: what is answered how, how calls are cancelled, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from tests.playbook import SUBSCRIPTION_ID, cancel, initialize, modern, notification, request
from tests.transports.posting import (
    BOTH,
    TOOL,
    House,
    Json,
    done,
    events,
    heard,
    house,
    modern_call,
    modern_fields,
    posted,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import Request
from openai_gateway_mcp.protocol.errors import Fault
from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.model import InputRequest, InputRequired, Result, Text, ToolResult
from openai_gateway_mcp.transports.callers import Caller, Unauthorized
from openai_gateway_mcp.transports.calls import Reporter


async def forever(_asked: ToolCalled, _reporter: Reporter) -> Result:
    await trio.sleep_forever()


async def reports(_asked: ToolCalled, reporter: Reporter) -> Result:
    reporter.progress(1, 2, "half")
    await trio.sleep(1)
    reporter.progress(2, 2, "whole")
    return ToolResult(content=(Text("done"),))


def call(id_: Json = 1, **params: Json) -> Json:
    return request(id_, "tools/call", name="do", **params)


# --- one message, one answer ----------------------------------------------------------------------------------------


async def test_the_one_line_of_curl_is_answered_with_json() -> None:
    answered = await house().post(request(1, "tools/list"), Accept="*/*")
    assert (answered.status, answered.headers["content-type"]) == (200, "application/json")
    assert answered.json["result"]["tools"][0]["name"] == "do"


@pytest.mark.requirement("http/json-or-events")
@pytest.mark.requirement("legacy/http-post")
@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/*", BOTH, "Application/JSON;q=0.5"])
async def test_what_is_said_at_once_is_json(accept: str) -> None:
    answered = await house().post(call(), Accept=accept)
    assert answered.json["result"]["content"][0]["text"] == "done"


@pytest.mark.requirement("http/accel")
async def test_a_client_that_takes_events_alone_gets_them() -> None:
    answered = await house().post(call(), Accept="text/event-stream")
    assert [message["id"] for message in events(answered)] == [1]
    assert answered.headers["x-accel-buffering"] == "no"


async def test_a_body_may_have_line_ends() -> None:
    answered = await house().post(json.dumps(call(), indent=2).encode())
    assert answered.json["id"] == 1


@pytest.mark.requirement("http/header-names")
async def test_a_modern_call() -> None:
    answered = await house().call()
    assert answered.status == 200
    assert answered.json["result"]["resultType"] == "complete"


async def test_an_answer_closes_nothing() -> None:
    one = house()
    async with one.connection() as stream:
        for id_ in (1, 2):
            await stream.send_all(posted(call(id_), connection="keep-alive"))
            assert b'"id":%d' % id_ in await stream.receive_some()


@pytest.mark.requirement("http/notification-202")
@pytest.mark.requirement("legacy/http-post")
@pytest.mark.parametrize(
    "message",
    [
        notification("notifications/initialized"),
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        cancel(1),
        cancel(None),
        [notification("notifications/initialized")],
    ],
)
async def test_what_is_not_to_be_answered_is_accepted(message: Json) -> None:
    answered = await house().post(message)
    assert (answered.status, answered.body) == (202, b"")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Mcp_Protocol_Version": "1999-01-01"}, 400),
        ({"Content_Type": "text/plain"}, 415),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
async def test_a_notification_that_is_wrong_has_an_http_error(fields: dict[str, str], status: int) -> None:
    assert (await house().post(notification("notifications/initialized"), **fields)).status == status


async def test_a_batch_is_answered_by_an_array() -> None:
    answered = await house().post([call(1), request(2, "ping"), notification("notifications/initialized")])
    assert {one["id"] for one in answered.json} == {1, 2}


async def test_a_batch_of_another_revision_is_refused() -> None:
    answered = await house().post([call(1)], Mcp_Protocol_Version="2025-06-18")
    assert (answered.status, answered.json["error"]["code"]) == (200, -32600)


async def test_an_unknown_method_of_the_legacy_era_is_200() -> None:
    answered = await house().post(request(1, "no/such"))
    assert (answered.status, answered.json["error"]["code"]) == (200, -32601)


@pytest.mark.requirement("legacy/http-session")
async def test_an_opening_is_given_a_session_that_no_request_needs() -> None:
    one = house()
    first, second = [await one.post(initialize(1)) for _ in range(2)]
    assert first.headers["mcp-session-id"] != second.headers["mcp-session-id"]
    assert len(first.headers["mcp-session-id"]) >= 32
    assert first.json["result"]["protocolVersion"] == "2025-11-25"
    assert "mcp-session-id" not in (await one.post(call())).headers


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("http/json-or-events")
@pytest.mark.requirement("http/response-ends-the-stream")
async def test_progress_comes_before_the_answer(autojump_clock: MockClock) -> None:
    said = events(await house(reports).call(token="t"))
    assert [message.get("method") for message in said] == ["notifications/progress"] * 2 + [None]
    assert said[0]["params"]["progressToken"] == "t"
    assert said[2]["result"]["content"][0]["text"] == "done"


@pytest.mark.requirement("http/own-notifications")
@pytest.mark.requirement("legacy/http-one-stream")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_each_message_goes_out_on_the_stream_of_its_own_request(era: str, autojump_clock: MockClock) -> None:
    """Two calls and a subscription at once, while what is offered changes."""
    one = house(reports)
    told: dict[str, list[Json]] = {}

    async def ask(name: str) -> None:
        legacy = call(_meta={"progressToken": name}), {"Accept": BOTH}
        message, fields = modern_call(token=name) if era == "modern" else legacy
        told[name] = events(await one.post(message, **fields))

    async def subscribe() -> None:
        message, fields = listen()
        told["listen"] = events(await one.post(message, **fields))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscribe)
        nursery.start_soon(ask, "a")
        nursery.start_soon(ask, "b")
        await trio.sleep(0.5)
        one.server = attrs.evolve(one.server, tools=(*one.server.tools, attrs.evolve(TOOL, name="more")))
        one.endpoint.offer()
        await trio.sleep(1)
        one.endpoint.drain()
    for name in ("a", "b"):
        *reported, answer = told[name]
        assert [message["params"]["progressToken"] for message in reported] == [name, name]
        assert answer["result"]["content"][0]["text"] == "done"
    assert [message.get("method") for message in told["listen"]] == [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
        None,
    ]


async def test_who_takes_no_events_gets_no_progress(autojump_clock: MockClock) -> None:
    answered = await house(reports).call(token="t", Accept="application/json")
    assert answered.json["result"]["content"][0]["text"] == "done"


async def test_progress_of_a_batch_and_its_array(autojump_clock: MockClock) -> None:
    batch = [call(1, _meta={"progressToken": 1}), call(2)]
    said = events(await house(reports).post(batch, Accept=BOTH))
    assert [type(message) for message in said] == [dict, dict, list]
    assert len(said[2]) == 2


async def test_a_reader_that_stands_still_gets_no_more_reports(autojump_clock: MockClock) -> None:
    async def tells(_asked: ToolCalled, reporter: Reporter) -> Result:
        for number in range(1_000):
            reporter.progress(number, None, "x" * 10_000)
            await trio.sleep(1)
        return ToolResult(content=(Text("done"),))

    one = house(tells)
    async with one.connection() as stream:
        message, fields = modern_call(token=1)
        await stream.send_all(posted(message, **fields))
        await trio.sleep(900)
        said = b""
        while piece := await stream.receive_some():
            said += piece
    assert heard(said)[-1]["result"]


async def test_silence_is_broken_by_a_sign_of_life(autojump_clock: MockClock) -> None:
    async def slow(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.sleep(40)
        return ToolResult(content=(Text("done"),))

    said = events(await house(slow).call())
    assert said[:2] == [..., ...]
    assert said[2]["id"] == 1
    answered = await house(slow).call(Accept="application/json")
    assert answered.json["id"] == 1


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "status"), [(-32601, 404), (-32021, 400), (-32602, 200), (4711, 200)])
async def test_the_status_says_what_an_error_s_code_says(code: int, status: int) -> None:
    async def fails(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.lowlevel.checkpoint()
        raise Fault(code, "no")

    answered = await house(fails).call()
    assert (answered.status, answered.json["error"]["code"]) == (status, code)
    assert (await house(fails).post(call())).status == 200


@pytest.mark.requirement("base/missing-meta-http")
async def test_a_question_that_the_client_cannot_be_asked_is_400() -> None:
    async def asks(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.lowlevel.checkpoint()
        return InputRequired(requests={"r": InputRequest(method="roots/list")}, state="s")

    answered = await house(asks).call()
    assert (answered.status, answered.json["error"]["code"]) == (400, -32021)


async def test_a_crash_is_an_internal_error_and_a_remark() -> None:
    async def crashes(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError("sk-canary")

    one = house(crashes)
    answered = await one.call()
    assert answered.json["error"] == {"code": -32603, "message": "Internal error"}
    assert "ZeroDivisionError" in one.remarks[0].text


TOO_LONG = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"%b"}}' % (b"a" * 2_000)


@pytest.mark.requirement("http/origin")
@pytest.mark.requirement("legacy/http-origin")
@pytest.mark.parametrize(
    ("body", "fields", "status", "code"),
    [
        (b"{", {}, 400, -32700),
        (call(), {"Content_Type": "text/plain"}, 415, -32600),
        (call(), {"Content_Type": "application/json; charset=latin-1"}, 415, -32600),
        (call(), {"Content_Type": ""}, 415, -32600),
        (call(), {"Content_Type": "multipart/form-data; boundary=x"}, 415, -32600),
        (call(), {"Accept": "text/html"}, 406, -32600),
        (TOO_LONG, {}, 413, -32700),
        (call(), {"Host": "evil.example"}, 403, -32600),
        (call(), {"Host": "localhost.evil.example"}, 403, -32600),
        (call(), {"Origin": "https://evil.example"}, 403, -32600),
        (call(), {"Origin": "null"}, 403, -32600),
        (call(), {"Origin": "http://localhost:4000"}, 403, -32600),
        (call(), {"Origin": "https://localhost:3000"}, 403, -32600),
        (call(), {"Mcp_Protocol_Version": "1999-01-01"}, 400, -32022),
        (modern(1, "tools/call", name="do"), {}, 400, -32020),
        (modern(1, "tools/call", name="do"), {**modern_fields("tools/call", "other")}, 400, -32020),
        (modern(1, "ping"), modern_fields("ping"), 404, -32601),
        (modern(1, "initialize"), modern_fields("initialize"), 404, -32601),
        (request(1, "tools/list"), modern_fields("tools/list"), 400, -32602),
        (modern(1, "subscriptions/listen", notifications={}),
         {**modern_fields("subscriptions/listen"), "Accept": "application/json"}, 406, -32600),
        (b"", {"Transfer_Encoding": "chunked"}, 400, -32600),
        (b"", {"Content_Length": "1, 1"}, 400, -32600),
    ],
)  # fmt: skip
async def test_a_request_that_is_wrong(body: Json, fields: dict[str, str], status: int, code: int) -> None:
    one = house(max_message_bytes=1_000)
    answered = await one.post(body, **fields)
    assert (answered.status, answered.json["error"]["code"]) == (status, code)
    assert one.started == []


@pytest.mark.parametrize("fields", [{"Origin": "http://localhost:3000"}, {"Host": "127.0.0.1:1"}, {"Host": "[::1]:3"}])
async def test_this_machine_and_its_own_pages_are_let_in(fields: dict[str, str]) -> None:
    assert (await house().post(call(), **fields)).status == 200


@pytest.mark.requirement("http/origin")
async def test_origins_and_hosts_that_are_allowed() -> None:
    admission = Admission.of(bound="192.0.2.1", hosts=["mcp.example"], origins=["https://app.example"])
    one = house(admission=admission)
    assert (await one.post(call(), Host="mcp.example", Origin="https://app.example")).status == 200
    assert (await one.post(call(), Host="mcp.example", Origin="http://mcp.example")).status == 200
    assert (await one.post(call(), Host="other.example")).status == 403


async def test_where_any_host_will_do_no_page_is_our_own() -> None:
    one = house(admission=Admission.of(bound="192.0.2.1", hosts=(), origins=()))
    assert (await one.post(call(), Host="evil.example")).status == 200
    assert (await one.post(call(), Host="evil.example", Origin="http://evil.example")).status == 403


@pytest.mark.requirement("http/get-delete")
@pytest.mark.requirement("legacy/http-get")
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
async def test_only_posts_are_served(method: str) -> None:
    answered = await house().post(b"", method=method, Accept="text/event-stream")
    assert (answered.status, answered.headers["allow"]) == (405, "POST")
    assert "HTTP+SSE of 2024-11-05" in answered.json["error"]["message"]


@pytest.mark.parametrize(("path", "words"), [("/sse", "Streamable HTTP"), ("/messages", "POST /mcp"), ("/", "/mcp")])
async def test_other_paths_say_where_it_is(path: str, words: str) -> None:
    answered = await house().post(b"", path, method="GET")
    assert answered.status == 404
    assert words in answered.json["error"]["message"]


async def test_health_and_documents_are_for_reading() -> None:
    one = house(documents={"/doc": b"{}"})
    assert (await one.post(b"", "/health", method="GET")).json == {"status": "ok"}
    assert (await one.post(b"", "/doc", method="GET")).json == {}
    assert (await one.post(b"", "/doc")).status == 405
    one.endpoint.drain()
    answered = await one.post(b"", "/health", method="GET")
    assert (answered.status, answered.json) == (503, {"status": "draining"})


# --- who asks -------------------------------------------------------------------------------------------------------


async def by_name(asked: Request) -> Caller:
    await trio.lowlevel.checkpoint()
    name = asked.headers.get("x-name")
    if name is None:
        raise Unauthorized(401, "Bearer", "Who are you?")
    return Caller(identity=name, tools=("d*",))


async def test_who_says_nothing_is_turned_away_before_the_body() -> None:
    one = house(verify=by_name)
    async with one.connection() as stream:
        await stream.send_all(posted(b"", content_length="1000000"))
        said = b""
        while piece := await stream.receive_some():
            said += piece
    assert said.startswith(b"HTTP/1.1 401")
    assert b"www-authenticate: Bearer\r\n" in said


@pytest.mark.requirement("tools/access-control")
async def test_a_tool_that_is_out_of_reach_says_what_it_takes() -> None:
    one = house(verify=by_name, lacks="tools:do")
    answered = await one.post(call(), X_Name="a")
    assert answered.status == 403
    assert answered.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="tools:do"'
    assert (await one.post(request(1, "tools/call", name=3), X_Name="a")).json["error"]["code"] == -32602
    assert (await one.post([call()], X_Name="a")).status == 200  # its calls are refused by what answers them


# --- cancellation ---------------------------------------------------------------------------------------------------


async def begun(one: House, message: Json, nursery: trio.Nursery, **fields: str) -> list[Any]:
    """A call that runs; the list will hold its answer."""
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await one.post(message, **fields))

    before = len(one.started)
    nursery.start_soon(ask)
    while len(one.started) == before:
        await wait_all_tasks_blocked()
    return answers


@pytest.mark.requirement("http/disconnect")
@pytest.mark.requirement("cancellation/http")
async def test_who_leaves_cancels() -> None:
    one = house(forever)
    message, fields = modern_call(7)
    async with one.connection() as stream:
        await stream.send_all(posted(message, **fields))
        await wait_all_tasks_blocked()
        assert one.started == [7]
    await wait_all_tasks_blocked()
    assert one.cancelled == [7]


async def test_a_legacy_cancellation_ends_its_call() -> None:
    one = house(forever)
    async with trio.open_nursery() as nursery:
        answers = await begun(one, call(7), nursery, Mcp_Session_Id="s", Accept=BOTH)
        await one.post(cancel(7), Mcp_Session_Id="s")
    assert one.cancelled == [7]
    assert (answers[0].status, answers[0].body) == (202, b"")


async def test_a_stream_that_is_cancelled_ends_without_an_answer(autojump_clock: MockClock) -> None:
    one = house(forever)
    async with trio.open_nursery() as nursery:
        answers = await begun(one, call(7), nursery, Mcp_Session_Id="s", Accept=BOTH)
        await trio.sleep(20)
        await one.post(cancel(7), Mcp_Session_Id="s")
    assert events(answers[0]) == [...]


@pytest.mark.parametrize(
    ("id_", "fields"),
    [
        (8, {"Mcp_Session_Id": "s", "X_Name": "a"}),
        ("7", {"Mcp_Session_Id": "s", "X_Name": "a"}),
        (7, {"Mcp_Session_Id": "other", "X_Name": "a"}),
        (7, {"Mcp_Session_Id": "s", "X_Name": "b"}),
        (7, {"X_Name": "a"}),
        (7, {"Mcp_Session_Id": "s" * 300, "X_Name": "a"}),
    ],
)
async def test_nobody_else_cancels_it(id_: Json, fields: dict[str, str]) -> None:
    one = house(forever, verify=by_name)
    async with trio.open_nursery() as nursery:
        await begun(one, call(7), nursery, Mcp_Session_Id="s", X_Name="a")
        assert (await one.post(cancel(id_), **fields)).status == 202
        assert one.cancelled == []
        nursery.cancel_scope.cancel()


async def test_without_a_session_nothing_is_cancelled() -> None:
    one = house(forever)
    async with trio.open_nursery() as nursery:
        await begun(one, call(7), nursery)
        await one.post(cancel(7))
        assert one.cancelled == []
        nursery.cancel_scope.cancel()


async def test_one_entry_of_a_batch_is_cancelled() -> None:
    async def first_waits(asked: ToolCalled, reporter: Reporter) -> Result:
        return await (forever if asked.call.id == 1 else done)(asked, reporter)

    one = house(first_waits)
    async with trio.open_nursery() as nursery:
        answers = await begun(one, [call(1), call(2), 3, {"id": None}], nursery, Mcp_Session_Id="s")
        await one.post(cancel(1), Mcp_Session_Id="s")
    assert {message["id"] for message in answers[0].json} == {2, None}


async def test_an_id_in_flight_is_not_taken_twice() -> None:
    one = house(forever)
    async with trio.open_nursery() as nursery:
        await begun(one, call(7), nursery, Mcp_Session_Id="s")
        answered = await one.post(call(7), Mcp_Session_Id="s")
        assert (answered.status, answered.json["error"]["code"], answered.json["id"]) == (400, -32600, 7)
        assert (await one.post([call(7), call(8)], Mcp_Session_Id="s")).json["id"] is None
        await begun(one, call(7), nursery, Mcp_Session_Id="other")
        nursery.cancel_scope.cancel()


# --- many -----------------------------------------------------------------------------------------------------------


async def test_calls_take_their_turn_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_gateway_mcp.transports.http.MAX_WAITING", 2)
    gate = trio.Event()

    async def waits(asked: ToolCalled, reporter: Reporter) -> Result:
        await gate.wait()
        return await done(asked, reporter)

    one = house(waits, max_in_flight=1)
    answers: list[int] = []

    async def ask(id_: int) -> None:
        answers.append((await one.call(id_)).status)

    async with trio.open_nursery() as nursery:
        for id_ in range(3):
            nursery.start_soon(ask, id_)
            await wait_all_tasks_blocked()
        assert one.started == [0]
        refused = await one.call(9)
        assert (refused.status, refused.json["error"]["code"]) == (503, 1008)
        gate.set()
    assert answers == [200] * 3


# --- subscriptions --------------------------------------------------------------------------------------------------


def listen(id_: Json = 5, **notifications: bool) -> tuple[Json, dict[str, str]]:
    message = modern(id_, "subscriptions/listen", notifications=notifications or {"toolsListChanged": True})
    return message, modern_fields("subscriptions/listen")


async def test_a_subscription_is_told_and_ended_with_its_result(autojump_clock: MockClock) -> None:
    one = house()
    message, fields = listen()
    async with one.connection() as stream:
        await stream.send_all(posted(message, **fields))
        await trio.sleep(16)
        one.server = attrs.evolve(one.server, tools=())
        one.endpoint.offer()
        await trio.sleep(1)
        one.endpoint.drain()
        said = b""
        while piece := await stream.receive_some():
            said += piece
    first, beat, second, result = heard(said)
    assert beat is ...
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert second["method"] == "notifications/tools/list_changed"
    assert (result["id"], result["result"]["resultType"]) == (5, "complete")
    tagged = (first["params"], second["params"], result["result"])
    assert {one["_meta"][SUBSCRIPTION_ID] for one in tagged} == {5}


async def test_so_many_subscriptions_are_open_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_gateway_mcp.transports.http.MAX_LISTENS", 1)
    one = house()
    message, fields = listen()
    async with one.connection() as stream:
        await stream.send_all(posted(message, **fields))
        await wait_all_tasks_blocked()
        refused = await one.post(message, **fields)
        assert (refused.status, refused.json["error"]["code"]) == (503, 1008)


async def test_a_subscription_that_is_asked_for_while_the_server_begins_to_stop_is_not_opened() -> None:
    one = house()
    message, fields = listen()
    raw = posted(message, **fields)
    async with one.connection() as stream:
        await stream.send_all(raw[:-10])
        await wait_all_tasks_blocked()
        one.endpoint.drain()
        await stream.send_all(raw[-10:])
        said = b""
        while piece := await stream.receive_some():
            said += piece
    assert said.startswith(b"HTTP/1.1 503")


# --- the end --------------------------------------------------------------------------------------------------------


async def test_a_server_that_stops_takes_nothing_new_and_ends_what_it_has() -> None:
    gate = trio.Event()

    async def waits(asked: ToolCalled, reporter: Reporter) -> Result:
        await gate.wait()
        return await done(asked, reporter)

    one = house(waits)
    async with trio.open_nursery() as nursery:
        answers = await begun(one, call(1), nursery)
        one.endpoint.drain()
        refused = await one.post(call(2))
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        gate.set()
    assert answers[0].json["result"]["content"][0]["text"] == "done"
