"""`serve --workers N`: a parent that holds the sockets, starts workers, replaces those that die, and speaks for all."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterable, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio

from openai_gateway.engine.beside import beside
from openai_gateway.errors import ConfigError
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.service.control import ANSWERS_IN, CHECK, COUNT, DRAIN, SUMMED, SWAP, Line, Message

_LOG: Final = logging.getLogger("openai_gateway")
_CHECKS_IN: Final = 60.0
_LATE: Final = 5.0  # seconds past the grace
_SETTLED: Final = 10.0  # seconds alive after which a worker's death is no failed start
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0
_MOST_ASKERS: Final = 1000  # a worker asks once, and again two seconds after no answer came


@attrs.define(eq=False)
class _Child:
    process: trio.Process
    line: Line
    ready: trio.Event = attrs.field(factory=trio.Event)
    checked: trio.Event = attrs.field(factory=trio.Event)
    counted: trio.Event = attrs.field(factory=trio.Event)
    error: str = ""
    counts: Any = attrs.field(factory=list)


class Supervisor:
    """The parent. It serves nothing itself, and reads no configuration: what is wrong with one its workers say."""

    SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    """What `signals` has to receive, from before anybody is told that the service is there."""

    def __init__(
        self, argv: Sequence[str], service: ServiceSettings, descriptors: Sequence[int], signals: AsyncIterable[int]
    ) -> None:
        """`argv` is the command line of a worker, but for what tells it that it is one."""
        self._argv = argv
        self._service = service
        self._descriptors = descriptors
        self._signals = signals
        self._children: list[_Child] = []
        self._dead_counts: list[Any] = []
        self._leaving = trio.Event()
        self._failed = False
        self._askers, self._asked = trio.open_memory_channel[_Child](_MOST_ASKERS)

    async def run(self) -> None:
        """Until all workers have ended because they were asked to. Raises ConfigError where they cannot start."""
        async with trio.open_nursery() as nursery:
            first = [await self._start() for _ in range(self._service.workers)]
            nursery.start_soon(self._watch_signals)
            nursery.start_soon(self._answer_sums)
            nursery.start_soon(self._end_the_late)
            async with trio.open_nursery() as workers:
                for child in first:
                    workers.start_soon(self._keep, child)
            nursery.cancel_scope.cancel()
        if self._failed:
            raise ConfigError("A worker could not start; its own words are above.")

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (*self._descriptors, theirs.fileno())
            said = ",".join(map(str, descriptors))
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "openai_gateway", *self._argv, "--worker", said],
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C is the parent's to act on
                stdin=subprocess.DEVNULL,
            )
        child = _Child(process, Line(trio.SocketStream(trio.socket.from_stdlib_socket(ours))))
        self._children.append(child)
        return child

    async def _keep(self, child: _Child | None) -> None:
        """One place for a worker: whoever dies in it is replaced, the later the more often it happens."""
        pause, is_first = _FIRST_PAUSE, True
        while child is not None:
            began = trio.current_time()
            async with beside(partial(child.line.messages, partial(self._hear, child))):
                if self._leaving.is_set():  # it was being started when the others were told
                    await child.line.send({"say": DRAIN})
                await child.process.wait()
            await child.line.aclose()
            self._children.remove(child)
            self._dead_counts += child.counts
            if self._leaving.is_set():
                return
            if is_first and not child.ready.is_set():
                self._failed = True
                self._leaving.set()
                await self._tell_all({"say": DRAIN})
                return
            is_first = False
            pause = _FIRST_PAUSE if trio.current_time() - began > _SETTLED else min(2 * pause, _LAST_PAUSE)
            _LOG.error("A worker ended with status %s; another takes its place.", child.process.returncode)
            await trio.sleep(pause)
            child = None if self._leaving.is_set() else await self._start()

    async def _watch_signals(self) -> None:
        async for signum in self._signals:
            if signum == signal.SIGHUP:
                await self._reload()
            elif self._leaving.is_set():
                self._kill_all()
                os._exit(128 + signum)
            else:
                _LOG.info("Asked to stop: no new calls are taken, those in work may end.")
                self._leaving.set()
                await self._tell_all({"say": DRAIN})

    async def _end_the_late(self) -> None:
        """A worker cuts its own calls at the end of the grace; one that is stuck does not."""
        await self._leaving.wait()
        await trio.sleep(self._service.grace + _LATE)
        _LOG.error("%d worker(s) do not end; they are killed.", len(self._children))
        self._kill_all()

    def _kill_all(self) -> None:
        for child in self._children:
            child.process.kill()

    async def _reload(self) -> None:
        """All workers check before any takes it: never do two configurations serve side by side."""
        children = list(self._children)
        for child in children:
            child.checked = trio.Event()
        await self._tell_all({"say": CHECK})
        with trio.move_on_after(_CHECKS_IN) as late:
            for child in children:
                await child.checked.wait()
        error = "a worker did not answer" if late.cancelled_caught else next((c.error for c in children if c.error), "")
        if error:
            _LOG.error("SIGHUP came, but the old configuration serves on: %s", error)
            return
        await self._tell_all({"say": SWAP})
        _LOG.info("SIGHUP came: the configuration is read again, by %d workers.", len(children))

    async def _hear(self, child: _Child, message: Message) -> None:
        match message["say"]:
            case "ready":
                child.ready.set()
            case "checked":
                child.error = message["error"]
                child.checked.set()
            case "counted":
                child.counts = [message["counts"]]
                child.counted.set()
            case "sum":
                child.counts = [message["counts"]]
                self._askers.send_nowait(child)

    async def _answer_sums(self) -> None:
        """One after the other, beside the lines over which the answers come."""
        async for asker in self._asked:
            await self._sum(asker)

    async def _sum(self, asker: _Child) -> None:
        others = [child for child in self._children if child is not asker]
        for child in others:
            child.counted = trio.Event()
            await child.line.send({"say": COUNT})
        with trio.move_on_after(ANSWERS_IN):
            for child in others:
                await child.counted.wait()
        counts = [*self._dead_counts, *(count for child in others for count in child.counts)]
        await asker.line.send({"say": SUMMED, "counts": counts})

    async def _tell_all(self, message: Message) -> None:
        for child in list(self._children):  # one may end meanwhile
            await child.line.send(message)
