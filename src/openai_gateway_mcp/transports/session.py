"""One conversation over one stream: reads, starts the calls, cancels them, writes, and ends in good order."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Call, CallCancelled, Remark, Work
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.transports.calls import Handler, answer, remark_crash
from openai_gateway_mcp.transports.outbox import Outbox
from openai_gateway_mcp.transports.streams import Stream, StreamFailed

# Seconds. Together they stay below the one second in which a client may expect us to be gone; the official Python SDK
# kills after two.
DRAIN: Final = 0.5
FAREWELL: Final = 0.25

# How many calls a file is read ahead of its answers: nobody waits at its other end, and past the core's limit on
# waiting calls (4,096; one read holds some 300) a call would be refused.
READ_AHEAD: Final = 1_024


async def run_session(
    stream: Stream,
    connection: Connection,
    handler: Handler,
    *,
    remark: Callable[[Remark], None],
    drain: float = DRAIN,
    finish_all: bool = False,
    after_first_answer: Callable[[], Awaitable[None]] | None = None,
    offers: trio.MemoryReceiveChannel[Server] | None = None,
) -> None:
    """Serve one client until it has closed its side, or is gone; cancelled, leave within `FAREWELL` seconds.

    `drain`: how many seconds what was read still has to be answered once the client has closed its side.
    `finish_all`: the stream is a file, whose end is no farewell: every call is finished first.
    `after_first_answer`: run once in the background when the first bytes are out, cancelled when the session ends.
    `remark`: takes what belongs into a log; it must not raise. `offers`: what is served from now on, whenever that is
    something else; the client is told.
    Raises StreamFailed if the stream failed in another way than that the client is gone.
    """
    session = _Session(stream, connection, handler, remark=remark, patience=math.inf if finish_all else drain)
    await session.run(after_first_answer, offers)
    for doing, failure in (("reading", session.failure), ("writing", session.outbox.failure)):
        if failure is not None:
            raise StreamFailed(f"{doing} failed: {failure.strerror}") from failure


class _Session:
    def __init__(
        self,
        stream: Stream,
        connection: Connection,
        handler: Handler,
        *,
        remark: Callable[[Remark], None],
        patience: float,
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._handler = handler
        self._remark = remark
        self._patience = patience  # seconds for the calls, and then for what is unsent, after the end of the input
        self._life = trio.CancelScope()
        self._scopes: dict[Call, trio.CancelScope] = {}
        self._call_ended = trio.lowlevel.ParkingLot()
        self._is_withdrawn = False
        self.outbox = Outbox(connection.data_to_send, stream, on_gone=self._life.cancel)
        self.failure: OSError | None = None  # of reading

    async def run(
        self,
        after_first_answer: Callable[[], Awaitable[None]] | None,
        offers: trio.MemoryReceiveChannel[Server] | None,
    ) -> None:
        async with trio.open_nursery() as writing:
            writing.start_soon(self.outbox.write)
            try:
                with self._life:
                    await self._converse(after_first_answer, offers)
                    if math.isinf(self._patience):
                        await self.outbox.drained()
            finally:
                self._withdraw()
                self.outbox.close(FAREWELL)

    async def _converse(
        self,
        after_first_answer: Callable[[], Awaitable[None]] | None,
        offers: trio.MemoryReceiveChannel[Server] | None,
    ) -> None:
        async with trio.open_nursery() as background:
            if offers is not None:
                background.start_soon(self._pass_on, offers)
            if after_first_answer is not None:
                background.start_soon(self._run_aside, after_first_answer)
            async with trio.open_nursery() as calls:
                await self._read(calls)
                self._life.deadline = trio.current_time() + self._patience
            background.cancel_scope.cancel()

    # --- in ---------------------------------------------------------------------------------------------------------

    async def _read(self, calls: trio.Nursery) -> None:
        while data := await self._receive():
            self._connection.receive_data(data)
            self._take_events(calls)
            self.outbox.flush()
            if self.outbox.is_full:
                await self._room_or_hangup()
            while math.isinf(self._patience) and self._connection.calls_in_flight > READ_AHEAD:
                await self._call_ended.park()
        self._connection.receive_data(b"")
        self._take_events(calls)
        self.outbox.flush()

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive_some()
        except OSError as error:
            self.failure = error
            return b""  # noqa: ASYNC910 - once, and then nothing is read any more

    async def _room_or_hangup(self) -> None:
        """Pause reading for the one reason there is: the client does not read its answers.

        A client that has closed its side meanwhile can send no more than the pipe already holds, so that is read to its
        end: the end must not be missed behind a full queue.
        """
        async with trio.open_nursery() as pause:

            async def until(what: Callable[[], Awaitable[None]]) -> None:
                await what()
                pause.cancel_scope.cancel()

            pause.start_soon(until, self._stream.hung_up)
            pause.start_soon(until, self.outbox.room)

    def _take_events(self, calls: trio.Nursery) -> None:
        while (event := self._connection.next_event()) is not None:
            if isinstance(event, CallCancelled):
                self._scopes[event.call].cancel()
            elif isinstance(event, Remark):
                self._remark(event)
            else:
                self._scopes[event.call] = trio.CancelScope()
                calls.start_soon(self._run_call, calls, event, name=event.call.method)

    # --- calls ------------------------------------------------------------------------------------------------------

    async def _run_call(self, calls: trio.Nursery, work: Work) -> None:
        call = work.call
        try:
            await answer(
                self._connection,
                work,
                self._handler,
                scope=self._scopes[call],
                outlet=self.outbox,
                remark=self._remark,
            )
            if self.outbox.is_full:  # the slot stays taken, or parked calls would fill the queue without end
                self.outbox.flush()
                await self.outbox.room()
        except BaseException:
            self._withdraw()
            raise
        finally:
            del self._scopes[call]
            self._connection.finished(call)
            self._take_events(calls)
            self._call_ended.unpark_all()
            if self._connection.calls_in_flight:
                self.outbox.flush_soon()
            else:
                self.outbox.flush()

    def _withdraw(self) -> None:
        """End the conversation before its calls are over; the core would answer them with an internal error else."""
        if not self._is_withdrawn:
            self._is_withdrawn = True
            self._connection.close()

    async def _pass_on(self, offers: trio.MemoryReceiveChannel[Server]) -> None:
        async for server in offers:
            self._connection.offer(server)
            self.outbox.flush()

    async def _run_aside(self, chore: Callable[[], Awaitable[None]]) -> None:
        await self.outbox.has_begun.wait()
        try:
            await chore()
        except Exception as error:  # noqa: BLE001 - a chore that fails must not end the conversation
            remark_crash(self._remark, "a background chore", error)
