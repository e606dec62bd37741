"""What the tests of both transports ask, and what a scripted server says to it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.upstream import Upstream
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from openai_gateway.routing.plan import Provider
from tests.gateway_engine.loopback import Connection, Serve

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SECOND = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond"


@attrs.frozen
class Got:
    """An answer that came whole."""

    status: int = 200
    body: bytes = b"ok"


@attrs.frozen
class Failed:
    """How an exchange broke, and the part of the body that came before."""

    cause: Cause
    before: bytes = b""


Outcome = Got | Failed


def clocks() -> Clocks:
    return Clocks(connect=5, first_byte=30, idle=30)


def request(base_url: str, method: str = "POST", body: bytes = b"{}") -> UpstreamRequest:
    return UpstreamRequest(
        method=method, url=f"{base_url}/x", headers=(("authorization", "Bearer sk-secret"),), body=body
    )


async def outcome(upstream: Upstream, provider: Provider, method: str = "POST", body: bytes = b"{}") -> Outcome:
    """One exchange, read to its end and closed."""
    before = bytearray()
    try:
        exchange = await upstream.open(provider, request(provider.base_url, method, body), clocks())
        try:
            while piece := await exchange.read():
                before += piece
        finally:
            await exchange.aclose()
    except Broke as broke:
        return Failed(broke.cause, bytes(before))
    return Got(exchange.status, bytes(before))


Turn = bytes | tuple[bytes, ...]
"""What is said to one request: at once, or in parts between which everyone else has come to rest."""


def plays(*connections: Sequence[Turn], closes: bool = True) -> Serve:
    """A server whose n-th connection answers its requests with these turns, and then closes, or waits to be left."""

    async def serve(connection: Connection) -> None:
        for turn in connections[connection.number]:
            if not await connection.request():
                return
            for part in (turn,) if isinstance(turn, bytes) else turn:
                await connection.stream.send_all(part)
        if not closes:
            await connection.until_gone()

    return serve
