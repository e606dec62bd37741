"""What outlives a process: tasks and conversations in a file, and who may have it."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.features.application import Application
from openai_gateway_mcp.features.kept import Kept
from openai_gateway_mcp.features.state import Row, open_state
from openai_gateway_mcp.features.tasks import Tasks
from openai_gateway_mcp.protocol.errors import Fault
from openai_gateway_mcp.protocol.model import Task, TaskStatus, Text, ToolResult
from tests.features.scripted import Client as Caller
from tests.features.scripted import Upstream, Watcher, door_to, says, settings_of, text_of

NOW = 1_800_000_000.0


def a_row(id_: str = "a", until: float = NOW + 10, **more: Any) -> Row:
    return Row(kind="task", id=id_, owner="ada", until=until, value={"x": "ünd", **more})


async def test_what_was_saved_is_there_again_until_it_expires(tmp_path: Path) -> None:
    path = str(tmp_path / "made" / "state.db")
    async with open_state(path, now=lambda: NOW) as state:
        await state.save(a_row("a", NOW + 10))
        await state.save(a_row("b", NOW + 5))
        await state.save(a_row("b", NOW + 5, y=1))
        assert await state.load("thread") == []
    async with open_state(path, now=lambda: NOW + 4) as state:
        assert await state.load("task") == [a_row("b", NOW + 5, y=1), a_row("a", NOW + 10)]
    async with open_state(path, now=lambda: NOW + 5) as state:
        assert await state.load("task") == [a_row("a", NOW + 10)]
    for file in (tmp_path / "made").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_what_has_expired_leaves_the_file_with_the_next_that_comes(tmp_path: Path) -> None:
    now = NOW
    async with open_state(str(tmp_path / "state.db"), now=lambda: now) as state:
        await state.save(a_row("a", NOW + 5))
        now = NOW + 5
        await state.save(a_row("b", NOW + 10))
        with sqlite3.connect(tmp_path / "state.db") as reader:
            assert reader.execute("SELECT id FROM rows").fetchall() == [("b",)]
        reader.close()


async def test_another_process_cannot_have_it_meanwhile(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    async with open_state(path):
        with pytest.raises(ConfigError, match="in use by another process"):
            async with open_state(path):
                raise AssertionError
    async with open_state(path) as state:
        assert await state.load("task") == []


async def test_a_file_of_another_kind_is_refused_and_left(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to look like none" * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE a (b)")
    connection.close()
    for path, words in ((text, "cannot be used"), (other, "another program"), (tmp_path, "cannot be used")):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(ConfigError, match=words):
            async with open_state(str(path)):
                raise AssertionError
        assert (path.read_bytes() if path.is_file() else b"") == before


async def test_a_save_is_finished_though_its_caller_is_cancelled(tmp_path: Path) -> None:
    async with open_state(str(tmp_path / "state.db"), now=lambda: NOW) as state:
        with trio.CancelScope() as scope:
            scope.cancel()
            await state.save(a_row())
        assert await state.load("task") == [a_row()]


def dressed(result: ToolResult) -> dict[str, Any]:
    return {"content": [block.text for block in result.content if isinstance(block, Text)]}


async def test_a_task_that_ended_keeps_its_result_and_one_that_ran_has_failed(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    go_on = trio.Event()

    async def ends(_job: Any) -> ToolResult:
        await go_on.wait()
        return ToolResult(content=(Text("done"),))

    async def runs(_job: Any) -> ToolResult:
        await trio.sleep_forever()
        raise AssertionError

    async with open_state(path) as state, trio.open_nursery() as nursery:
        tasks = Tasks(nursery.start_soon, state)
        made = [await tasks.run("ada", run, Watcher(), dressed, patience=0) for run in (ends, runs, runs)]
        ids = [task.id for task in made if isinstance(task, Task)]
        go_on.set()
        tasks.cancel("ada", ids[2])
        await tasks.watch("ada", [ids[0], ids[2]], Watcher().task)
        await trio.testing.wait_all_tasks_blocked(0.1)
        nursery.cancel_scope.cancel()
    async with open_state(path) as state, trio.open_nursery() as nursery:
        tasks = Tasks(nursery.start_soon, state)
        await tasks.load()
        found = [tasks.get("ada", one) for one in ids]
        assert [task.status for task in found] == [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED]
        assert found[0].result == {"content": ["done"]}
        assert found[1].error is not None
        assert "stopped while this task ran" in found[1].message
        with pytest.raises(Fault):
            tasks.get("ben", ids[0])
        watcher = Watcher()
        await tasks.watch("ada", ids, watcher.task)
        assert watcher.tasks == found


async def test_a_process_that_was_killed_left_its_task_running(tmp_path: Path) -> None:
    value = {"created": "c", "updated": "u", "ttl_ms": 9, "message": "5 characters", "result": None, "error": None}
    path = str(tmp_path / "state.db")
    for _ in range(2):  # the second time it is a task that has failed
        async with open_state(path) as state, trio.open_nursery() as nursery:
            if not await state.load("task"):
                row = Row(kind="task", id="t", owner="ada", until=4e9, value={"status": "working", **value})
                await state.save(row)
            tasks = Tasks(nursery.start_soon, state)
            await tasks.load()
            task = tasks.get("ada", "t")
            assert (task.status, task.created) == (TaskStatus.FAILED, "c")
            assert "stopped" in task.message
            (kept,) = await state.load("task")
            assert kept.value["status"] == "failed"


async def test_a_conversation_goes_on_in_the_next_process(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    upstream = Upstream(m1=says("Ada."))
    handle = "new"
    for question in ("Who?", "When?"):
        async with open_state(path) as state, door_to(upstream) as door:
            kept = Kept(state=state)
            await kept.load()
            caller = Caller(Application(settings_of(), door, kept=kept))
            result = await caller.call("chat", prompt=question, model="m1", system="Short.", thread_id=handle)
            handle = text_of(result).rpartition("[thread_id: ")[2].removesuffix("]")
    assert [message["content"] for message in upstream.bodies[1]["messages"]] == ["Short.", "Who?", "Ada.", "When?"]
