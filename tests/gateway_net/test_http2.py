"""HTTP/2, which httpx's transport speaks where a provider asks for it."""

from __future__ import annotations

import ssl
import sys
from typing import Final

import h2.config
import h2.connection
import h2.events
import pytest
import trio

from openai_gateway.engine.upstream import open_upstream
from openai_gateway.routing.attempts import Cause
from tests.gateway_engine.loopback import Connection
from tests.gateway_engine.scripted import provider
from tests.gateway_net.certificates import server_context
from tests.gateway_net.exchanges import Failed, Got, outcome
from tests.gateway_net.test_tls import tls_server

_CONFIG: Final = h2.config.H2Configuration(client_side=False)


async def speaks_http2(connection: Connection) -> None:
    """Answers each stream with `h2`."""
    http = h2.connection.H2Connection(_CONFIG)
    http.initiate_connection()
    await connection.stream.send_all(http.data_to_send())
    while data := await connection.stream.receive_some():
        for event in http.receive_data(bytes(data)):
            if isinstance(event, h2.events.StreamEnded):
                http.send_headers(event.stream_id, [(":status", "200")])
                http.send_data(event.stream_id, b"h2", end_stream=True)
        await connection.stream.send_all(http.data_to_send())


def offering_http2() -> ssl.SSLContext:
    context = server_context("localhost")
    context.set_alpn_protocols(["h2"])
    return context


async def test_many_calls_share_one_connection_of_http_2(bundle: str) -> None:
    async with tls_server(speaks_http2, offering_http2()) as (url, connections), open_upstream() as upstream:
        made = provider(base_url=url, ca_bundle=bundle, http2=True)
        got: list[object] = []

        async def call() -> None:
            got.append(await outcome(upstream, made))

        await call()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)

        assert got == [Got(body=b"h2")] * 6
        assert len(connections) == 1


async def test_without_the_extra_a_call_says_which_one_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)  # as if it were not installed
    async with open_upstream() as upstream:
        assert await outcome(upstream, provider(http2=True)) == Failed(Cause.NOT_CONFIGURED)
