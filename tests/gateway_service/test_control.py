"""The line between a parent and a worker: one question at a time, and an end that is noticed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock, memory_stream_pair

from openai_gateway.engine.beside import beside
from openai_gateway.service.control import ANSWERS_IN, Line, Worker


class Parent:
    """The other end, in lines."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._rest = b""

    async def heard(self) -> Any:
        while b"\n" not in self._rest:
            self._rest += await self.stream.receive_some()
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def say(self, **message: Any) -> None:
        await self.stream.send_all(json.dumps(message).encode() + b"\n")


@asynccontextmanager
async def worker(drain: trio.Event, done: list[str] | None = None) -> AsyncIterator[tuple[Worker, Parent]]:
    ours, theirs = memory_stream_pair()
    acts = [] if done is None else done

    async def check() -> str:
        await trio.lowlevel.checkpoint()
        acts.append("check")
        return "line 1 is wrong"

    async def swap() -> None:
        await trio.lowlevel.checkpoint()
        acts.append("swap")

    made = Worker(Line(theirs), drain=drain, check=check, swap=swap, count=lambda: ["mine"])
    parent = Parent(ours)
    async with beside(made.run):
        assert await parent.heard() == {"say": "ready"}
        yield made, parent


async def test_those_who_ask_for_the_sum_at_once_are_one_question(autojump_clock: MockClock) -> None:
    found: list[Any] = []
    async with worker(trio.Event()) as (made, parent), trio.open_nursery() as nursery:

        async def ask() -> None:
            found.append(await made.summed())

        for _ in range(5):
            nursery.start_soon(ask)
        assert await parent.heard() == {"say": "sum", "counts": ["mine"]}
        with trio.move_on_after(1) as silent:
            await parent.heard()
        assert silent.cancelled_caught
        await parent.say(say="summed", counts=[["theirs"]])
    assert found == [[["mine"], ["theirs"]]] * 5


async def test_a_parent_that_does_not_answer_holds_nobody_up_and_is_asked_again(autojump_clock: MockClock) -> None:
    async with worker(trio.Event()) as (made, parent):
        for number in (1, 2):
            assert await made.summed() == [["mine"]]
            assert trio.current_time() == 2 * ANSWERS_IN * number
            assert (await parent.heard())["say"] == "sum"


async def test_a_worker_does_what_it_is_told_and_ends_with_its_parent() -> None:
    drain, done = trio.Event(), []  # type: ignore[var-annotated]  # of texts
    async with worker(drain, done) as (_, parent):
        await parent.say(say="check")
        assert await parent.heard() == {"say": "checked", "error": "line 1 is wrong"}
        await parent.say(say="swap")
        await parent.say(say="count")
        assert await parent.heard() == {"say": "counted", "counts": ["mine"]}
        assert (done, drain.is_set()) == (["check", "swap"], False)
        await parent.stream.aclose()
        await drain.wait()
