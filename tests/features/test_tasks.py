"""Calls that go on as tasks: for whom, what becomes of them, and that cancelling one reaches the provider."""

from __future__ import annotations

import functools
import re
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway_mcp.features import tasks
from openai_gateway_mcp.features.application import Application, describe
from openai_gateway_mcp.features.tasks import Job, Tasks
from openai_gateway_mcp.protocol.errors import INTERNAL_ERROR, Fault
from openai_gateway_mcp.protocol.events import Call, Era, TaskAsked, TasksWatched, TaskVerb, ToolCalled
from openai_gateway_mcp.protocol.model import (
    ExtensionResult,
    InputRequest,
    Result,
    Task,
    TaskCreated,
    TaskShown,
    TaskStatus,
    Text,
    ToolResult,
)
from tests.features.scripted import (
    DONE,
    Upstream,
    Watcher,
    delta,
    door_to,
    refuses,
    says,
    settings_of,
    streams,
)

KNOWS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
# What is silent for longer than TIMEOUT (30 s) is cut; these are only slow.
SLOW = streams(*(step for letter in "Hello" for step in (delta(letter), 20.0)), delta(finish="stop"), DONE)
ENDLESS = streams(*(step for _ in range(500) for step in (delta("x"), 20.0)))


def a_call(method: str, *, knows: bool = True) -> Call:
    return Call(
        id=1,
        method=method,
        revision="2026-07-28",
        era=Era.MODERN,
        wants_progress=True,
        meta={},
        capabilities=KNOWS if knows else {},
    )


@attrs.define
class Client:
    """A client of the modern era that takes tasks for an answer."""

    application: Application
    watcher: Watcher = attrs.field(factory=Watcher)

    async def chat(self, model: str, *, knows: bool = True) -> Result:
        event = ToolCalled(
            call=a_call("tools/call", knows=knows), name="chat", arguments={"prompt": "hi", "model": model}
        )
        return await self.application.handle(event, self.watcher)

    async def begin(self, model: str) -> Task:
        created = await self.chat(model)
        assert isinstance(created, TaskCreated)
        return created.task

    async def ask(self, verb: TaskVerb, task_id: str, **responses: Any) -> Result:
        event = TaskAsked(call=a_call(verb.value), verb=verb, task_id=task_id, responses=responses)
        return await self.application.handle(event, self.watcher)

    async def get(self, task_id: str) -> Task:
        shown = await self.ask(TaskVerb.GET, task_id)
        assert isinstance(shown, TaskShown)
        return shown.task

    async def watch(self, *task_ids: str) -> Watcher:
        watcher = Watcher()
        event = TasksWatched(call=a_call("subscriptions/listen"), task_ids=task_ids)
        assert await self.application.handle(event, watcher) == ExtensionResult(value={})
        return watcher


def test_tasks_are_offered_where_there_is_a_soft_deadline() -> None:
    assert describe(settings_of({})).offers_tasks
    assert not describe(settings_of({}, soft_deadline=None)).offers_tasks


async def test_what_ends_before_the_soft_deadline_is_answered_as_ever(autojump_clock: MockClock) -> None:
    async with door_to(Upstream(m1=says("Hello"), m2=refuses(400, "no"))) as door:
        client = Client(Application(settings_of(), door))
        result = await client.chat("m1")
        assert isinstance(result, ToolResult)
        assert result.content == (Text("Hello"),)
        assert client.watcher.reports[-1][1] == "5 characters received"
        refused = await client.chat("m2")
        assert isinstance(refused, ToolResult)
        assert refused.is_error


async def test_what_takes_longer_becomes_a_task_with_the_whole_answer(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=SLOW)
    async with door_to(upstream) as door:
        client = Client(Application(settings_of(), door))
        task = await client.begin("m1")
        assert (task.status, task.ttl_ms, len(task.id) >= 24) == (TaskStatus.WORKING, 3_600_000, True)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", task.created)
        assert await client.get(task.id) == task
        await trio.sleep(60)
        done = await client.get(task.id)
    assert done.status is TaskStatus.COMPLETED
    assert done.result is not None
    assert done.result["content"] == [{"type": "text", "text": "Hello"}]
    assert done.result["_meta"]["openai-gateway-mcp/finish_reason"] == "stop"
    assert upstream.bodies[0]["stream"] is True


async def test_how_far_it_is_stands_in_its_message(autojump_clock: MockClock) -> None:
    async with door_to(Upstream(m1=SLOW)) as door:
        client = Client(Application(settings_of(), door))
        task = await client.begin("m1")
        assert task.message == ""
        await trio.sleep(10)
        assert (await client.get(task.id)).message == "4 characters received"
        await trio.sleep(60)
        assert (await client.get(task.id)).message == ""


async def test_a_client_that_knows_no_tasks_gets_the_partial_answer(autojump_clock: MockClock) -> None:
    async with door_to(Upstream(m1=SLOW)) as door:
        result = await Client(Application(settings_of(), door)).chat("m1", knows=False)
    assert isinstance(result, ToolResult)
    (block,) = result.content
    assert isinstance(block, Text)
    assert "Partial answer" in block.text


async def test_an_error_that_comes_late_is_the_tasks_result(autojump_clock: MockClock) -> None:
    upstream = Upstream(
        m1=streams(
            *(step for _ in range(3) for step in (delta("x"), 20.0)),
            {"error": {"message": "it broke", "type": "server_error"}},
        )
    )
    async with door_to(upstream) as door:
        client = Client(Application(settings_of(), door))
        task = await client.begin("m1")
        await trio.sleep(2000)
        failed = await client.get(task.id)
    assert failed.status is TaskStatus.COMPLETED
    assert failed.result is not None
    assert failed.result["isError"] is True


async def test_cancelling_a_task_closes_the_connection_to_the_provider(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=ENDLESS)
    async with door_to(upstream) as door:
        client = Client(Application(settings_of(), door))
        task = await client.begin("m1")
        assert not upstream.streams[0].closed
        assert await client.ask(TaskVerb.CANCEL, task.id) == ExtensionResult(value={})
        await trio.testing.wait_all_tasks_blocked()
        assert [stream.closed for stream in upstream.streams] == [True]
        cancelled = await client.get(task.id)
        assert await client.ask(TaskVerb.CANCEL, task.id) == ExtensionResult(value={})
        assert await client.get(task.id) == cancelled
    assert (cancelled.status, cancelled.result) == (TaskStatus.CANCELLED, None)


async def test_cancelling_the_call_before_it_is_a_task_does_so_too(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=ENDLESS)
    async with door_to(upstream) as door:
        client = Client(Application(settings_of(), door))
        with trio.move_on_after(5):
            await client.chat("m1")
        await trio.testing.wait_all_tasks_blocked()
        assert upstream.streams[0].closed


async def test_when_the_door_closes_the_provider_is_told(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=ENDLESS)
    async with door_to(upstream) as door:
        await Client(Application(settings_of(), door)).begin("m1")
    assert upstream.streams[0].closed


@pytest.mark.parametrize("verb", TaskVerb)
async def test_another_callers_task_and_one_that_has_expired_are_not_there(
    verb: TaskVerb, autojump_clock: MockClock
) -> None:
    async with door_to(Upstream(m1=SLOW)) as door:
        shared = Tasks(door.start_soon)
        ada, ben = (Client(Application(settings_of(tenant=name), door, tasks=shared)) for name in ("ada", "ben"))
        task = await ada.begin("m1")
        for client, task_id in ((ben, task.id), (ada, "t"), (ada, "")):
            with pytest.raises(Fault, match="no such task"):
                await client.ask(verb, task_id)
        await trio.sleep(tasks.SECONDS_KEPT)
        with pytest.raises(Fault, match="no such task"):
            await ada.ask(verb, task.id)


async def test_a_subscription_is_told_each_change_until_all_have_ended(autojump_clock: MockClock) -> None:
    async with door_to(Upstream(m1=SLOW, m2=ENDLESS)) as door:
        client = Client(Application(settings_of(), door))
        first, second = await client.begin("m1"), await client.begin("m2")
        watchers: list[Watcher] = []

        async def watch() -> None:
            watchers.append(await client.watch(first.id, second.id, "unknown"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await trio.sleep(100)
            await client.ask(TaskVerb.CANCEL, second.id)
        assert [(task.id, task.status.value) for task in watchers[0].tasks] == [
            (first.id, "completed"),
            (second.id, "working"),
            (second.id, "cancelled"),
        ]
        assert [task.status.value for task in (await client.watch(first.id)).tasks] == ["completed"]
        assert (await client.watch("unknown")).tasks == []


@pytest.mark.parametrize("limit", ["MAX_RUNNING", "MAX_RUNNING_OF_ALL"])
async def test_too_many_tasks_are_answered_without(
    limit: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, limit, 2)
    async with door_to(Upstream(m1=ENDLESS)) as door:
        client = Client(Application(settings_of(), door))
        await client.begin("m1")
        await client.begin("m1")
        assert isinstance(await client.chat("m1"), ToolResult)


async def test_of_too_many_the_oldest_that_have_ended_are_forgotten(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_MAX_KEPT", 2)
    async with door_to(Upstream(m1=SLOW)) as door:
        client = Client(Application(settings_of(), door))
        first = await client.begin("m1")
        await trio.sleep(100)
        later = [await client.begin("m1") for _ in range(3)]
        with pytest.raises(Fault):
            await client.get(first.id)
        assert [(await client.get(task.id)).id for task in later] == [task.id for task in later]


# --- what a tool may do ---------------------------------------------------------------------------------------------


def dressed(result: ToolResult) -> dict[str, Any]:
    return {"content": [block.text for block in result.content if isinstance(block, Text)]}


async def test_a_tool_that_asks_becomes_a_task_at_once_and_goes_on_with_all_answers(autojump_clock: MockClock) -> None:
    async def tool(job: Job) -> ToolResult:
        given = await job.ask({"a": InputRequest(method="roots/list"), "b": InputRequest(method="roots/list")})
        again = await job.ask({"c": InputRequest(method="roots/list")})
        return ToolResult(content=(Text(f"{given['a']['x']}{given['b']['x']}{again['c']['x']}"),))

    async with trio.open_nursery() as nursery:
        shared = Tasks(nursery.start_soon)
        before = trio.current_time()
        task = await shared.run("ada", tool, Watcher(), dressed, patience=50)
        assert isinstance(task, Task)
        assert trio.current_time() == before
        await trio.testing.wait_all_tasks_blocked()
        assert shared.get("ada", task.id).requests.keys() == {"a", "b"}
        shared.update("ada", task.id, {"a": {"x": 1}, "odd": {}})
        assert shared.get("ada", task.id).status is TaskStatus.INPUT_REQUIRED
        assert shared.get("ada", task.id).requests.keys() == {"b"}
        shared.update("ada", task.id, {"a": {"x": 9}, "b": {"x": 2}})
        await trio.testing.wait_all_tasks_blocked()
        assert shared.get("ada", task.id).requests.keys() == {"c"}
        shared.update("ada", task.id, {"c": {"x": 3}})
        await trio.testing.wait_all_tasks_blocked()
        done = shared.get("ada", task.id)
        shared.update("ada", task.id, {"c": {"x": 4}})
        assert (done.status, done.result) == (TaskStatus.COMPLETED, {"content": ["123"]})
        assert shared.get("ada", task.id) == done


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Fault(-32602, "no such thing"), -32602, "no such thing"),
        (KeyError("sk-secret"), INTERNAL_ERROR, "Internal error"),
    ],
)
async def test_what_a_tool_raises_is_the_calls_error_or_the_tasks(
    error: Exception, code: int, message: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def tool(_job: Job, *, seconds: float) -> ToolResult:
        await trio.sleep(seconds)
        raise error

    async with trio.open_nursery() as nursery:
        shared = Tasks(nursery.start_soon)
        with pytest.raises(type(error)):
            await shared.run("ada", functools.partial(tool, seconds=1), Watcher(), dressed, patience=50)
        task = await shared.run("ada", functools.partial(tool, seconds=60), Watcher(), dressed, patience=50)
        assert isinstance(task, Task)
        await trio.sleep(20)
        failed = shared.get("ada", task.id)
    assert (failed.status, failed.error, failed.result) == (
        TaskStatus.FAILED,
        {"code": code, "message": message},
        None,
    )
    assert "sk-secret" not in caplog.text
