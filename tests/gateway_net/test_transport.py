"""Our transport by itself: what it tells, how far it reads, and that it leaves nothing open."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.upstream import open_upstream
from openai_gateway.net.connection import PIECE_BYTES
from openai_gateway.net.pool import Limits
from openai_gateway.net.tls import client_context
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from tests.gateway_engine.loopback import Connection, loopback
from tests.gateway_engine.scripted import provider
from tests.gateway_engine.test_cancellation import CancelAtStep
from tests.gateway_net.certificates import server_context
from tests.gateway_net.exchanges import CHUNKED, OK, Failed, Got, clocks, outcome, plays, request
from tests.gateway_net.memory import Memory, in_memory, native

ONE = provider(base_url="http://one.example/v1")
URL = httpx.URL("http://one.example/v1/x")


async def test_it_serves_as_a_transport_of_httpx(autojump_clock: MockClock) -> None:
    async with in_memory(plays([CHUNKED + b"2\r\nok\r\n0\r\n\r\n"])) as memory:
        async with httpx.AsyncClient(transport=Http11Transport(connect=memory.connect)) as client:
            answer = await client.post(URL, json={"a": 1})

        assert (answer.status_code, answer.reason_phrase, answer.http_version) == (200, "OK", "HTTP/1.1")
        assert answer.text == "ok"
        assert memory.open == 0


async def test_a_cut_body_is_an_error_in_httpxs_terms(autojump_clock: MockClock) -> None:
    serve = plays([CHUNKED + b"4\r\nhalf\r\n"])
    async with in_memory(serve) as memory, httpx.AsyncClient(transport=Http11Transport(connect=memory.connect)) as one:
        with pytest.raises(httpx.ReadError, match="incomplete chunked read"):
            await one.get(URL)

        assert memory.open == 0


async def test_headers_keep_their_values_whatever_their_bytes(autojump_clock: MockClock) -> None:
    said = b"HTTP/1.1 200 OK\r\nX-A: \xc3\xb6\r\nx-a: two\r\nX-Latin: \xf6\r\ncontent-length: 0\r\n\r\n"
    async with native(plays([said])) as (upstream, _, _):
        exchange = await upstream.open(ONE, request(ONE.base_url), clocks())
        await exchange.aclose()

    assert dict(exchange.headers) == {"x-a": "\u00f6, two", "x-latin": "\u00f6", "content-length": "0"}


@pytest.mark.parametrize(
    ("headers", "body", "head"),
    [
        ((), b"{}", b"POST /v1/x HTTP/1.1\r\nHost: one.example\r\nUser-Agent: openai-gateway/"),
        ((("host", "two.example"),), b"{}", b"POST /v1/x HTTP/1.1\r\nhost: two.example\r\n"),
        ((("user-agent", "us/1"),), b"{}", b"POST /v1/x HTTP/1.1\r\nHost: one.example\r\nuser-agent: us/1\r\n"),
        ((), b"", b"POST /v1/x HTTP/1.1\r\nHost: one.example\r\n"),
    ],
    ids=["as it is", "a host of the configuration", "a name of the configuration", "no body"],
)
async def test_what_is_sent(
    autojump_clock: MockClock, headers: tuple[tuple[str, str], ...], body: bytes, head: bytes
) -> None:
    seen = b""

    async def serve(connection: Connection) -> None:
        nonlocal seen
        seen = await connection.request()
        await connection.stream.send_all(OK)

    async with native(serve) as (upstream, _, _):
        asked = UpstreamRequest(method="POST", url=f"{ONE.base_url}/x", headers=headers, body=body)
        await (await upstream.open(ONE, asked, clocks())).aclose()

    assert seen.startswith(head)
    assert seen.lower().count(b"host:") == 1
    assert seen.lower().count(b"user-agent:") == 1
    assert seen.endswith(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


async def test_a_body_that_comes_in_parts_is_sent_in_chunks(autojump_clock: MockClock) -> None:
    seen: list[bytes] = []

    async def serve(connection: Connection) -> None:
        while not b"".join(seen).endswith(b"0\r\n\r\n"):
            seen.append(bytes(await connection.stream.receive_some()))
        await connection.stream.send_all(OK)

    async def parts() -> AsyncIterator[bytes]:
        await trio.lowlevel.checkpoint()
        yield b"one"
        yield b"two"

    async with in_memory(serve) as memory, Http11Transport(connect=memory.connect) as transport:
        await transport.handle_async_request(httpx.Request("POST", URL, content=parts()))

    assert b"transfer-encoding: chunked" in b"".join(seen).lower()
    assert b"".join(seen).endswith(b"\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n")


async def test_an_ipv6_address_is_asked_for_without_brackets(autojump_clock: MockClock) -> None:
    async with in_memory(plays([OK])) as memory:
        async with httpx.AsyncClient(transport=Http11Transport(connect=memory.connect)) as client:
            await client.get("http://[::1]:8000/x")

        assert memory.asked_for == [("::1", 8000)]


@pytest.mark.parametrize(
    "asked",
    [
        httpx.Request("GET", "ftp://one.example/"),
        httpx.Request("GET", URL, headers={"authorization": "Bearer sk-secret\nx: y"}),
        httpx.Request("POST", URL, headers={"x-api-key": "sk-secret", "content-length": "5"}, content=b"four"),
    ],
    ids=["scheme", "header", "length"],
)
async def test_what_cannot_be_sent_is_no_secret_in_an_error(autojump_clock: MockClock, asked: httpx.Request) -> None:
    async with in_memory(plays([OK])) as memory, Http11Transport(connect=memory.connect) as transport:
        with pytest.raises(httpx.TransportError) as caught:
            await transport.handle_async_request(asked)
        told = []
        error: BaseException | None = caught.value
        while error is not None:
            told.append(repr(error))
            error = error.__cause__ or error.__context__
        with pytest.raises(RuntimeError, match="request"):
            _ = caught.value.request

        assert "sk-secret" not in " ".join(told)
        assert memory.open == 0


class Told:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def connecting(self) -> None:
        self.words.append("connecting")

    def sending(self, *, reused: bool) -> None:
        self.words.append("sending again" if reused else "sending")

    def answering(self) -> None:
        self.words.append("answering")


async def test_it_tells_how_far_an_exchange_is(autojump_clock: MockClock) -> None:
    told = Told()
    async with in_memory(plays([OK, OK])) as memory, Http11Transport(connect=memory.connect) as transport:
        for _ in range(2):
            answer = await transport.handle_async_request(httpx.Request("GET", URL, extensions={"watch": told}))
            assert await answer.aread() == b"ok"

    assert told.words == ["connecting", "sending", "answering", "sending again", "answering"]


async def test_a_head_that_drips_is_ended_by_the_first_byte_clock(autojump_clock: MockClock) -> None:
    async def drips(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await trio.sleep(1)
            await connection.stream.send_all(b"x: y\r\n")

    async with in_memory(drips) as memory, Http11Transport(connect=memory.connect) as transport:
        async with open_upstream(transport) as upstream:
            assert await outcome(upstream, ONE) == Failed(Cause.FIRST_BYTE_CLOCK)

        assert trio.current_time() == 30
        assert memory.open == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_server_that_never_accepts_is_ended_by_the_connect_clock(
    autojump_clock: MockClock, scheme: str
) -> None:
    async def silent(connection: Connection) -> None:
        await connection.until_gone()

    async with in_memory(silent) as memory:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            return await memory.connect(host, port) if scheme == "https" else await trio.sleep_forever()

        async with Http11Transport(connect=connect) as transport, open_upstream(transport) as upstream:
            made = provider(base_url=f"{scheme}://one.example/v1")
            assert await outcome(upstream, made) == Failed(Cause.CONNECT_CLOCK)

        assert trio.current_time() == 5
        assert memory.open == 0


async def test_a_slow_reader_slows_the_upstream(autojump_clock: MockClock) -> None:
    sent = 0

    async def serve(connection: Connection) -> None:
        nonlocal sent
        await connection.stream.receive_some()
        await connection.stream.send_all(CHUNKED)
        while True:
            await connection.stream.send_all(b"%x\r\n%s\r\n" % (10_000, b"x" * 10_000))
            sent += 10_000

    async with in_memory(serve, lockstep=True) as memory, Http11Transport(connect=memory.connect) as transport:
        answer = await transport.handle_async_request(httpx.Request("GET", URL))
        pieces = aiter(answer.stream)  # type: ignore[arg-type]  # httpx's type is for both kinds of readers
        for _ in range(20):
            read = sent
            assert len(await anext(pieces)) <= PIECE_BYTES
            await trio.sleep(100)
            assert sent - read <= PIECE_BYTES
        await answer.aclose()

        assert memory.open == 0


async def test_small_chunks_that_came_together_are_given_together(autojump_clock: MockClock) -> None:
    said = CHUNKED + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"
    async with in_memory(plays([said])) as memory, Http11Transport(connect=memory.connect) as transport:
        answer = await transport.handle_async_request(httpx.Request("GET", URL))
        pieces = [piece async for piece in answer.stream]  # type: ignore[union-attr]  # as above

    assert pieces == [b"a" * 1000]


async def test_a_refused_connection_names_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with open_upstream() as upstream:
            with pytest.raises(Broke) as caught:
                await upstream.open(ONE, request(f"http://127.0.0.1:{port}"), clocks())

    assert caught.value.detail == f"127.0.0.1:{port}: Connection refused"


async def test_a_reset_before_an_answer_is_told_as_one() -> None:
    async def resets(connection: Connection) -> None:
        await connection.stream.receive_some(10)
        assert isinstance(connection.stream, trio.SocketStream)
        connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with loopback(resets) as server, open_upstream() as upstream:
        with pytest.raises(Broke) as caught:
            await upstream.open(ONE, request(server.base_url), clocks())

    assert (caught.value.cause, caught.value.detail) == (Cause.RESET, "Connection reset by peer")


@asynccontextmanager
async def long_way(scheme: str, bundle: str = "") -> AsyncIterator[tuple[Memory, Http11Transport]]:
    """A transport of one place towards a server that makes every call go through all its kinds of waiting."""
    context = server_context("one.example")

    async def serve(connection: Connection) -> None:
        stream = connection.stream
        if scheme == "https":
            stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        asked = Connection(connection.number, stream, trio.Event())
        while await asked.request():
            for part in (b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, b"2\r\nok\r\n", b"1\r\n!\r\n", b"0\r\n\r\n"):
                await trio.sleep(1)
                await stream.send_all(part)

    async with in_memory(serve, lockstep=scheme == "http") as memory:
        tls = client_context(bundle) if scheme == "https" else None
        async with Http11Transport(connect=memory.connect, tls=tls, limits=Limits(connections=1)) as transport:
            yield memory, transport


async def two_calls(transport: Http11Transport, url: httpx.URL, body: bytes) -> None:
    async with open_upstream(transport) as upstream:
        for _ in range(2):
            asked = UpstreamRequest(method="POST", url=str(url), headers=(), body=body)
            exchange = await upstream.open(provider(base_url=str(url)), asked, Clocks(connect=9, first_byte=99, idle=9))
            try:
                assert await exchange.read_all() == b"ok!"
            finally:
                await exchange.aclose()


def accounts(memory: Memory, transport: Http11Transport, url: httpx.URL) -> tuple[int, bool]:
    """The free places, and whether the open streams are the kept ones."""
    pool = transport.pool(url)
    return pool.free, memory.open == pool.idle


@pytest.mark.parametrize("body", [b"{}", b"x" * 200_000], ids=["small", "large"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelled_at_any_await_it_leaves_nothing_open(
    autojump_clock: MockClock, scheme: str, body: bytes, bundle: str
) -> None:
    url = httpx.URL(f"{scheme}://one.example/v1/x")
    counted = CancelAtStep(trio.CancelScope(), trio.lowlevel.current_task(), 0)
    async with long_way(scheme, bundle) as (memory, transport):
        trio.lowlevel.add_instrument(counted)
        await two_calls(transport, url, body)
        trio.lowlevel.remove_instrument(counted)
        assert accounts(memory, transport, url) == (1, True)
    steps = -counted.steps_left
    assert steps > 20

    for step in range(1, steps):
        async with long_way(scheme, bundle) as (memory, transport):
            with trio.CancelScope() as scope:
                canceller = CancelAtStep(scope, trio.lowlevel.current_task(), step)
                trio.lowlevel.add_instrument(canceller)
                try:
                    await two_calls(transport, url, body)
                finally:
                    trio.lowlevel.remove_instrument(canceller)
            assert accounts(memory, transport, url) == (1, True), f"cancelled at step {step}"
        assert memory.open == 0


async def test_closing_waits_for_no_peer(autojump_clock: MockClock) -> None:
    async with in_memory(plays([CHUNKED, OK])) as memory, Http11Transport(connect=memory.connect) as transport:
        memory.stuck = True
        answer = await transport.handle_async_request(httpx.Request("GET", URL))
        await answer.aclose()

        assert memory.open == 0
        assert trio.current_time() == 0


async def test_a_cancelled_read_has_closed_its_connection(autojump_clock: MockClock) -> None:
    serve = plays([CHUNKED], closes=False)
    async with in_memory(serve) as memory, Http11Transport(connect=memory.connect) as transport:
        answer = await transport.handle_async_request(httpx.Request("GET", URL))
        with trio.move_on_after(1):
            await answer.aread()

        assert memory.open == 0
        assert transport.pool(URL).free == Limits().connections
        assert [piece async for piece in answer.stream] == []  # type: ignore[union-attr]  # as above


async def test_two_calls_of_which_one_is_cancelled_leave_the_other_alone(autojump_clock: MockClock) -> None:
    async with long_way("http") as (memory, transport), open_upstream(transport) as upstream, trio.open_nursery() as n:

        async def impatient() -> None:
            with trio.move_on_after(2):
                await outcome(upstream, ONE)

        n.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        assert await outcome(upstream, ONE) == Got(body=b"ok!")
        assert len(memory.connections) == 2
