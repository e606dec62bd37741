"""The stdio server in front of a remote one: what passes, how calls are cancelled, and what a lost connection says."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection
from wsproto.events import Request as Upgrade

from openai_gateway.errors import ConfigError
from openai_gateway.net.client import Http11Client
from openai_gateway.secret import Secret
from openai_gateway_mcp.config import load
from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.model import Result, Text, ToolResult
from openai_gateway_mcp.relay import Remote, relay
from openai_gateway_mcp.remotes.http import HttpRemote
from openai_gateway_mcp.remotes.websocket import WebSocketRemote
from openai_gateway_mcp.transports.calls import Reporter
from openai_gateway_mcp.transports.websocket import BEAT
from tests.gateway_engine.loopback import Connection
from tests.gateway_net.memory import in_memory
from tests.playbook import SUBSCRIPTION_ID, cancel, initialize, modern, notification, request
from tests.transports.memory import MemoryStream
from tests.transports.posting import House, done, house
from tests.transports.test_http import by_name, forever, reports
from tests.transports.test_three_ways import Said, legacy, modern_era, over_endpoint, over_stdio, until_answer

Json = Any
URL = "http://localhost:1/mcp"
KEY = "ogm_canary0123456789"


@attrs.define
class Client:
    """The client of a running relay."""

    wire: MemoryStream
    said: list[str] = attrs.field(factory=list)

    async def ask(self, message: Json) -> Said:
        self.wire.send(message)
        return await until_answer(self.wire.receive)

    async def answer(self, message: Json) -> Json:
        return (await self.ask(message))[-1]


class NeverClosed(trio.abc.Stream):
    """A stream whose end never comes: the network is gone, and nobody says so."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


Connect = Callable[[str, int], Any]


@asynccontextmanager
async def relayed(
    connect: Connect, *, key: str | None = None, max_bytes: int = 10_000, scheme: str = "http"
) -> AsyncIterator[Client]:
    client = Client(MemoryStream())
    secret = None if key is None else Secret(key, name="k")
    remote: Remote = HttpRemote(URL, secret, Http11Client(connect=connect))
    if scheme == "ws":
        remote = WebSocketRemote(URL.replace("http", "ws"), secret, connect=connect)
    playing = functools.partial(relay, max_message_bytes=max_bytes, say=client.said.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(playing, client.wire, remote)
        yield client
        client.wire.close()


@asynccontextmanager
async def before(one: House, **options: Any) -> AsyncIterator[Client]:
    """A relay in front of an endpoint in memory."""
    async with trio.open_nursery() as servers:

        async def connect(_host: str, _port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = memory_stream_pair()
            servers.start_soon(one.http.serve_connection, theirs)
            return ours

        async with relayed(connect, **options) as client:
            yield client
        servers.cancel_scope.cancel()


def call(id_: Json = 1, **params: Json) -> Json:
    return request(id_, "tools/call", name="do", **params)


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("conversation", [legacy(), modern_era()], ids=["legacy", "modern"])
async def test_it_is_the_conversation_that_it_would_be_without_it(
    conversation: list[Json], scheme: str, autojump_clock: MockClock
) -> None:
    async with before(over_endpoint(), scheme=scheme) as client:
        for message, direct in zip(conversation, await over_stdio(conversation), strict=True):
            if "id" in message:
                assert await client.ask(message) == direct, message
            else:
                client.wire.send(message)
    assert client.said == []


async def test_arguments_that_a_tool_mirrors_stand_in_the_head() -> None:
    async with before(over_endpoint()) as client:
        await client.ask(modern(1, "tools/list"))
        given = {"region": "Köln", "count": 3, "urgent": True}
        said = await client.answer(modern(2, "tools/call", name="test_custom_header", arguments=given))
        assert "result" in said


async def test_the_key_is_the_bearer_and_a_wrong_one_is_told_in_words_that_help() -> None:
    one = house(verify=by_name)
    async with before(one, key=KEY) as client:
        error = (await client.answer(request(1, "ping")))["error"]
        assert error["code"] == 1001
        assert "GATEWAY_API_KEY" in error["message"]
        assert KEY not in error["message"]

    async def serve(connection: Connection) -> None:
        head = await connection.request()
        assert head is not None
        assert f"authorization: Bearer {KEY}".encode() in head
        await connection.stream.send_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

    async with in_memory(serve) as memory, relayed(memory.connect, key=KEY) as client:
        assert (await client.answer(request(1, "ping")))["error"]["code"] == 1001


async def test_progress_passes_under_the_client_s_token(autojump_clock: MockClock) -> None:
    async with before(house(reports)) as client:
        said = await client.ask(call("x", _meta={"progressToken": "mine"}))
        assert [one.get("params", {}).get("progressToken") for one in said] == ["mine", "mine", None]
        assert said[-1]["id"] == "x"


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("message", [call(7), modern(7, "tools/call", name="do")])
async def test_a_cancellation_reaches_the_call_over_there(message: Json, scheme: str) -> None:
    one = house(forever)
    async with before(one, scheme=scheme) as client:
        await client.ask(initialize(0))
        client.wire.send(message)
        await wait_all_tasks_blocked()
        assert len(one.started) == 1
        client.wire.send(cancel(7))
        await wait_all_tasks_blocked()
        assert one.cancelled == one.started
        assert "result" in await client.answer(request(8, "ping"))


async def test_a_client_that_closes_gets_what_comes_in_a_moment(autojump_clock: MockClock) -> None:
    async def slow(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.sleep(0.3)
        return ToolResult(content=(Text("done"),))

    async with before(house(slow)) as client:
        client.wire.send(call(1))
        client.wire.close()
        assert (await client.wire.receive())["result"]["content"][0]["text"] == "done"
    one = house(forever)
    async with before(one) as client:
        client.wire.send(call(1))
    await wait_all_tasks_blocked()
    assert len(one.cancelled) == 1


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_a_subscription_over_there(scheme: str) -> None:
    one = house()
    async with before(one, scheme=scheme) as client:
        client.wire.send(modern("l", "subscriptions/listen", notifications={"toolsListChanged": True}))
        first = await client.wire.receive()
        assert first["params"]["_meta"][SUBSCRIPTION_ID] == "l"
        one.endpoint.drain()
        if scheme == "ws":
            assert (await client.wire.receive())["params"]["requestId"] == "l"
        assert (await client.wire.receive())["id"] == "l"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","method":"n"}]', -32600),
        (b"3", -32600),
        (b"x" * 20_000, -32700),
    ],
)
async def test_what_cannot_be_passed_on_is_answered_here(line: bytes, code: int) -> None:
    async with before(house()) as client:
        client.wire._to_server.send_nowait(line + b"\n")
        assert (await client.wire.receive())["error"]["code"] == code
        client.wire.send(call(1))
        client.wire.send({**call(1), "id": "2"})
        assert {(await client.wire.receive())["id"] for _ in range(2)} == {1, "2"}


async def test_an_id_in_flight_and_an_answer_of_the_client_s() -> None:
    one = house(forever)
    async with before(one) as client:
        client.wire.send(call(1), call(1), {"jsonrpc": "2.0", "id": 9, "result": {}}, notification("n"))
        assert (await client.wire.receive())["error"]["code"] == -32600


# --- when it goes wrong over there ----------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def plain(status: int, body: bytes, kind: str = "application/json") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        status,
        kind.encode(),
        len(body),
        body,
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "localhost:1"),
        (HEAD, "ended before the answer"),
        (HEAD + b'data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n', "ended before the answer"),
        (HEAD + b"data: nonsense\n\n", "no message"),
        (HEAD + b"data: [1]\n\n", "no message"),
        (plain(200, b"{"), "HTTP 200"),
        (plain(200, b"<html>", "text/html"), "its /mcp"),
        (plain(502, b"<html>", "text/html"), "HTTP 502"),
        (plain(202, b""), "HTTP 202"),
        (plain(200, b'{"jsonrpc":"2.0","id":99,"result":{}}'), "something else"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "was lost"),
        (b"nonsense\r\n\r\n", "localhost:1"),
    ],
)
async def test_a_request_that_is_not_answered_is_answered_with_an_error_once(said: bytes, words: str) -> None:
    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(said)
        await trio.aclose_forcefully(connection.stream)

    async with in_memory(serve) as memory, relayed(memory.connect) as client:
        error = (await client.answer(request("x", "ping")))["error"]
        assert error["code"] == 1006
        assert words in error["message"]
        await wait_all_tasks_blocked()
        notes = [one for one in client.wire.unread() if "id" in one]
        assert notes == []


async def test_an_error_that_names_no_id_is_this_request_s() -> None:
    refused = {"jsonrpc": "2.0", "id": None, "error": {"code": 1008, "message": "The server is stopping."}}

    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(plain(503, json.dumps(refused).encode()))

    async with in_memory(serve) as memory, relayed(memory.connect) as client:
        assert await client.answer(request("x", "ping")) == {**refused, "id": "x"}


async def test_nobody_listens_there() -> None:
    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        raise OSError(111, "Connection refused")

    async with relayed(connect) as client:
        error = (await client.answer(request(1, "ping")))["error"]
        assert (error["code"], "cannot be reached" in error["message"]) == (1006, True)
        client.wire.send(notification("notifications/initialized"))
        assert (await client.answer(request(2, "ping")))["error"]["code"] == 1006


# --- one connection for all -----------------------------------------------------------------------------------------


async def test_a_lost_connection_answers_each_call_once_and_the_next_opens_another() -> None:
    one = house(forever)
    ends: list[trio.abc.Stream] = []
    async with trio.open_nursery() as servers:

        async def connect(_host: str, _port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = memory_stream_pair()
            ends.append(theirs)
            servers.start_soon(one.http.serve_connection, theirs)
            return ours

        async with relayed(connect, scheme="ws") as client:
            await client.ask(initialize(0, "2025-06-18"))
            client.wire.send(notification("notifications/initialized"), call(1), call("1"))
            await wait_all_tasks_blocked()
            await trio.aclose_forcefully(ends[0])
            lost = [await client.wire.receive() for _ in range(2)]
            assert sorted(str(type(message["id"])) for message in lost) == ["<class 'int'>", "<class 'str'>"]
            assert {message["error"]["code"] for message in lost} == {1006}
            one.script = done
            assert (await client.answer(call(2)))["result"]["content"][0]["text"] == "done"
            # The new connection speaks the revision that was settled on the old one: this one has no batches.
            batch = await client.answer(request(3, "tools/list"))
            assert "title" in batch["result"]["tools"][0]
            assert len(ends) == 2
        servers.cancel_scope.cancel()
    assert len(client.said) == 1


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_an_upgrade_that_is_refused(status: int) -> None:
    async def serve(connection: Connection) -> None:
        head = await connection.request()
        assert head is not None
        assert f"authorization: bearer {KEY}".encode() in head.lower().replace(KEY.lower().encode(), KEY.encode())
        await connection.stream.send_all(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)

    async with in_memory(serve) as memory, relayed(memory.connect, key=KEY, scheme="ws") as client:
        error = (await client.answer(request(1, "ping")))["error"]
        assert error["code"] == (1001 if status == 401 else 1006)
        assert str(status) in error["message"]
        assert KEY not in error["message"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"\x81\x03abc", "no message"),
        (b"\x88\x02\x03\xe9", "was closed (1001)"),
        (b"\xf1\x00", "was closed (1002)"),
        (b"", "was lost"),
    ],
)
async def test_a_remote_that_speaks_nonsense_is_left(frame: bytes, words: str) -> None:
    async def serve(connection: Connection) -> None:
        head = await connection.request()
        assert head is not None
        server = WSConnection(ConnectionType.SERVER)
        server.receive_data(head)
        (asked,) = server.events()
        assert isinstance(asked, Upgrade)
        await connection.stream.send_all(server.send(AcceptConnection(subprotocol="mcp")))
        await connection.stream.receive_some()
        await connection.stream.send_all(frame)
        await trio.aclose_forcefully(connection.stream)

    async with in_memory(serve) as memory, relayed(memory.connect, scheme="ws") as client:
        error = (await client.answer(request(1, "ping")))["error"]
        assert error["code"] == 1006
        assert words in error["message"]


async def test_a_remote_that_never_answers(autojump_clock: MockClock) -> None:
    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return memory_stream_pair()[0]

    async with relayed(connect, scheme="ws") as client:
        assert "within 20 s" in (await client.answer(request(1, "ping")))["error"]["message"]


async def test_a_remote_that_falls_silent_is_dead(autojump_clock: MockClock) -> None:
    one = house(forever)
    async with trio.open_nursery() as servers:

        async def connect(_host: str, _port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = memory_stream_pair()

            async def serve() -> None:
                with trio.move_on_after(30):
                    await one.http.serve_connection(NeverClosed(theirs))

            servers.start_soon(serve)
            return ours

        async with relayed(connect, scheme="ws") as client:
            began = trio.current_time()
            assert "is dead" in (await client.answer(call(1)))["error"]["message"]
            assert trio.current_time() - began > 2 * BEAT
        servers.cancel_scope.cancel()


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "mode", "is_relay"),
    [
        ("https://mcp.example/mcp", "", True),
        ("https://mcp.example/mcp/", "", True),
        ("https://gateway.example/v1", "", False),
        ("https://mcp.example/mcp", "openai", False),
        ("https://mcp.example/tools", "mcp", True),
        ("wss://mcp.example/", "", True),
        ("ws://127.0.0.1:3000/x", "", True),
    ],
)
def test_what_is_relayed(url: str, mode: str, is_relay: bool) -> None:
    settings = load({"GATEWAY_URL": url, "GATEWAY_API_KEY": KEY}, {"mode": mode} if mode else {})
    assert (settings.relay is not None) is is_relay
    assert KEY not in repr(settings)
    assert Secret(KEY, name="k") in settings.features.gateway.secrets


def test_the_commands_that_need_a_gateway_say_why_there_is_none() -> None:
    settings = load({"GATEWAY_URL": "https://mcp.example/mcp"}, {})
    assert "MCP server" in settings.features.gateway.table.missing
    assert load({"GATEWAY_URL": "https://mcp.example/mcp"}, {"embedded": "true"}).relay is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GATEWAY_URL": "http://mcp.example/mcp"}, "https"),
        ({"GATEWAY_URL": "ws://mcp.example/mcp"}, "https"),
        ({"GATEWAY_URL": "wss://mcp.example/mcp", "HTTPS_PROXY": "http://p.example"}, "NO_PROXY"),
        ({"GATEWAY_URL": "https://u:p@mcp.example/mcp"}, "user name"),
        ({"GATEWAY_URL": "https://mcp.example/mcp", "HTTPS_PROXY": "http://p.example"}, "NO_PROXY"),
    ],
)
def test_a_relay_that_cannot_be(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ, {})
    assert words in str(caught.value)


def test_a_mode_that_is_none() -> None:
    with pytest.raises(ConfigError, match="openai, mcp"):
        load({}, {"mode": "websocket"})
