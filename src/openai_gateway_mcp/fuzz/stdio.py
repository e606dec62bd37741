"""A conversation over the stdio of a process that is started for it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Final, Self

import attrs
import trio

from openai_gateway_mcp.fuzz.conversation import Ended

LONGEST_LINE: Final = 16 * 1024 * 1024  # bytes; what goes on beyond is judged as it stands
DYING: Final = 5.0  # seconds from the end of a server's output to its own
_EMPTYING: Final = 1.0  # seconds for what stands in the pipes of a dead one
_LAST_WORDS: Final = 4_000  # bytes of stderr that are kept


@attrs.define(eq=False)
class Process:
    """A server in a process group of its own, so that whatever it starts ends with it.

    It lives as a task of the nursery that `start` is given, and is dead when that is over.
    """

    patience: float
    """Seconds that it may take to read what it is told."""
    _process: trio.Process
    _stdin: trio.abc.SendStream
    _heard: trio.MemorySendChannel[bytes]
    _lines: trio.MemoryReceiveChannel[bytes]
    last_words: bytes = b""
    """The end of what it wrote to stderr."""
    keeps_order: bool = attrs.field(default=True, init=False)
    _is_done: trio.Event = attrs.field(factory=trio.Event)
    _is_dead: trio.Event = attrs.field(factory=trio.Event)

    @classmethod
    async def start(cls, nursery: trio.Nursery, command: Sequence[str], *, patience: float) -> Self:
        """Raises OSError where there is no such program."""
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("a process without the pipes that it was started with")
        # Without a bound: it is read whatever it says, or it might wait for us while we wait for it.
        self = cls(patience, process, process.stdin, *trio.open_memory_channel[bytes](math.inf))
        nursery.start_soon(self._live, process.stdout, process.stderr)
        return self

    async def say(self, data: bytes) -> None:
        """Raises TimeoutError."""
        try:
            with trio.fail_after(self.patience):
                await self._stdin.send_all(data)
        except trio.TooSlowError:
            raise TimeoutError from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it reads no more: what it still said is heard first, and then that it has ended

    async def hear(self, seconds: float) -> bytes | None:
        """Raises Ended."""
        try:
            with contextlib.suppress(trio.WouldBlock):
                return self._lines.receive_nowait()
            with trio.move_on_after(seconds):
                return await self._lines.receive()
        except trio.EndOfChannel:
            raise Ended(await self._end(DYING)) from None
        return None

    async def finish(self, seconds: float) -> bool:
        await self._stdin.aclose()
        return await self._end(seconds) is not None

    async def _end(self, seconds: float) -> int | None:
        """Its status, if it ends by itself in that time. In any case it is dead then."""
        status = None
        with trio.move_on_after(seconds):
            status = await self._process.wait()
        self._is_done.set()
        await self._is_dead.wait()
        return status

    # --- its task -----------------------------------------------------------------------------------------------------

    async def _live(self, stdout: trio.abc.ReceiveStream, stderr: trio.abc.ReceiveStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, stdout)
                nursery.start_soon(self._read_last_words, stderr)
                await self._is_done.wait()
                self._kill()
                nursery.cancel_scope.deadline = trio.current_time() + _EMPTYING
        finally:
            self._kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()
                for pipe in (self._stdin, stdout, stderr):
                    await pipe.aclose()
            self._heard.close()
            self._is_dead.set()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody of the group is left
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self, stdout: trio.abc.ReceiveStream) -> None:
        unfinished = b""
        async for piece in stdout:
            *lines, unfinished = (unfinished + piece).split(b"\n")
            if len(unfinished) > LONGEST_LINE:
                lines.append(unfinished)
                unfinished = b""
            for line in lines:
                self._heard.send_nowait(line)
        if unfinished:
            self._heard.send_nowait(unfinished)
        self._heard.close()

    async def _read_last_words(self, stderr: trio.abc.ReceiveStream) -> None:
        async for piece in stderr:
            self.last_words = (self.last_words + piece)[-_LAST_WORDS:]
