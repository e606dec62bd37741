"""The transport beneath httpx's API: HTTP/1.1 on h11 over trio streams, with a pool for each origin."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Self

import h11
import httpx
import trio

from openai_gateway.net.connection import Connection, Gone, Watch
from openai_gateway.net.pool import Limits, Place, Pool
from openai_gateway.net.tls import client_context
from openai_gateway.net.words import innermost

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host (a name or an IP address) and a port. Raises OSError."""

WATCH: Final = "watch"
"""The extension of a request that holds its Watch."""

FRESH: Final = "fresh"
"""The extension of a request that says (True) that only a new connection will do."""

_PORTS: Final = {"http": 80, "https": 443}
_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
_SECONDS_TO_PROBE: Final = 60


async def open_tcp(host: str, port: int) -> trio.SocketStream:
    """To the address that answers first (RFC 8305). Probed when silent, so that no NAT forgets a model that thinks."""
    stream = await trio.open_tcp_stream(host, port)
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
    if hasattr(trio.socket, "TCP_KEEPIDLE"):  # not on every system; the default there is two hours
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPIDLE, _SECONDS_TO_PROBE)
    return stream


class Http11Transport(httpx.AsyncBaseTransport):
    """Sends requests and gives answers whose bodies are read as they come; never more than one piece ahead.

    `connect` opens the streams, so that a test needs no socket; TLS comes on top of whatever it gives. There is no
    time-out in here: whoever waits has a cancel scope around the wait, and what is cancelled has closed its connection
    before Cancelled goes on. `WATCH` tells the scope's owner which clock is to run.
    """

    def __init__(
        self,
        *,
        connect: OpenStream = open_tcp,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._connect = connect
        self._tls = tls
        self._limits = Limits() if limits is None else limits
        self._pools: dict[tuple[str, str, int], Pool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer's head; its stream is read for the body. Raises httpx.TransportError, without the request."""
        head = _head_of(request)
        body = await request.aread()
        watch = request.extensions.get(WATCH, _NOBODY)
        place = await _taken(self.pool(request.url), watch, fresh=request.extensions.get(FRESH, False))
        try:
            if place.connection is None:
                place.connection = await self._open(request.url, watch)
            answer = await _asked(place.connection, head, body, watch)
        except BaseException:
            await place.aclose()
            raise
        return httpx.Response(
            answer.status_code,
            headers=answer.headers.raw_items(),
            stream=_Body(place, place.connection),
            extensions={"http_version": b"HTTP/" + answer.http_version, "reason_phrase": answer.reason},
        )

    async def aclose(self) -> None:
        """Close all connections, those in use as well."""
        for pool in self._pools.values():
            await pool.aclose()

    def pool(self, url: httpx.URL) -> Pool:
        """The connections to the origin of this URL. There are as many as the configuration has addresses."""
        origin = _origin(url)
        if origin not in self._pools:
            self._pools[origin] = Pool(self._limits)
        return self._pools[origin]

    async def _open(self, url: httpx.URL, watch: Watch) -> Connection:
        watch.connecting()
        scheme, host, port = _origin(url)
        try:
            stream = await self._connect(host, port)
            if scheme == "https":
                stream = await self._secured(stream, host)
        except (OSError, UnicodeError, ValueError, *_BROKEN) as error:
            words = f"{host}:{port}: {innermost(error)}"
        else:
            return Connection(stream)
        raise httpx.ConnectError(words)

    async def _secured(self, stream: trio.abc.Stream, host: str) -> trio.abc.Stream:
        try:
            if self._tls is None:
                self._tls = client_context()
            secured = trio.SSLStream(stream, self._tls, server_hostname=host.removesuffix("."), https_compatible=True)
            await secured.do_handshake()
        except BaseException:
            await Connection(stream).aclose()
            raise
        return secured


class _Nobody:
    """Watches where nobody does."""

    def connecting(self) -> None:
        pass

    def sending(self, *, reused: bool) -> None:
        pass

    def answering(self) -> None:
        pass


_NOBODY: Final = _Nobody()


class _Body(httpx.AsyncByteStream):
    """The rest of an answer. An iterator and no generator: closing it leaves nothing to the garbage collector."""

    def __init__(self, place: Place, connection: Connection) -> None:
        self._place = place
        self._connection = connection
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            piece = await self._connection.piece()
        except (Gone, h11.RemoteProtocolError, *_BROKEN) as error:
            failure = _failure(error)
        except BaseException:
            await self.aclose()
            raise
        else:
            if piece:
                return piece
            self._over = True
            await self._place.keep()
            raise StopAsyncIteration
        await self.aclose()
        raise failure

    async def aclose(self) -> None:
        """Leave the rest; the connection is closed at once."""
        self._over = True
        await self._place.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    scheme = url.scheme
    if scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f"there is no transport for {scheme!r}")
    return scheme, url.raw_host.decode("ascii"), url.port or _PORTS[scheme]


def _head_of(request: httpx.Request) -> h11.Request:
    try:
        return h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
    except h11.LocalProtocolError:
        pass  # its words quote the header, which may be the key
    raise httpx.LocalProtocolError("the request has a header that cannot be sent")


async def _taken(pool: Pool, watch: Watch, *, fresh: bool) -> Place:
    try:
        return await pool.take(watch, fresh=fresh)
    except trio.ClosedResourceError as error:
        failure = _failure(error)
    raise failure


async def _asked(connection: Connection, head: h11.Request, body: bytes, watch: Watch) -> h11.Response:
    try:
        return await connection.ask(head, body, watch)
    except h11.LocalProtocolError as error:  # a body that is not as long as its head says
        failure: httpx.TransportError = httpx.LocalProtocolError(str(error))
    except (Gone, h11.RemoteProtocolError, *_BROKEN) as error:
        failure = _failure(error)
    raise failure


def _failure(error: Exception) -> httpx.TransportError:
    """What h11 and trio say, in httpx's terms."""
    kind = httpx.RemoteProtocolError if isinstance(error, h11.RemoteProtocolError) else httpx.ReadError
    return kind(innermost(error))
