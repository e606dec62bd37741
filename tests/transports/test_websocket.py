"""MCP over a WebSocket: the conversation of stdio in text frames, pings, limits, and how either side ends it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from tests.playbook import cancel, initialize, modern, request
from tests.transports.posting import House, Json, house, posted
from tests.transports.test_http import by_name, forever
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Opcode

from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.model import Result, Text, ToolResult
from openai_gateway_mcp.transports.calls import Reporter
from openai_gateway_mcp.transports.websocket import BEAT

KEY = {"Upgrade": "websocket", "Connection": "Upgrade, close", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
UPGRADE = {
    **KEY,
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Protocol": "mcp",
    "Content_Type": "",
    "Content_Length": "",
}


class Socket:
    """The client's side, by the same library."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.accepted: AcceptConnection | None = None
        self._events: list[Event] = []
        self._text = ""

    async def open(self, *, subprotocols: tuple[str, ...] = ("mcp",), extensions: tuple[Any, ...] = ()) -> Event:
        """Ask for the upgrade; what became of it."""
        asked = Request(
            host="localhost:3000", target="/mcp", subprotocols=list(subprotocols), extensions=list(extensions)
        )
        await self.send_event(asked)
        return await self.next()

    async def send_event(self, event: Event) -> None:
        await self.stream.send_all(self.protocol.send(event))

    async def say(self, message: Json) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        await self.send_event(TextMessage(text))

    async def next(self) -> Event:
        while not self._events:
            data = await self.stream.receive_some()
            self.protocol.receive_data(bytes(data) or None)
            self._events.extend(self.protocol.events())
        return self._events.pop(0)

    async def hear(self) -> Json:
        """The next message."""
        text = ""
        while True:
            event = await self.next()
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                assert "\n" not in text
                return json.loads(text)

    async def closed(self) -> int:
        event = await self.next()
        assert isinstance(event, CloseConnection), event
        return int(event.code)


@asynccontextmanager
async def opened(one: House) -> AsyncIterator[Socket]:
    async with one.connection() as stream:
        socket = Socket(stream)
        accepted = await socket.open()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "mcp"
        yield socket


def call(id_: Json = 1, **params: Json) -> Json:
    return request(id_, "tools/call", name="do", **params)


# --- the conversation -----------------------------------------------------------------------------------------------


async def test_both_eras_over_one_socket() -> None:
    async with opened(house()) as socket:
        await socket.say(initialize(0, "2025-06-18"))
        assert (await socket.hear())["result"]["protocolVersion"] == "2025-06-18"
        await socket.say(modern("a", "tools/call", name="do"))
        assert (await socket.hear())["result"]["resultType"] == "complete"
        await socket.say(call(2))
        assert (await socket.hear())["id"] == 2


async def test_a_message_may_have_line_ends_and_come_in_pieces() -> None:
    async with opened(house()) as socket:
        text = json.dumps(call(3), indent=1)
        for start in range(0, len(text), 5):
            piece = text[start : start + 5]
            await socket.send_event(TextMessage(piece, message_finished=start + 5 >= len(text)))
        assert (await socket.hear())["id"] == 3
        await socket.say('{"jsonrpc": "2.0", "id": 4, "method": "a\nb"}')
        assert (await socket.hear())["error"]["code"] == -32700


async def test_a_cancellation_is_a_message() -> None:
    one = house(forever)
    async with opened(one) as socket:
        await socket.say(call(7))
        await wait_all_tasks_blocked()
        await socket.say(cancel(7))
        await socket.say(request(8, "ping"))
        assert (await socket.hear())["id"] == 8
        assert one.cancelled == [7]


async def test_a_message_that_is_too_long_is_answered_and_the_next_is_read() -> None:
    async with opened(house(max_message_bytes=1_000)) as socket:
        for _ in range(50):
            await socket.send_event(TextMessage("x" * 100, message_finished=False))
        await socket.send_event(TextMessage("x"))
        error = await socket.hear()
        assert (error["id"], error["error"]["code"]) == (None, -32700)
        await socket.say(request(2, "ping"))
        assert (await socket.hear())["id"] == 2


async def test_a_large_answer_and_a_slow_reader(autojump_clock: MockClock) -> None:
    async def large(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.lowlevel.checkpoint()
        return ToolResult(content=(Text("x" * 3_000_000),))

    async with opened(house(large)) as socket:
        for id_ in range(3):
            await socket.say(call(id_))
        await trio.sleep(30)
        await socket.send_event(Ping(b"p"))
        heard = [await socket.hear() for _ in range(3)]
        assert {message["id"] for message in heard} == {0, 1, 2}


async def test_calls_over_sockets_and_posts_share_their_turns() -> None:
    one = house(forever, max_in_flight=1)
    async with opened(one) as socket, trio.open_nursery() as nursery:
        await socket.say(call(1))
        await wait_all_tasks_blocked()
        nursery.start_soon(one.post, call(2))
        await wait_all_tasks_blocked()
        assert one.started == [1]
        nursery.cancel_scope.cancel()


# --- the wire -------------------------------------------------------------------------------------------------------


async def test_a_ping_is_answered() -> None:
    async with opened(house()) as socket:
        await socket.send_event(Ping(b"there?"))
        assert await socket.next() == Pong(payload=b"there?")


async def test_a_silent_client_is_asked_and_kept_while_it_answers(autojump_clock: MockClock) -> None:
    one = house(forever)
    async with opened(one) as socket:
        await socket.say(call(1))
        for _ in range(3):
            ping = await socket.next()
            assert isinstance(ping, Ping)
            await socket.send_event(ping.response())
        assert one.cancelled == []


async def test_a_client_that_no_longer_answers_is_gone(autojump_clock: MockClock) -> None:
    one = house(forever)
    began = trio.current_time()
    async with opened(one) as socket:
        await socket.say(call(1))
        await socket.next()
        await trio.sleep(BEAT * 0.9)
        assert one.cancelled == []
        await trio.sleep(BEAT * 0.2)
        assert one.cancelled == [1]
    assert 2 * BEAT <= trio.current_time() - began <= 3 * BEAT


async def test_nothing_is_compressed() -> None:
    async with house().connection() as stream:
        accepted = await Socket(stream).open(extensions=(PerMessageDeflate(),))
        assert isinstance(accepted, AcceptConnection)
        assert accepted.extensions == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x80\x00\x00\x00\x00", CloseReason.UNSUPPORTED_DATA),  # binary
        (b"\x81\x01x", CloseReason.PROTOCOL_ERROR),  # not masked
        (b"\xf1\x80\x00\x00\x00\x00", CloseReason.PROTOCOL_ERROR),  # reserved bits
        (b"\x81\x81\x00\x00\x00\x00\xff", CloseReason.INVALID_FRAME_PAYLOAD_DATA),  # not UTF-8
        (b"\x80\x80\x00\x00\x00\x00", CloseReason.PROTOCOL_ERROR),  # goes on with what was not begun
        (b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126, CloseReason.PROTOCOL_ERROR),  # a ping that is too long
    ],
)
async def test_a_frame_that_is_none_closes(frame: bytes, code: CloseReason) -> None:
    async with opened(house()) as socket:
        await socket.stream.send_all(frame)
        assert await socket.closed() == code


async def test_what_came_before_a_wrong_frame_is_answered() -> None:
    one = house()
    async with opened(one) as socket:
        said = socket.protocol.send(TextMessage(json.dumps(call(5))))
        await socket.stream.send_all(said + b"\x81\x01x")
        assert await socket.closed() == CloseReason.PROTOCOL_ERROR
        await wait_all_tasks_blocked()
    assert one.started == [5]


async def test_bytes_that_come_with_the_upgrade_are_read() -> None:
    one = house()
    async with one.connection() as stream:
        socket = Socket(stream)
        client = WSConnection(ConnectionType.CLIENT)
        opening = client.send(Request(host="localhost", target="/mcp", subprotocols=["mcp"]))
        text = json.dumps(request(1, "ping")).encode()
        frame = bytes([0x80 | Opcode.TEXT, 0x80 | len(text), 0, 0, 0, 0]) + text
        await stream.send_all(opening + frame)
        socket.protocol = client
        assert isinstance(await socket.next(), AcceptConnection)
        assert (await socket.hear())["id"] == 1


# --- the end --------------------------------------------------------------------------------------------------------


async def test_who_closes_cancels_what_is_not_done_in_a_moment(autojump_clock: MockClock) -> None:
    one = house(forever)
    async with opened(one) as socket:
        await socket.say(call(1))
        await wait_all_tasks_blocked()
        await socket.send_event(CloseConnection(1000))
        assert await socket.closed() == 1000
        await trio.sleep(0.4)
        assert one.cancelled == []
        await trio.sleep(0.2)
        assert one.cancelled == [1]


async def test_who_is_gone_cancels(autojump_clock: MockClock) -> None:
    one = house(forever)
    async with opened(one) as socket:
        await socket.say(call(1))
        await wait_all_tasks_blocked()
    await trio.sleep(1)
    assert one.cancelled == [1]


async def test_a_server_that_stops_answers_what_it_read_and_says_goodbye(autojump_clock: MockClock) -> None:
    async def slow(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.sleep(10)
        return ToolResult(content=(Text("done"),))

    one = house(slow)
    async with opened(one) as socket:
        await socket.say(modern(5, "subscriptions/listen", notifications={}))
        await socket.say(call(1))
        await trio.sleep(1)
        one.endpoint.drain()
        heard = [await socket.hear() for _ in range(4)]
        assert [message.get("id") for message in heard] == [None, None, 5, 1]
        assert await socket.closed() == CloseReason.GOING_AWAY


async def test_the_grace_has_an_end(autojump_clock: MockClock) -> None:
    one = house(forever, grace=5.0)
    async with opened(one) as socket:
        await socket.say(call(1))
        await trio.sleep(1)
        one.endpoint.drain()
        began = trio.current_time()
        assert await socket.closed() == CloseReason.GOING_AWAY
        assert 5 <= trio.current_time() - began < 6
    assert one.cancelled == [1]


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Sec_WebSocket_Protocol": ""}, 400),
        ({"Sec_WebSocket_Protocol": "graphql-ws"}, 400),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Version": "12"}, 400),
        ({"Connection": "close"}, 400),
        ({"Content_Length": "1"}, 400),
        ({"method": "POST"}, 415),
    ],
)
async def test_an_upgrade_that_is_refused(fields: dict[str, str], status: int) -> None:
    answered = await house().post(b"", **{"method": "GET", **UPGRADE, **fields})
    assert answered.status == status
    assert answered.json["error"]["message"]


async def test_who_says_nothing_is_turned_away_before_the_upgrade() -> None:
    async with house(verify=by_name).connection() as stream:
        refused = await Socket(stream).open()
        assert isinstance(refused, RejectConnection)
        assert refused.status_code == 401


async def test_a_server_that_stops_opens_none() -> None:
    one = house()
    one.endpoint.drain()
    assert (await one.post(b"", method="GET", **UPGRADE)).status == 503


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openai_gateway_mcp.transports.websocket", None)
    answered = await house().post(b"", method="GET", **UPGRADE)
    assert answered.status == 501
    assert "openai-gateway-mcp[websocket]" in answered.json["error"]["message"]


async def test_an_upgrade_to_something_else_is_a_get() -> None:
    assert posted(b"", method="GET")
    assert (await house().post(b"", method="GET", **{**UPGRADE, "Upgrade": "h2c"})).status == 405


async def test_a_session_is_told_what_is_served_now(autojump_clock: MockClock) -> None:
    one = house()
    async with opened(one) as socket:
        await socket.say(modern(1, "subscriptions/listen", notifications={"toolsListChanged": True}))
        assert (await socket.hear())["method"] == "notifications/subscriptions/acknowledged"
        one.server = attrs.evolve(one.server, tools=())
        one.endpoint.offer()
        assert (await socket.hear())["method"] == "notifications/tools/list_changed"
        await socket.say(modern(2, "tools/list"))
        assert (await socket.hear())["result"]["tools"] == []
    one.endpoint.offer()
