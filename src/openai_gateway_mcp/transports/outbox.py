"""The one writer of a session: at once where the wire takes it, else in order through a queue that can be full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from openai_gateway_mcp.transports.streams import Stream

# Past this many bytes unsent, nothing more is read or begun. It is a mark, not a wall: what is running may still
# answer, so that the memory held is this, one answer a call in flight, and the answers to one read.
HIGH_WATER: Final = 2**20


class Outbox:
    """Bytes on their way from `source`, which gives whole messages, to the peer.

    `on_gone` is called once, when there is no peer to write to any more; from then on what comes is dropped. A frame
    once begun is finished: the writer is shielded from whatever cancels the session, until `close` sets a term.
    """

    def __init__(
        self, source: Callable[[], bytes], stream: Stream, *, on_gone: Callable[[], None], high_water: int = HIGH_WATER
    ) -> None:
        self._source = source
        self._stream = stream
        self._on_gone = on_gone
        self._high_water = high_water
        self._queue: list[bytes] = []
        self._queued = 0  # bytes, those of the frame being written included: what makes `flush` keep the order
        self._writing = trio.CancelScope(shield=True)
        self._news = trio.Event()
        self._relief = trio.lowlevel.ParkingLot()
        self._closing = False
        self._gone = False
        self.failure: OSError | None = None
        self.has_begun = trio.Event()  # there was something to send

    @property
    def is_full(self) -> bool:
        return self._queued > self._high_water

    def flush(self) -> None:
        """Send what the source has, and queue what of it the wire does not take at once."""
        data = self._source()
        if self._gone or not data:
            return
        self.has_begun.set()
        if not self._queued:
            sent = self._send_now(data)
            if sent == len(data):
                return
            data = data[sent:]
        self._queue.append(data)
        self._queued += len(data)
        self._news.set()

    def flush_soon(self) -> None:
        """Flush when the tasks that run in this turn of the loop have run: one write for all that they answer."""
        if self._queued:
            self.flush()  # costs no write, and `is_full` must know
        else:
            self._news.set()

    async def room(self) -> None:
        """Wait until the queue is below its mark."""
        await trio.lowlevel.checkpoint()
        while self.is_full and not self._gone:
            await self._relief.park()

    async def drained(self) -> None:
        """Wait until all is sent, or nobody is there to take it."""
        await trio.lowlevel.checkpoint()
        while self._queued and not self._gone:
            await self._relief.park()

    async def write(self) -> None:  # noqa: ASYNC910 - a task of its own, not a function to be awaited
        """The writer task: send what is queued, until `close`."""
        with self._writing:
            while not self._gone:
                self.flush()
                while self._queue:
                    together = b"".join(self._queue)
                    self._queue.clear()
                    await self._send(together)
                if self._closing:
                    return  # noqa: ASYNC910 - as above
                self._news = trio.Event()
                await self._news.wait()

    def close(self, within: float) -> None:
        """Nothing more will come: what is unsent has `within` seconds to go out, and then `write` returns."""
        self.flush()
        self._closing = True
        self._writing.deadline = min(self._writing.deadline, trio.current_time() + within)
        self._news.set()

    def _send_now(self, data: bytes) -> int:
        try:
            return self._stream.send_now(data)
        except trio.BrokenResourceError:
            self._lose(None)
        except OSError as error:
            self._lose(error)
        return len(data)  # there is nobody to keep it for

    async def _send(self, data: bytes) -> None:  # noqa: ASYNC910 - send_all checkpoints or raises
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self._lose(None)
        except OSError as error:
            self._lose(error)
        else:
            self._queued -= len(data)
            self._relief.unpark_all()

    def _lose(self, failure: OSError | None) -> None:
        self._gone = True
        self.failure = failure
        self._queue.clear()
        self._relief.unpark_all()
        self._news.set()
        self._on_gone()
