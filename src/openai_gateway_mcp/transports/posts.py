"""One POST in work: the connection that it is, the tasks of its calls, and what is not sent yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from openai_gateway_mcp.protocol.connection import Connection, Outgoing
from openai_gateway_mcp.protocol.events import Call, CallCancelled, Remark, Work
from openai_gateway_mcp.protocol.jsonrpc import Batch, Message
from openai_gateway_mcp.transports.calls import Handler, answer

_MANY: Final = 32  # messages of one call that its client has not read; reports are left out behind them


class Post:
    """The Outlet of the calls of one POST, whose tasks run in `calls`. `news` is set when there is more to take."""

    def __init__(
        self,
        connection: Connection,
        handler: Handler,
        calls: trio.Nursery,
        remark: Callable[[Remark], None],
    ) -> None:
        self.connection = connection
        self.news = trio.Event()
        self._handler = handler
        self._calls = calls
        self._remark = remark
        self._scopes: dict[Call, trio.CancelScope] = {}
        self._pending: list[Outgoing] = []

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= _MANY

    def receive(self, message: Message | Batch, size: int) -> None:
        """A message for the connection, and what follows from it."""
        self.connection.receive_message(message, size)
        self._take_events()
        self.flush()

    def flush(self) -> None:
        """There may be something to send, or nothing more to wait for."""
        self._pending += self.connection.messages_to_send()
        self.news.set()

    def take(self) -> list[Outgoing]:
        """What is to be sent now; `news` tells when there is more."""
        self.news = trio.Event()
        messages, self._pending = self._pending, []
        return messages

    def end(self) -> None:
        """No more of it: what listens gets its result."""
        self.connection.close()
        self.flush()

    def _take_events(self) -> None:
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, CallCancelled):
                self._scopes[event.call].cancel()
            elif isinstance(event, Remark):
                self._remark(event)
            else:
                self._scopes[event.call] = trio.CancelScope()
                self._calls.start_soon(self._run_call, event, name=event.call.method)

    async def _run_call(self, work: Work) -> None:
        call = work.call
        try:
            await answer(
                self.connection,
                work,
                self._handler,
                scope=self._scopes[call],
                outlet=self,
                remark=self._remark,
            )
        except BaseException:
            self.connection.close()
            raise
        finally:
            del self._scopes[call]
            self.connection.finished(call)
            self._take_events()
            self.flush()
