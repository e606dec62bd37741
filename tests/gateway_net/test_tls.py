"""TLS: who is trusted, who we say we are, and what a person is told where it fails."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock

from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.upstream import Upstream, open_upstream
from openai_gateway.errors import ConfigError
from openai_gateway.net.tls import client_context
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.plan import SYSTEM_STORE, TRANSPORTS, Provider
from tests.gateway_engine.loopback import Connection, Serve
from tests.gateway_engine.scripted import provider
from tests.gateway_net.certificates import CA, server_context
from tests.gateway_net.exchanges import OK, SECOND, Failed, Got, clocks, outcome, request
from tests.gateway_net.memory import Memory, in_memory


@asynccontextmanager
async def tls_server(serve: Serve, context: ssl.SSLContext) -> AsyncIterator[tuple[str, list[Connection]]]:
    """The base URL of a TLS server on a socket, and its connections."""
    connections: list[Connection] = []

    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        connection = Connection(len(connections), stream, trio.Event())
        connections.append(connection)
        try:
            await serve(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # trio keeps the alert that says what was wrong; other servers send theirs.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.transport_stream.send_all(stream._outgoing.read())
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_ssl_over_tcp, handle, 0, context, host="127.0.0.1", https_compatible=True)
        listeners = await nursery.start(start)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        yield f"https://localhost:{port}/v1", connections
        nursery.cancel_scope.cancel()


async def answers(connection: Connection) -> None:
    while await connection.request():
        await connection.stream.send_all(OK)


async def why_not(upstream: Upstream, made: Provider) -> Broke:
    with pytest.raises(Broke) as caught:
        await upstream.open(made, request(made.base_url), clocks())
    return caught.value


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_of_a_trusted_authority_is_asked_over_one_connection(bundle: str, transport: str) -> None:
    async with tls_server(answers, server_context("localhost")) as (url, connections), open_upstream() as upstream:
        made = provider(base_url=url, ca_bundle=bundle, transport=transport)
        assert await outcome(upstream, made) == Got()
        assert await outcome(upstream, made) == Got()

        assert len(connections) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_unknown_authority_is_refused_in_words(transport: str) -> None:
    async with tls_server(answers, server_context("localhost")) as (url, _), open_upstream() as upstream:
        broke = await why_not(upstream, provider(base_url=url, transport=transport))

    assert broke.cause is Cause.CONNECT
    assert "certificate verify failed: unable to get local issuer certificate" in broke.detail
    assert "_ssl.c" not in broke.detail


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_certificate_for_another_name_is_refused_in_words(bundle: str, transport: str) -> None:
    async with tls_server(answers, server_context("other.example")) as (url, _), open_upstream() as upstream:
        broke = await why_not(upstream, provider(base_url=url, ca_bundle=bundle, transport=transport))

    assert broke.cause is Cause.CONNECT
    assert "certificate is not valid for 'localhost'" in broke.detail


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_provider_whose_certificates_change_gets_other_connections(bundle: str, transport: str) -> None:
    async with tls_server(answers, server_context("localhost")) as (url, _), open_upstream() as upstream:
        await why_not(upstream, provider(base_url=url, transport=transport))
        assert await outcome(upstream, provider(base_url=url, transport=transport, ca_bundle=bundle)) == Got()


def demanding() -> ssl.SSLContext:
    context = server_context("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    CA.configure_trust(context)
    return context


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_certificate_is_shown_where_one_is_asked_for(
    bundle: str, tmp_path: Path, transport: str
) -> None:
    file = tmp_path / "client.pem"
    CA.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(file)
    async with tls_server(answers, demanding()) as (url, _), open_upstream() as upstream:
        made = provider(base_url=url, ca_bundle=bundle, client_cert=str(file), transport=transport)
        assert await outcome(upstream, made) == Got()


async def test_a_missing_client_certificate_is_named(bundle: str) -> None:
    async with tls_server(answers, demanding()) as (url, _), open_upstream() as upstream:
        broke = await why_not(upstream, provider(base_url=url, ca_bundle=bundle))

    # With TLS 1.3 a server says so only after the handshake, in the place of an answer.
    assert broke.cause is Cause.RESET
    assert broke.detail == "the server asks for a client certificate"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"], []])
async def test_http_1_1_is_what_is_spoken(bundle: str, transport: str, offered: list[str]) -> None:
    agreed: list[Any] = []

    async def notes(connection: Connection) -> None:
        await connection.request()
        stream = connection.stream
        assert isinstance(stream, trio.SSLStream)
        agreed.append(stream.selected_alpn_protocol())
        await stream.send_all(OK)

    context = server_context("localhost")
    if offered:
        context.set_alpn_protocols(offered)
    async with tls_server(notes, context) as (url, _), open_upstream() as upstream:
        made = provider(base_url=url, ca_bundle=bundle, transport=transport)
        assert await outcome(upstream, made) == Got()

    assert agreed == ["http/1.1" if offered else None]


def refuses_unread(*records: bytes) -> Serve:
    async def serve(connection: Connection) -> None:
        await connection.stream.receive_some(1000)
        for record in records:
            await connection.stream.send_all(record)
        await trio.sleep_forever()

    return serve


@pytest.mark.parametrize(
    "records",
    [
        (b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\n", b"too ", b"large"),
        (b"HTTP/1.1 413 Too Large\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\ntoo \r\n", b"5\r\nlarge\r\n0\r\n\r\n"),
        (b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large",),
    ],
    ids=["by its length", "in chunks", "at once"],
)
async def test_a_refusal_comes_whole_though_the_body_is_still_being_sent(
    bundle: str, records: tuple[bytes, ...]
) -> None:
    """A TLS stream whose sending was broken off can be read no more."""
    serve = refuses_unread(*records)
    async with tls_server(serve, server_context("localhost")) as (url, _), open_upstream() as upstream:
        with trio.fail_after(10):
            made = provider(base_url=url, ca_bundle=bundle)
            assert await outcome(upstream, made, body=b"x" * 2**24) == Got(413, b"too large")


async def test_a_refusal_that_stops_in_the_middle_is_not_waited_for_while_the_body_is_being_sent(
    bundle: str, autojump_clock: MockClock
) -> None:
    context = server_context("one.example")

    async def serve(connection: Connection) -> None:
        stream = trio.SSLStream(connection.stream, context, server_side=True, https_compatible=True)
        await stream.do_handshake()
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo ")
        await trio.sleep_forever()

    async with in_memory(serve, lockstep=True) as memory, native(memory, bundle) as upstream:
        began = trio.current_time()
        assert await outcome(upstream, provider(), body=b"x" * 2**20) == Failed(Cause.CUT, b"too ")
        assert trio.current_time() - began == pytest.approx(1)


@asynccontextmanager
async def native(memory: Memory, bundle: str) -> AsyncIterator[Upstream]:
    transport = Http11Transport(connect=memory.connect, tls=client_context(bundle))
    async with transport, open_upstream(transport) as upstream:
        yield upstream


async def test_a_second_answer_in_a_tls_record_of_its_own_is_not_taken_for_the_next(bundle: str) -> None:
    """Both records come with one read of the socket, so that only TLS's own buffer knows of the second."""
    context = server_context("one.example")

    async def serve(connection: Connection) -> None:
        inner = connection.stream
        held: list[bytes] = []

        class Holding(trio.abc.Stream):
            """Passes on what is sent, once there are two records."""

            async def send_all(self, data: Any) -> None:
                held.append(bytes(data))
                if talking and len(held) >= 2:
                    await inner.send_all(b"".join(held))
                    held.clear()
                elif not talking:
                    await inner.send_all(held.pop())

            async def wait_send_all_might_not_block(self) -> None:
                await inner.wait_send_all_might_not_block()

            async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
                return await inner.receive_some(max_bytes)

            async def aclose(self) -> None:
                await inner.aclose()

        talking = False
        stream = trio.SSLStream(Holding(), context, server_side=True, https_compatible=True)
        asked = Connection(connection.number, stream, trio.Event())
        await asked.request()
        if connection.number == 0:
            talking = True
            await stream.send_all(OK)
            await stream.send_all(OK.replace(b"ok", b"no"))
            await asked.until_gone()
        else:
            await stream.send_all(SECOND)
            await asked.until_gone()

    async with in_memory(serve) as memory:
        async with native(memory, bundle) as upstream:
            assert await outcome(upstream, provider()) == Got()
            assert await outcome(upstream, provider()) == Got(body=b"second")

        assert len(memory.connections) == 2
        assert memory.open == 0


async def test_tls_over_memory_streams_is_kept_and_used_again(bundle: str) -> None:
    context = server_context("one.example")

    async def serve(connection: Connection) -> None:
        stream = trio.SSLStream(connection.stream, context, server_side=True, https_compatible=True)
        await answers(Connection(connection.number, stream, trio.Event()))

    async with in_memory(serve) as memory:
        async with native(memory, bundle) as upstream:
            for _ in range(3):
                assert await outcome(upstream, provider()) == Got()

        assert memory.asked_for == [("one.example", 443)]
        assert memory.open == 0


def contexts_of(*arguments: tuple[str | None, str | None]) -> list[ssl.SSLContext]:
    return [client_context(*each) for each in arguments]


def test_a_context_is_made_once(bundle: str) -> None:
    first, second, system, again = contexts_of((bundle, None), (bundle, None), (SYSTEM_STORE, None), (None, None))
    assert first is second
    assert len({first, system, again, client_context(alpn=False)}) == 4


def test_a_file_that_changed_is_read_again(bundle: str) -> None:
    before = client_context(bundle)
    other = trustme.CA()
    Path(bundle).write_bytes(other.cert_pem.bytes() + CA.cert_pem.bytes())

    assert client_context(bundle) is not before
    assert len(client_context(bundle).get_ca_certs()) == 2


@pytest.mark.parametrize("make", [client_context, partial(client_context, SYSTEM_STORE)], ids=["certifi", "system"])
def test_names_and_certificates_are_always_verified(make: Callable[[], ssl.SSLContext]) -> None:
    context = make()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("at", [0, 1], ids=["ca_bundle", "client_cert"])
@pytest.mark.parametrize("content", [None, "no PEM"])
def test_a_file_that_is_of_no_use_is_named(tmp_path: Path, content: str | None, at: int) -> None:
    file = tmp_path / "odd.pem"
    if content is not None:
        file.write_text(content)
    files = [None, None]
    files[at] = str(file)  # type: ignore[call-overload]  # one of the two
    with pytest.raises(ConfigError, match=r"cannot be used: .*: .*odd\.pem"):
        client_context(*files)


async def test_the_system_store_is_used_by_its_name() -> None:
    async with tls_server(answers, server_context("localhost")) as (url, _), open_upstream() as upstream:
        broke = await why_not(upstream, provider(base_url=url, ca_bundle=SYSTEM_STORE))

    assert "certificate verify failed" in broke.detail


async def test_a_transport_on_its_own_trusts_certifis_list() -> None:
    context = server_context("localhost")
    async with tls_server(answers, context) as (url, _), httpx.AsyncClient(transport=Http11Transport()) as client:
        with pytest.raises(httpx.ConnectError, match="certificate verify failed") as caught:
            await client.get(url, headers={"authorization": "Bearer sk-secret"})

    assert "sk-secret" not in repr(caught.value)
