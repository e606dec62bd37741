"""The transports that the table runs over, each dialling the fault upstream in the place of the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import httpcore
import httpx
import trio

from openai_gateway.net.transport import Http11Transport
from tests.gateway_faults.upstream import FaultUpstream, Wire

Open = Callable[[str, int], Awaitable[trio.abc.Stream]]


class Dialled(httpcore.AsyncNetworkBackend):
    """httpcore's network, with our opener beneath it."""

    def __init__(self, open_stream: Open) -> None:
        self._open = open_stream

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return Network(await self._open(host, port))
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error


class Network(httpcore.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            assert isinstance(self._stream, Wire)
            return self._stream.readable
        return None


def of_httpx(upstream: FaultUpstream) -> httpx.AsyncBaseTransport:
    """httpx's own."""
    transport = httpx.AsyncHTTPTransport()
    transport._pool = httpcore.AsyncConnectionPool(
        network_backend=Dialled(upstream.dial), max_connections=256, max_keepalive_connections=64
    )
    return transport


def of_ours(upstream: FaultUpstream) -> httpx.AsyncBaseTransport:
    """Our own."""
    return Http11Transport(connect=upstream.dial)


TRANSPORTS: Final[Mapping[str, Callable[[FaultUpstream], httpx.AsyncBaseTransport]]] = {
    "ours": of_ours,
    "httpx": of_httpx,
}
