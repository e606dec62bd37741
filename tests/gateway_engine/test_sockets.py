"""Over real sockets only the order of things is asserted, never a time."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from typing import Any

import pytest
import trio

from openai_gateway import Gateway, GatewayError, Kind, Settings, open_gateway
from openai_gateway.routing.plan import TRANSPORTS
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.loopback import HEAD, Connection, Loopback, Serve, framed, loopback, whole_answer
from tests.gateway_engine.scripted import DONE, STOP, WAYS, ask, chunk, provider, row, settings

ANSWER = whole_answer(json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": {}}]}).encode())
ONCE = Retries(max_retries=0)


def at(base_url: str, **more: Any) -> Settings:
    return settings(row(), providers=(provider(base_url=base_url, **more),), retries=ONCE)


async def silent(connection: Connection) -> None:
    await connection.request()
    await connection.until_gone()


async def stalls_in_the_stream(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(HEAD + framed(chunk("Hi")) + framed(chunk("more")))
    await connection.until_gone()


async def refuses_without_end(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nx")
    await connection.until_gone()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("serve", [silent, stalls_in_the_stream, refuses_without_end])
async def test_a_cancelled_call_has_closed_its_socket(serve: Serve, way: str, transport: str) -> None:
    async with loopback(serve) as server, open_gateway(at(server.base_url, transport=transport)) as gateway:
        await _cancelled_once_served(gateway, server, way)
        # The gateway is still open, so only the call can have closed it; the limit is for a test that would hang.
        with trio.fail_after(5):
            await server.connections[0].gone.wait()


async def _cancelled_once_served(gateway: Gateway, server: Loopback, way: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(WAYS[way], gateway)
        await server.served.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_leaving_a_stream_closes_its_socket_before_the_gateway_ends(transport: str) -> None:
    async with (
        loopback(stalls_in_the_stream) as server,
        open_gateway(at(server.base_url, transport=transport)) as gateway,
    ):
        async with gateway.stream(ask()) as parts:
            await anext(parts)
        with trio.fail_after(5):
            await server.connections[0].gone.wait()


async def answers_each(connection: Connection) -> None:
    while await connection.request():
        await connection.stream.send_all(ANSWER)


async def streams_each(connection: Connection) -> None:
    while await connection.request():
        await connection.stream.send_all(HEAD + framed(chunk("Hi")) + framed(STOP) + framed(DONE))
        await connection.stream.send_all(b"0\r\n\r\n")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_gateway_that_is_closed_opens_no_connection(transport: str) -> None:
    """Nobody would close it. A call that is still on its way, or a program that forgot, is told so."""
    async with loopback(answers_each) as server:
        async with open_gateway(at(server.base_url, transport=transport)) as gateway:
            pass
        with pytest.raises(GatewayError, match="the gateway is closed") as caught:
            await gateway.call(ask())
    assert caught.value.kind is Kind.CONFIGURATION
    assert not server.connections


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_is_used_again(transport: str) -> None:
    async with loopback(answers_each) as server, open_gateway(at(server.base_url, transport=transport)) as gateway:
        for _ in range(3):
            await gateway.call(ask())

        assert len(server.connections) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_is_used_again_after_a_stream(transport: str) -> None:
    async with loopback(streams_each) as server, open_gateway(at(server.base_url, transport=transport)) as gateway:
        for _ in range(3):
            async with gateway.stream(ask()) as parts:
                assert len([part async for part in parts]) == 3

        assert len(server.connections) == 1


async def closes_after_reading_the_second(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(ANSWER)
    if connection.number == 0:
        await connection.request()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_kept_connection_that_dies_is_replaced(transport: str) -> None:
    async with (
        loopback(closes_after_reading_the_second) as server,
        open_gateway(at(server.base_url, transport=transport)) as gateway,
    ):
        await gateway.call(ask())
        reply = await gateway.call(ask())

        assert reply.served.attempts == 1
        assert len(server.connections) == 2


async def cuts(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cut_answer_is_no_answer(transport: str) -> None:
    async with loopback(cuts) as server, open_gateway(at(server.base_url, transport=transport)) as gateway:
        with pytest.raises(GatewayError, match="broke off"):
            await gateway.call(ask())


async def speaks_something_else(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(b"220 mail.example ESMTP\r\n\r\n")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_speaks_no_http_is_no_provider(transport: str) -> None:
    async with (
        loopback(speaks_something_else) as server,
        open_gateway(at(server.base_url, transport=transport)) as gateway,
    ):
        with pytest.raises(GatewayError, match="no OpenAI answer"):
            await gateway.call(ask())


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refused_connection_says_so(transport: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with open_gateway(at(f"http://127.0.0.1:{port}/v1", transport=transport)) as gateway:
            with pytest.raises(GatewayError, match=r"(?i)refused") as caught:
                await gateway.call(ask())

    assert caught.value.kind is Kind.NETWORK


async def greets(connection: Connection) -> None:
    await connection.stream.send_all(b"220 mail.example ESMTP\r\n\r\n")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_plain_text_where_tls_is_expected_says_so(transport: str) -> None:
    async with (
        loopback(greets) as server,
        open_gateway(at(server.base_url.replace("http:", "https:"), transport=transport)) as gateway,
    ):
        with pytest.raises(GatewayError, match="does not speak TLS") as caught:
            await gateway.call(ask())

    assert caught.value.kind is Kind.NETWORK


async def never_shakes_hands(connection: Connection) -> None:
    await connection.stream.receive_some()
    await connection.until_gone()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_cancelled_in_the_tls_handshake_has_closed_its_socket(transport: str) -> None:
    async with loopback(never_shakes_hands) as server:
        made = at(server.base_url.replace("http:", "https:"), transport=transport)
        async with open_gateway(made) as gateway:
            await _cancelled_once_served(gateway, server, "call")
            with trio.fail_after(5):
                await server.connections[0].gone.wait()


async def tunnels_and_never_shakes_hands(connection: Connection) -> None:
    assert (await connection.request()).startswith(b"CONNECT far.example:443 HTTP/1.1\r\n")
    await connection.stream.send_all(b"HTTP/1.1 200 Connected\r\n\r\n")
    await never_shakes_hands(connection)


async def test_a_call_cancelled_behind_a_proxy_has_closed_its_socket() -> None:
    async with loopback(tunnels_and_never_shakes_hands) as server:
        made = at("https://far.example/v1", proxy=server.base_url.removesuffix("/v1"))
        async with open_gateway(made) as gateway:
            await _cancelled_once_served(gateway, server, "call")
            with trio.fail_after(5):
                await server.connections[0].gone.wait()


async def test_certificates_that_cannot_be_read_are_named() -> None:
    made = at("https://127.0.0.1:1/v1", ca_bundle="/does/not/exist.pem")
    async with open_gateway(made) as gateway:
        with pytest.raises(GatewayError, match=r"cannot be used: No such file or directory: /does/not/exist\.pem"):
            await gateway.call(ask())


async def proxies(connection: Connection) -> None:
    request = await connection.request()
    assert request.startswith(b"POST http://far.example/v1/chat/completions HTTP/1.1\r\n")
    assert b"proxy-authorization: basic " in request.lower()
    await connection.stream.send_all(ANSWER)


async def test_a_proxy_is_asked_in_the_providers_stead() -> None:
    async with loopback(proxies) as server:
        port = server.base_url.split(":")[-1].removesuffix("/v1")
        made = at("http://far.example/v1", proxy=f"http://user:pass@127.0.0.1:{port}")
        async with open_gateway(made) as gateway:
            assert (await gateway.call(ask())).served.attempts == 1


async def dies_at_its_second_request(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(ANSWER)
    if connection.number == 0:
        await connection.request()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("call", "asked"),
    [
        ({}, 2),
        ({"endpoint": "batches"}, 1),
        ({"endpoint": "batches", "idempotency_key": "k"}, 2),
        ({"endpoint": "batches", "idempotency_key": "two words"}, 1),
    ],
    ids=["generates", "stores", "stores with a key", "stores with a key that no header carries"],
)
async def test_what_stores_is_not_sent_again_when_its_kept_connection_dies(
    call: dict[str, Any], asked: int, transport: str
) -> None:
    """The server had the whole request: it may have left while it was doing it."""
    async with (
        loopback(dies_at_its_second_request) as server,
        open_gateway(at(server.base_url, transport=transport)) as gateway,
    ):
        await gateway.call(ask(**call))
        with nullcontext() if asked == 2 else pytest.raises(GatewayError, match="broke"):
            await gateway.call(ask(**call))
        assert len(server.connections) == asked


@pytest.mark.parametrize("strangers", [False, True])
async def test_between_strangers_no_connection_of_httpx_passes_from_hand_to_hand(strangers: bool) -> None:
    """What a server sends after an answer is the next caller's in httpx; whose calls are strangers' keeps none."""

    async def answers(connection: Connection) -> None:
        while await connection.request():
            await connection.stream.send_all(ANSWER)

    async with (
        loopback(answers) as server,
        open_gateway(at(server.base_url, transport="httpx"), strangers=strangers) as gateway,
    ):
        for _ in range(3):
            await gateway.call(ask())
        assert len(server.connections) == (3 if strangers else 1)
