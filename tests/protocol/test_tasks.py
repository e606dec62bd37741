"""The tasks extension: who may be answered with a task, what is asked of it, and what a subscription is told."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from tests.playbook import (
    CAPABILITIES,
    SUBSCRIPTION_ID,
    Json,
    Withdrawn,
    cancel,
    failure,
    handed,
    meta,
    modern,
    notification,
    playbook,
    request,
)
from tests.protocol.offering import FULL

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.dress import tool_result
from openai_gateway_mcp.protocol.errors import LocalProtocolError
from openai_gateway_mcp.protocol.events import CallCancelled, Era, TaskAsked, TasksWatched, TaskVerb, ToolCalled
from openai_gateway_mcp.protocol.jsonrpc import read_message
from openai_gateway_mcp.protocol.model import (
    ExtensionResult,
    InputRequest,
    Task,
    TaskCreated,
    TaskShown,
    TaskStatus,
    Text,
    ToolResult,
)
from openai_gateway_mcp.protocol.params import TASKS_EXTENSION
from openai_gateway_mcp.protocol.revisions import REVISIONS

OFFER = attrs.evolve(FULL, offers_tasks=True)
KNOWS: dict[str, Any] = {"extensions": {TASKS_EXTENSION: {}}}
REQUIRED = {"requiredCapabilities": KNOWS}
WORKING = Task(
    id="t1", status=TaskStatus.WORKING, created="2026-11-27T07:00:00.000Z", updated="…", ttl_ms=9000, poll_ms=100
)
SHAPE = {
    "taskId": "t1",
    "status": "working",
    "createdAt": "2026-11-27T07:00:00.000Z",
    "lastUpdatedAt": "…",
    "ttlMs": 9000,
    "pollIntervalMs": 100,
}
CALL = {"name": FULL.tools[0].name, "arguments": {}}


def knowing(id_: Json, method: str, **params: Json) -> Json:
    """A request of a client that takes tasks for an answer."""
    return request(id_, method, **params, _meta=meta() | {CAPABILITIES: KNOWS})


def asked(message: Json, server: Any = OFFER) -> tuple[Connection, Any]:
    connection = Connection(server)
    connection.receive_message(read_message(message), 10)
    return connection, connection.next_event()


def answer_of(connection: Connection) -> Json:
    (message,) = connection.messages_to_send()
    return json.loads(message.data)


# --- who and what ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("versioning/extension-names")
def test_discovery_tells_that_tasks_are_offered() -> None:
    connection, _ = asked(modern(1, "server/discover"))
    assert answer_of(connection)["result"]["capabilities"]["extensions"] == KNOWS["extensions"]
    connection, _ = asked(modern(1, "server/discover"), FULL)
    assert "extensions" not in answer_of(connection)["result"]["capabilities"]


@pytest.mark.requirement("base/result-types-known")
@pytest.mark.requirement("tasks/result-type")
def test_a_call_of_a_client_that_knows_tasks_may_be_answered_with_one() -> None:
    connection, work = asked(knowing(1, "tools/call", **CALL))
    assert isinstance(work, ToolCalled)
    ask = {"a": InputRequest(method="roots/list")}
    done = attrs.evolve(WORKING, result={"content": []}, error={"code": 1}, requests=ask, message="soon")
    connection.answer(work.call, TaskCreated(done))
    result = answer_of(connection)["result"]
    del result["_meta"]
    assert result == SHAPE | {"resultType": "task", "statusMessage": "soon"}


@pytest.mark.requirement("versioning/extension-fallback")
@pytest.mark.requirement("tasks/only-declared")
@pytest.mark.parametrize("message", [modern(1, "tools/call", **CALL), request(1, "tools/call", **CALL)])
def test_a_client_that_does_not_is_never(message: Json) -> None:
    connection, work = asked(message)
    with pytest.raises(LocalProtocolError, match=r"^this client takes no task for an answer$"):
        connection.answer(work.call, TaskCreated(WORKING))


@pytest.mark.requirement("tasks/shown")
@pytest.mark.requirement("tasks/complete")
@pytest.mark.parametrize(
    ("task", "more"),
    [
        (WORKING, {"status": "working"}),
        (
            attrs.evolve(WORKING, status=TaskStatus.FAILED, error={"code": 1}, message="no"),
            {"status": "failed", "error": {"code": 1}, "statusMessage": "no"},
        ),
        (attrs.evolve(WORKING, status=TaskStatus.CANCELLED, ttl_ms=None), {"status": "cancelled", "ttlMs": None}),
        (
            attrs.evolve(WORKING, status=TaskStatus.INPUT_REQUIRED, requests={"a": InputRequest(method="roots/list")}),
            {"status": "input_required", "inputRequests": {"a": {"method": "roots/list", "params": {}}}},
        ),
    ],
)
def test_a_task_is_shown_with_all_that_is_known_of_it(task: Task, more: Json) -> None:
    connection, work = asked(knowing(1, "tasks/get", taskId="t1"))
    assert (work.verb, work.task_id) == (TaskVerb.GET, "t1")
    connection.answer(work.call, TaskShown(task))
    result = answer_of(connection)["result"]
    del result["_meta"]
    assert result == SHAPE | {"resultType": "complete"} | more


@pytest.mark.requirement("tasks/shown")
def test_a_task_that_works_or_waits_for_its_client_may_still_change() -> None:
    assert [status for status in TaskStatus if not status.is_final] == [TaskStatus.WORKING, TaskStatus.INPUT_REQUIRED]


@pytest.mark.requirement("tasks/result")
def test_the_result_in_a_task_is_exactly_what_the_call_would_have_been_answered_with() -> None:
    """specification/draft/tasks.md, Task Execution Errors. npm's ext-tasks 0.2.2 takes none without its resultType."""
    said = ToolResult(content=(Text("Hello"),))
    connection, work = asked(knowing(1, "tools/call", **CALL))
    connection.answer(work.call, said)
    at_once = answer_of(connection)["result"]
    done = attrs.evolve(WORKING, status=TaskStatus.COMPLETED, result=tool_result(said, REVISIONS[work.call.revision]))
    connection, work = asked(knowing(1, "tasks/get", taskId="t1"))
    connection.answer(work.call, TaskShown(done))
    shown = answer_of(connection)["result"]
    assert (shown["status"], shown["result"]) == ("completed", at_once)
    assert at_once["resultType"] == "complete"


def test_answers_of_the_client_come_with_an_update() -> None:
    _, work = asked(knowing(1, "tasks/update", taskId="t1", inputResponses={"a": {"action": "accept"}}))
    assert isinstance(work, TaskAsked)
    assert (work.verb, work.responses) == (TaskVerb.UPDATE, {"a": {"action": "accept"}})
    _, work = asked(knowing(1, "tasks/cancel", taskId="t1"))
    assert (work.verb, work.responses) == (TaskVerb.CANCEL, {})


@pytest.mark.requirement("tasks/complete")
@pytest.mark.requirement("tasks/update")
@pytest.mark.parametrize("method", ["tasks/update", "tasks/cancel"])
def test_what_is_updated_or_cancelled_is_acknowledged_without_more(method: str) -> None:
    connection, work = asked(knowing(1, method, taskId="t1", inputResponses={}))
    connection.answer(work.call, ExtensionResult(value={}))
    result = answer_of(connection)["result"]
    del result["_meta"]
    assert result == {"resultType": "complete"}


@pytest.mark.requirement("tasks/ignored")
def test_a_legacy_call_that_asks_for_a_task_is_an_ordinary_one() -> None:
    """2025-11-25: who declares no tasks ignores what would make one."""
    connection, work = asked(request(1, "tools/call", **CALL, task={"ttl": 60_000}))
    assert isinstance(work, ToolCalled)
    connection.answer(work.call, ToolResult(content=(Text("Hello"),)))
    assert answer_of(connection)["result"] == {"content": [{"type": "text", "text": "Hello"}], "isError": False}


@pytest.mark.requirement("tasks/methods-declared")
@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_who_has_not_declared_it_is_told_what_is_missing(method: str) -> None:
    connection, work = asked(modern(1, method, taskId="t1", inputResponses={}))
    assert work is None
    error = answer_of(connection)["error"]
    assert (error["code"], error["data"]) == (-32021, REQUIRED)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_where_none_are_offered_and_in_the_legacy_era_the_methods_are_unknown(method: str) -> None:
    for message, server in ((knowing(1, method, taskId="t1"), FULL), (request(1, method, taskId="t1"), OFFER)):
        connection, _ = asked(message, server)
        assert answer_of(connection)["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tasks/get", {}),
        ("tasks/get", {"taskId": 7}),
        ("tasks/update", {"taskId": "t1"}),
        ("tasks/update", {"taskId": "t1", "inputResponses": []}),
        ("tasks/update", {"taskId": "t1", "inputResponses": {"a": 7}}),
        ("subscriptions/listen", {"notifications": {"taskIds": "t1"}}),
        ("subscriptions/listen", {"notifications": {"taskIds": [7]}}),
        ("subscriptions/listen", {"notifications": {"taskIds": [str(number) for number in range(65)]}}),
    ],
)
def test_what_is_wrong_is_named(method: str, params: Json) -> None:
    connection, work = asked(knowing(1, method, **params))
    assert work is None
    assert answer_of(connection)["error"]["code"] == -32602


# --- subscriptions --------------------------------------------------------------------------------------------------


def told(id_: Json, **more: Json) -> Json:
    return notification("notifications/tasks", **SHAPE | more, _meta={SUBSCRIPTION_ID: id_})


def acknowledged(id_: Json, **granted: Json) -> Json:
    return notification("notifications/subscriptions/acknowledged", notifications=granted, _meta={SUBSCRIPTION_ID: id_})


def test_a_subscription_is_told_what_becomes_of_its_tasks_until_it_is_cancelled() -> None:
    with playbook(OFFER) as play:
        play >> knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1", "t1"], "toolsListChanged": True})
        play << acknowledged(5, taskIds=["t1"], toolsListChanged=True) << handed(TasksWatched, 5, task_ids=("t1",))
        play.task_changed(5, WORKING) << told(5)
        play.task_changed(5, attrs.evolve(WORKING, status=TaskStatus.CANCELLED)) << told(5, status="cancelled")
        play >> cancel(5) << Withdrawn(5)
        play.task_changed(5, WORKING).finish(5)


def test_a_subscription_is_told_the_result_as_the_call_would_have_been() -> None:
    connection, work = asked(knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1"]}))
    assert list(connection.messages_to_send())  # the acknowledgement
    connection.task_changed(work.call, attrs.evolve(WORKING, status=TaskStatus.COMPLETED, result={"content": []}))
    result = answer_of(connection)["params"]["result"]
    assert (result["resultType"], result["content"]) == ("complete", [])
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["title"] == OFFER.title


def test_a_watch_knows_of_its_client_what_any_call_knows() -> None:
    with playbook(OFFER) as play:
        message = knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1"]})
        play >> message << acknowledged(5, taskIds=["t1"]) << handed(TasksWatched, 5)
        call = play.calls[5]
        assert (call.method, call.revision, call.era) == ("subscriptions/listen", "2026-07-28", Era.MODERN)
        assert (call.meta, call.capabilities) == (message["params"]["_meta"], KNOWS)
        assert call.wants_progress is False
        play >> cancel(5) << Withdrawn(5)


def test_a_subscription_watches_64_tasks_at_most() -> None:
    ids = [str(number) for number in range(64)]
    with playbook(OFFER) as play:
        play >> knowing(5, "subscriptions/listen", notifications={"taskIds": ids}) << acknowledged(5, taskIds=ids)
        play << handed(TasksWatched, 5, task_ids=tuple(ids))


def test_a_subscription_that_takes_the_id_of_one_that_was_cancelled_is_not_told_of_its_tasks() -> None:
    with playbook(OFFER) as play:
        play >> knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1"]})
        play << acknowledged(5, taskIds=["t1"]) << handed(TasksWatched, 5)
        play >> cancel(5) << Withdrawn(5)
        play >> modern(5, "subscriptions/listen", notifications={}) << acknowledged(5)
        play.task_changed(5, WORKING).finish(5)


def test_a_call_is_told_nothing_of_tasks() -> None:
    with playbook(OFFER) as play:
        play >> knowing(5, "tools/call", **CALL) << handed(ToolCalled, 5)
        play.task_changed(5, WORKING)


@pytest.mark.requirement("tasks/watch-declared")
def test_a_client_without_the_capability_cannot_watch() -> None:
    with playbook(OFFER) as play:
        play >> modern(5, "subscriptions/listen", notifications={"taskIds": ["t1"]})
        play << failure(5, -32021, data=REQUIRED)


def test_a_server_without_tasks_grants_none() -> None:
    with playbook(FULL) as play:
        play >> knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1"]}) << acknowledged(5)
        play >> cancel(5)


def test_at_the_end_of_the_input_the_watch_is_called_off() -> None:
    connection = Connection(OFFER)
    connection.receive_message(read_message(knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1"]})), 1)
    work = connection.next_event()
    assert isinstance(work, TasksWatched)
    connection.receive_data(b"")
    ended = connection.next_event()
    assert isinstance(ended, CallCancelled)
    assert ended.call is work.call
    assert connection.next_event() is None
    connection.finished(work.call)
    assert connection.calls_in_flight == 0
    assert connection.is_settled


def test_a_watch_that_is_over_leaves_its_subscription_open() -> None:
    connection = Connection(OFFER)
    connection.receive_message(read_message(knowing(5, "subscriptions/listen", notifications={"taskIds": ["t1"]})), 1)
    work = connection.next_event()
    assert isinstance(work, TasksWatched)
    connection.messages_to_send()
    connection.answer(work.call, TaskShown(WORKING))
    connection.finished(work.call)
    assert connection.messages_to_send() == []
    assert not connection.is_settled
    connection.receive_message(read_message(cancel(5)), 1)
    assert connection.next_event() is None
    assert connection.is_settled
