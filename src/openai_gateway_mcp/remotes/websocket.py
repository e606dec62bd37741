"""A remote behind one WebSocket, which is opened when it is first needed, and again when it was lost."""

from __future__ import annotations

import contextlib
import math
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from openai_gateway.net.client import OpenStream, open_tcp
from openai_gateway.net.words import innermost
from openai_gateway.secret import Secret
from openai_gateway.wire.strict import dumps
from openai_gateway_mcp.protocol.switchboard import Asked, Message
from openai_gateway_mcp.relay import Line, Lost
from openai_gateway_mcp.remotes.http import MAX_ANSWER_BYTES, USER_AGENT, maybe_message, origin_of, refusal
from openai_gateway_mcp.transports.calls import first as innermost_of
from openai_gateway_mcp.transports.websocket import BEAT, SUBPROTOCOL

SECONDS_TO_OPEN: Final = 20.0
_PIECE: Final = 64 * 1024
_SETTLED: Final[Message] = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class WebSocketRemote:
    """`url` is the endpoint's own, such as wss://mcp.example/mcp; `key` is the bearer.

    What a legacy client has settled by `initialize` holds for one connection: on another it is asked for again.
    """

    def __init__(
        self, url: str, key: Secret | None, *, tls: ssl.SSLContext | None = None, connect: OpenStream = open_tcp
    ) -> None:
        self._url = url
        self._key = key
        self._tls = tls
        self._connect = connect
        self._opening: Message | None = None
        self._send, self._queue = trio.open_memory_channel[Message](math.inf)

    async def run(self, line: Line, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            first = await self._queue.receive()
            try:
                talk = await self._opened()
                try:
                    await talk.run(line, self._beginning(first), self._queue)
                finally:
                    await talk.aclose()
            except Lost as lost:
                with contextlib.suppress(trio.WouldBlock):
                    while True:  # what waits to be sent is answered as lost, with all that was
                        self._queue.receive_nowait()
                line.lose(lost)

    def ask(self, asked: Asked) -> None:
        if asked.method == "initialize":
            self._opening = {**asked.message, "id": 0}  # an id that nobody waits for: ours begin at 1
        self._send.send_nowait(asked.message)

    def tell(self, message: Message, withdrawn: Asked | None) -> None:
        del withdrawn  # the notification says it
        self._send.send_nowait(message)

    def _beginning(self, first: Message) -> Sequence[Message]:
        """What is sent first on a new connection: what was settled on the last one, unless that is what is asked."""
        if self._opening is None or first.get("method") == "initialize":
            return [first]
        return [self._opening, _SETTLED, first]

    async def _opened(self) -> _Talk:
        """A connection that has changed to the WebSocket. Raises Lost."""
        stream: trio.abc.Stream | None = None
        words = f"did not answer within {SECONDS_TO_OPEN:g} s"
        try:
            with trio.move_on_after(SECONDS_TO_OPEN):
                stream = await self._stream()
                talk = _Talk(stream, self._url)
                await talk.open(self._key)
                return talk
        except (OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            words = f"cannot be reached: {innermost(error)}"
        except BaseException:
            if stream is not None:
                await trio.aclose_forcefully(stream)
            raise
        if stream is not None:
            await trio.aclose_forcefully(stream)
        raise Lost(f"{self._url} {words}")

    async def _stream(self) -> trio.abc.Stream:
        origin, _ = origin_of(self._url)
        stream = await self._connect(origin.host, origin.port)
        if origin.scheme != "https":
            return stream
        try:
            secured = trio.SSLStream(
                stream, self._tls or ssl.create_default_context(), server_hostname=origin.host, https_compatible=True
            )
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


class _Talk:
    """One connection, from the request to change the protocol to its end."""

    def __init__(self, stream: trio.abc.Stream, url: str) -> None:
        self._stream = stream
        self._url = url
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._sending = trio.Lock()
        self._heard = trio.current_time()
        self._text = bytearray()  # a list of tiny pieces would weigh many times as much, and empty ones have no end

    async def aclose(self) -> None:
        """Say goodbye, if that takes no time, and leave."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.1), contextlib.suppress(Lost):
            await self._say(CloseConnection(CloseReason.NORMAL_CLOSURE))
        await trio.aclose_forcefully(self._stream)

    async def open(self, key: Secret | None) -> None:
        """Ask for the WebSocket. Raises Lost where it is refused."""
        headers = [(b"user-agent", USER_AGENT.encode())]
        if key is not None:
            headers.append((b"authorization", f"Bearer {key.reveal()}".encode()))
        _, target = origin_of(self._url)
        await self._say(
            Request(host=urlsplit(self._url).netloc, target=target, subprotocols=[SUBPROTOCOL], extra_headers=headers)
        )
        while True:
            for event in await self._events():
                match event:
                    case AcceptConnection():
                        return
                    case RejectConnection():
                        raise refusal(self._url, event.status_code)
                    case _:
                        raise self._lost("closed it")

    async def run(self, line: Line, first: Sequence[Message], queue: trio.MemoryReceiveChannel[Message]) -> None:
        """Until it is lost, which it raises."""
        lost = self._lost("ended")
        try:
            async with trio.open_nursery() as both:
                both.start_soon(self._send_all, first, queue)
                both.start_soon(self._beat)
                await self._hear_all(line)
        except* Lost as losses:
            lost = innermost_of(losses)
        raise lost

    async def _send_all(self, first: Sequence[Message], queue: trio.MemoryReceiveChannel[Message]) -> None:
        for message in first:
            await self._say(TextMessage(dumps(message).decode("ascii")))
        async for message in queue:
            await self._say(TextMessage(dumps(message).decode("ascii")))

    async def _hear_all(self, line: Line) -> None:
        while True:
            for event in await self._events():
                match event:
                    case TextMessage():
                        self._take(event, line)
                    case Ping():
                        await self._say(event.response())
                    case CloseConnection():
                        raise self._lost(f"was closed ({event.code})")
                    case _:
                        pass

    def _take(self, event: TextMessage, line: Line) -> None:
        self._text += event.data.encode()
        if len(self._text) > MAX_ANSWER_BYTES:
            raise self._lost(f"was left: a message is longer than {MAX_ANSWER_BYTES} bytes")
        if not event.message_finished:
            return
        message = maybe_message(bytes(self._text))
        self._text.clear()
        if message is None:
            raise self._lost("was left: what came is no message")
        line.hear(message)

    async def _beat(self) -> None:
        """Ask a silent server whether it is there."""
        while True:
            await trio.sleep_until(self._heard + BEAT)
            silence = trio.current_time() - self._heard
            if silence >= 2 * BEAT:
                raise self._lost(f"is dead: nothing came for {silence:g} s")
            if silence >= BEAT:
                await self._say(Ping())
                await trio.sleep_until(self._heard + 2 * BEAT)

    async def _events(self) -> list[Event]:
        """What came next. Raises Lost."""
        events: list[Event] = []
        while not events:
            try:
                data = await self._stream.receive_some(_PIECE)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._lost(f"was lost: {innermost(error)}") from None
            self._heard = trio.current_time()
            if not data:
                raise self._lost("was lost: the server left")
            try:
                self._protocol.receive_data(bytes(data))
                events = list(self._protocol.events())
            except RemoteProtocolError as error:
                raise self._lost(f"was left: {error}") from None
        return events

    async def _say(self, event: Event) -> None:
        async with self._sending:
            try:
                await self._stream.send_all(self._protocol.send(event))
            except (LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise self._lost(f"was lost: {innermost(error)}") from None

    def _lost(self, words: str) -> Lost:
        return Lost(f"The connection to {self._url} {words}")
