"""A relay: the stdio server in front of a remote `openai-gateway-mcp`, reached by Streamable HTTP or a WebSocket.

It answers nothing by itself but what cannot be passed on: lines that are no message, and requests that the remote will
not answer any more. Methods it does not know, `_meta` and notifications pass as they are, in the era of the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
import trio

from openai_gateway.wire.strict import JsonError, loads
from openai_gateway_mcp.protocol import jsonrpc
from openai_gateway_mcp.protocol.errors import INVALID_REQUEST, PARSE_ERROR
from openai_gateway_mcp.protocol.jsonrpc import Invalid, Notification, Request
from openai_gateway_mcp.protocol.lines import LineBuffer, TooLong
from openai_gateway_mcp.protocol.switchboard import Asked, Message, Switchboard
from openai_gateway_mcp.transports.outbox import Outbox
from openai_gateway_mcp.transports.session import DRAIN, FAREWELL
from openai_gateway_mcp.transports.streams import Stream, StreamFailed

UNAUTHORIZED: Final = 1001
UNREACHABLE: Final = 1006
"""Codes of ours, those of features/extensions.py: no key that fits, and the network."""


@attrs.frozen(eq=False)
class Lost(Exception):
    """The remote did not take a request, or its answer will not come. The words are for the caller."""

    words: str
    code: int = UNREACHABLE


class Line(Protocol):
    """What a remote speaks into."""

    def hear(self, message: Message) -> None:
        """The remote has said this."""
        ...

    def fail(self, asked: Asked, lost: Lost) -> None:
        """This request will not be answered."""
        ...

    def lose(self, lost: Lost) -> None:
        """Nothing that was asked so far will be answered."""
        ...


class Remote(Protocol):
    """The way to the other server. What is asked and told goes out in that order, as far as there is one."""

    async def run(self, line: Line, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the tasks and connections, until cancelled. The others may be called once it has started."""
        ...

    def ask(self, asked: Asked) -> None:
        """Have a request carried out."""
        ...

    def tell(self, message: Message, withdrawn: Asked | None) -> None:
        """Pass on what is not to be answered. `withdrawn` is the request that it cancels."""
        ...


async def relay(
    stream: Stream, remote: Remote, *, max_message_bytes: int, say: Callable[[str], None], drain: float = DRAIN
) -> None:
    """Pass messages on between the client of `stream` and the remote, until the client closes its side.

    `drain`: seconds that the remote then still has to answer. `say` tells a person why the remote cannot be reached.
    Raises StreamFailed where the stream failed in another way than that the client is gone.
    """
    one = _Relay(stream, remote, max_message_bytes, say)
    await one.run(drain)
    for doing, failure in (("reading", one.failure), ("writing", one.outbox.failure)):
        if failure is not None:
            raise StreamFailed(f"{doing} failed: {failure.strerror}") from failure


class _Relay:
    def __init__(self, stream: Stream, remote: Remote, max_message_bytes: int, say: Callable[[str], None]) -> None:
        self._stream = stream
        self._remote = remote
        self._max_message_bytes = max_message_bytes
        self._say = say
        self._lines = LineBuffer(max_message_bytes)
        self._switchboard = Switchboard()
        self._pending: list[bytes] = []
        self._life = trio.CancelScope()
        self._answered = trio.lowlevel.ParkingLot()
        self.failure: OSError | None = None
        self.outbox = Outbox(self._take, stream, on_gone=self._life.cancel)

    async def run(self, drain: float) -> None:
        async with trio.open_nursery() as writing:
            writing.start_soon(self.outbox.write)
            try:
                with self._life:
                    async with trio.open_nursery() as remote:
                        await remote.start(self._remote.run, self)
                        await self._read()
                        self._life.deadline = trio.current_time() + drain
                        while len(self._switchboard):
                            await self._answered.park()
                        remote.cancel_scope.cancel()
            finally:
                self.outbox.close(FAREWELL)

    # --- from the client --------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while data := await self._receive():
            self._lines.receive_data(data)
            self._take_lines()
            self.outbox.flush()
            await self.outbox.room()
        self._lines.receive_eof()
        self._take_lines()

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive_some()
        except OSError as error:
            self.failure = error
            return b""  # noqa: ASYNC910 - once, and then nothing is read any more

    def _take_lines(self) -> None:
        while (line := self._lines.next_line()) is not None:
            if isinstance(line, TooLong):
                words = f"Parse error: a message is longer than {self._max_message_bytes} bytes"
                self._answer(jsonrpc.error_bytes(None, PARSE_ERROR, words))
            else:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        try:
            value = loads(line, unique_envelope=True)
        except JsonError as error:
            self._answer(jsonrpc.error_bytes(None, PARSE_ERROR, f"Parse error: {error}"))
            return
        if isinstance(value, list):  # its answers would have to be gathered again, for what one old revision allowed
            words = "Invalid Request: a relay passes on one message at a time, and no batches"
            self._answer(jsonrpc.error_bytes(None, INVALID_REQUEST, words))
            return
        self._take_message(value)

    def _take_message(self, value: Any) -> None:
        match jsonrpc.read_message(value):
            case Invalid() as wrong:
                self._answer(jsonrpc.error_bytes(wrong.id, wrong.code, wrong.message))
            case Request(id=id_):
                asked = self._switchboard.ask(id_, value)
                if isinstance(asked, bytes):
                    self._answer(asked)
                else:
                    self._remote.ask(asked)
            case Notification():
                message, withdrawn = self._switchboard.tell(value)
                if message is not None:
                    self._remote.tell(message, withdrawn)
            case _:  # an answer: the remote may have asked something
                self._remote.tell(value, None)

    # --- from the remote --------------------------------------------------------------------------------------------

    def hear(self, message: Message) -> None:
        self._answer(self._switchboard.hear(message))

    def fail(self, asked: Asked, lost: Lost) -> None:
        self._answer(self._switchboard.fail(asked, lost.code, lost.words))

    def lose(self, lost: Lost) -> None:
        self._say(lost.words)
        for answer in self._switchboard.fail_all(lost.code, lost.words):
            self._answer(answer)

    def _answer(self, line: bytes | None) -> None:
        if line is not None:
            self._pending.append(line)
            self.outbox.flush()
        self._answered.unpark_all()

    def _take(self) -> bytes:
        data = b"".join([line + b"\n" for line in self._pending])
        self._pending.clear()
        return data
