"""What a parent and its workers say to each other: JSON lines over a pair of sockets, one pair a worker."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

Message = dict[str, Any]

ANSWERS_IN: Final = 2.0
"""Seconds that the others have to say what they counted; whoever is late is added to the next sum."""

READY, DRAIN, CHECK, CHECKED, SWAP = "ready", "drain", "check", "checked", "swap"
COUNT, COUNTED, SUM, SUMMED = "count", "counted", "sum", "summed"
"""Parent to worker: drain, check (read the configuration, swap nothing), swap, count, summed. Worker to parent: ready,
checked (`error`, "" for none), counted (`counts`), sum (the `counts` of all others, please)."""


class Line:
    """One end of a pair. Any task may send; one reads."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._lock = trio.Lock()

    async def send(self, message: Message) -> None:
        """To a peer that is gone nothing is sent, and that is no error: its end is noticed elsewhere."""
        async with self._lock:
            try:
                await self._stream.send_all(json.dumps(message).encode() + b"\n")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def messages(self, hear: Callable[[Message], Awaitable[None]]) -> None:
        """Hear each message, until the peer is gone."""
        rest = b""
        try:
            while data := await self._stream.receive_some():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await hear(json.loads(line))
        except trio.BrokenResourceError:
            return


class Worker:
    """A worker's side: it does what the parent says, and asks it for the counts of all."""

    def __init__(
        self,
        line: Line,
        *,
        drain: trio.Event,
        check: Callable[[], Awaitable[str]],
        swap: Callable[[], Awaitable[None]],
        count: Callable[[], Any],
    ) -> None:
        """`check` reads the configuration and says what is wrong with it, `swap` makes what it read take effect."""
        self._line = line
        self._drain = drain
        self._check = check
        self._swap = swap
        self._count = count
        self._waiting: list[trio.MemorySendChannel[Any]] = []

    async def run(self) -> None:
        """Until the parent is gone; then nobody would replace or stop this worker, so it ends too."""
        await self._line.send({"say": READY})
        await self._line.messages(self._hear)
        self._drain.set()

    async def summed(self) -> Any:
        """What all workers counted; where the parent does not say it in time, what this one did."""
        sender, receiver = trio.open_memory_channel[Any](1)
        own, is_first = self._count(), not self._waiting
        self._waiting.append(sender)
        if is_first:  # one question at a time: its answer is for all who wait
            await self._line.send({"say": SUM, "counts": own})
        with trio.move_on_after(2 * ANSWERS_IN):
            return [own, *await receiver.receive()]
        self._waiting.clear()  # the next one asks anew
        return [own]

    async def _hear(self, message: Message) -> None:
        match message["say"]:
            case "drain":
                self._drain.set()
            case "check":
                await self._line.send({"say": CHECKED, "error": await self._check()})
            case "swap":
                await self._swap()
            case "count":
                await self._line.send({"say": COUNTED, "counts": self._count()})
            case "summed":
                for sender in self._waiting:
                    sender.send_nowait(message["counts"])
                self._waiting.clear()
