"""MCP over a WebSocket: one message a text frame, and otherwise the same conversation as over stdio (RFC 6455)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    TextMessage,
)
from wsproto.events import Request as Upgrade
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from openai_gateway.net.listener import Exchange, PeerError, Tunnel
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Remark
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.transports.calls import Handler
from openai_gateway_mcp.transports.session import DRAIN, run_session

SUBPROTOCOL: Final = "mcp"

BEAT: Final = 20.0
"""Seconds of silence after which the client is asked whether it is there; after twice as many it is taken for gone."""

# A line ends a message for the session, so there must be none in it. In JSON both are the same between values, and
# neither may stand in a string.
_LINE_ENDS: Final = {ord("\n"): "\r"}


async def serve_websocket(
    exchange: Exchange,
    connection: Connection,
    handler: Handler,
    *,
    remark: Callable[[Remark], None],
    drain: trio.Event,
    grace: float,
    offers: trio.MemoryReceiveChannel[Server],
) -> None:
    """Answer a request to upgrade, and converse until one side closes.

    `drain`: once it is set no new message is read, and what was read is answered within `grace` seconds.
    Raises PeerError for a request that is none.
    """
    protocol = WSConnection(ConnectionType.SERVER)
    accepted = _accept(exchange, protocol)
    tunnel = await exchange.take_over()
    stream = _Stream(tunnel, protocol, drain)
    await tunnel.send(accepted)
    async with trio.open_nursery() as beside:
        beside.start_soon(stream.beat, beside.cancel_scope)
        beside.start_soon(_leave_after, stream.closed, beside.cancel_scope)
        await run_session(stream, connection, handler, remark=remark, drain=grace, offers=offers)
        await stream.aclose(CloseReason.GOING_AWAY if drain.is_set() else CloseReason.NORMAL_CLOSURE)
        beside.cancel_scope.cancel()


async def _leave_after(closed: trio.Event, scope: trio.CancelScope) -> None:
    """Nobody is there any more for whom a call could be worth its while."""
    await closed.wait()
    await trio.sleep(DRAIN)
    scope.cancel()


def _accept(exchange: Exchange, protocol: WSConnection) -> bytes:
    """What says yes. Raises PeerError."""
    request = exchange.request
    try:
        protocol.initiate_upgrade_connection(list(request.headers.raw), request.target)
        (upgrade,) = protocol.events()
    except RemoteProtocolError:
        exchange.close_after()
        raise PeerError(400, "This is no request for a WebSocket of version 13.") from None
    assert isinstance(upgrade, Upgrade)  # noqa: S101 - nothing else can come of it
    if SUBPROTOCOL not in upgrade.subprotocols:
        exchange.close_after()
        raise PeerError(400, f"A WebSocket for MCP has the subprotocol {SUBPROTOCOL}.")
    # No extensions: what is compressed has no bound that can be told before it is unpacked.
    return protocol.send(AcceptConnection(subprotocol=SUBPROTOCOL))


class _Stream:
    """The frames of a WebSocket as the lines that a session reads and writes."""

    def __init__(self, tunnel: Tunnel, protocol: WSConnection, drain: trio.Event) -> None:
        self._tunnel = tunnel
        self._protocol = protocol
        self._drain = drain
        self._sending = trio.Lock()
        self._heard = trio.current_time()
        self.closed = trio.Event()
        """The client has said its last word."""

    async def receive_some(self) -> bytes:
        while not (self._drain.is_set() or self.closed.is_set()):
            data = await self._receive()
            if data is None:
                break
            text = await self._take(data)
            if text:
                return text
        await trio.lowlevel.checkpoint()
        return b""

    async def _receive(self) -> bytes | None:
        """What came over the wire, b"" at its end; None once the server drains."""
        data: bytes | None = None
        async with trio.open_nursery() as first:

            async def until_drained() -> None:
                await self._drain.wait()
                first.cancel_scope.cancel()

            first.start_soon(until_drained)
            data = await self._tunnel.receive()
            first.cancel_scope.cancel()
        return data

    async def _take(self, data: bytes) -> bytes:
        """The text in it, and what else it has done."""
        self._heard = trio.current_time()
        pieces: list[str] = []
        try:
            self._protocol.receive_data(data or None)
            for event in self._protocol.events():
                pieces.append(await self._text(event))  # noqa: PERF401 - what came before an error counts
        except RemoteProtocolError as error:
            hint = error.event_hint
            await self._close(
                hint if isinstance(hint, CloseConnection) else CloseConnection(CloseReason.PROTOCOL_ERROR)
            )
        return "".join(pieces).encode()

    async def _text(self, event: Event) -> str:
        match event:
            case TextMessage():
                return event.data.translate(_LINE_ENDS) + ("\n" if event.message_finished else "")
            case Ping():
                await self._send(event.response())
            case CloseConnection():
                await self._close(event.response())
            case BytesMessage():
                words = "a message is a text frame"
                await self._close(CloseConnection(CloseReason.UNSUPPORTED_DATA, words))
            case Pong() | RejectConnection() | _:
                pass
        return ""

    async def hung_up(self) -> None:
        await self._tunnel.gone.wait()

    def send_now(self, data: bytes | memoryview) -> int:
        """Nothing goes out without waiting: a frame may have to stand behind a pong."""
        del data
        return 0

    async def send_all(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line:
                await self._send(TextMessage(line.decode("ascii")))

    async def beat(self, session: trio.CancelScope) -> None:
        """Ask a silent client whether it is there, and end its session if it is not."""
        while True:
            await trio.sleep_until(self._heard + BEAT)
            silence = trio.current_time() - self._heard
            if silence >= 2 * BEAT:
                session.cancel()
            elif silence >= BEAT:
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._send(Ping())
                await trio.sleep_until(self._heard + 2 * BEAT)

    async def aclose(self, reason: CloseReason) -> None:
        """Say the last word, if it was not said."""
        if not self.closed.is_set():
            await self._close(CloseConnection(reason))

    async def _close(self, event: CloseConnection) -> None:
        self.closed.set()
        with contextlib.suppress(trio.BrokenResourceError):  # both have said it
            await self._send(event)

    async def _send(self, event: Event) -> None:
        async with self._sending:
            try:
                data = self._protocol.send(event)
            except LocalProtocolError:  # the last word is said: nobody reads it
                raise trio.BrokenResourceError from None
            await self._tunnel.send(data)
