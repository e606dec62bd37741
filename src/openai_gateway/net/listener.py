"""The HTTP/1.1 server: connections of one handler, under bounds, that can be drained."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import trio

from openai_gateway.net.bounds import Bounds
from openai_gateway.net.deaf import turn_deaf
from openai_gateway.net.exchange import Conversation, Exchange, Handler, Headers, PeerError, Refuse, Request, Tunnel
from openai_gateway.net.words import innermost

__all__ = ["Bounds", "Exchange", "Handler", "Headers", "HttpServer", "PeerError", "Refuse", "Request", "Tunnel"]

_LOG: Final = logging.getLogger(__name__)


class HttpServer:
    """Serves each request with `handler`. `refuse` makes the answers that the listener gives by itself."""

    def __init__(
        self,
        handler: Handler,
        *,
        refuse: Refuse,
        bounds: Bounds | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._refuse = refuse
        self._bounds = Bounds() if bounds is None else bounds
        self._tls = tls
        self._drains = False
        self._listeners: Sequence[trio.SocketListener] = ()
        self._idle = trio.Event()
        self._idle.set()
        self.connections = 0
        self.exchanges = 0

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.SocketStream]],
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until it is cancelled; the connections are then ended, each within the bound of lingering."""
        self._listeners = [one for one in listeners if isinstance(one, trio.SocketListener)]
        async with trio.open_nursery() as nursery:
            # trio waits a moment where there are no descriptors left, and goes on; it says so in its own log.
            await nursery.start(trio.serve_listeners, self.serve_connection, list(listeners))
            task_status.started()

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """One connection, to its end."""
        if self.connections >= self._bounds.connections:
            await trio.aclose_forcefully(stream)
            return
        self.connections += 1
        try:
            await self._converse(stream)
        finally:
            self.connections -= 1

    def drain(self) -> None:
        """From now on every answer is the last of its connection. Connections are still accepted, to be told so."""
        self._drains = True

    def turn_deaf(self) -> None:
        """Take no connection any more that has not begun: so none is reset when the sockets are closed."""
        for listener in self._listeners:
            turn_deaf(listener.socket)

    async def until_idle(self) -> None:
        """Until no request is in work."""
        await self._idle.wait()

    async def _converse(self, stream: trio.abc.Stream) -> None:
        peer = _peer(stream)
        certificate = None
        if self._tls is not None:
            secured = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
            if not await self._shake_hands(secured):
                await trio.aclose_forcefully(stream)
                return
            certificate, stream = secured.getpeercert(), secured
        conversation = Conversation(
            stream,
            self._handler,
            bounds=self._bounds,
            refuse=self._refuse,
            is_closing=lambda: self._drains,
            peer=peer,
            certificate=certificate,
        )
        await conversation.run(self._in_work)

    async def _shake_hands(self, stream: trio.SSLStream[Any]) -> bool:
        with trio.move_on_after(self._bounds.handshake_seconds):
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as error:
                _LOG.debug("A TLS handshake failed: %s", innermost(error))
                return False
            return True
        return False

    @contextmanager
    def _in_work(self) -> Iterator[None]:
        if not self.exchanges:
            self._idle = trio.Event()
        self.exchanges += 1
        try:
            yield
        finally:
            self.exchanges -= 1
            if not self.exchanges:
                self._idle.set()


def _peer(stream: trio.abc.Stream) -> str:
    if not isinstance(stream, trio.SocketStream):
        return ""
    try:
        name = stream.socket.getpeername()
    except OSError:  # it left before it was looked at
        return ""
    return str(name[0]) if isinstance(name, tuple) else str(name)
