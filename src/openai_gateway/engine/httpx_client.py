"""Exchanges over httpx, or whatever stands in for its transport: the one room of the engine that knows its values.

Its exceptions become our causes here. Importing it takes longer than all the rest of the engine, and most providers are
reached by our own client: whoever needs this room imports it where it is needed.
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpx
import trio

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.native_client import Place, pieces_of
from openai_gateway.net.client import Around, Http11Client
from openai_gateway.net.transport import Http11Transport, origin_of
from openai_gateway.net.words import innermost
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from openai_gateway.routing.plan import Provider

Transport = httpx.AsyncBaseTransport

_MAX_BUFFERED_PIECES: Final = 2**16
_LIMITS: Final = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=5.0)
_NONE_KEPT: Final = httpx.Limits(max_connections=256, max_keepalive_connections=0)
"""httpx takes what a server sends after an answer for the next one: between callers that do not trust each other no
connection may pass from hand to hand."""


CAUSES: Final[tuple[tuple[type[Exception], Cause], ...]] = (
    (httpx.PoolTimeout, Cause.CONNECT_CLOCK),
    (httpx.ConnectTimeout, Cause.CONNECT_CLOCK),
    (httpx.TimeoutException, Cause.FIRST_BYTE_CLOCK),
    (httpx.ConnectError, Cause.CONNECT),
    (httpx.ProxyError, Cause.CONNECT),
    (httpx.NetworkError, Cause.RESET),
    (httpx.LocalProtocolError, Cause.NOT_CONFIGURED),
    (httpx.TransportError, Cause.MALFORMED),
    (httpx.InvalidURL, Cause.CONNECT),
    (UnicodeError, Cause.CONNECT),  # a host name that IDNA or the resolver refuses, a header that is no ASCII
)
"""What each exception of httpx's means, the first row that fits."""

_FOREIGN: Final = tuple(kind for kind, _ in CAUSES)

_GONE: Final = ("disconnected", "closed connection")  # how h11 and httpcore begin to say that the peer left too early


def httpx_transport(
    provider: Provider, *, tls: ssl.SSLContext | None, tls_to_proxy: ssl.SSLContext | None, keeps: bool = True
) -> Transport:
    """httpx's own transport. `tls` is for an https:// address, `tls_to_proxy` for such a proxy. Raises Broke.

    `keeps`: whether a connection may serve one call after another.
    """
    if provider.http2 and importlib.util.find_spec("h2") is None:  # for settings that no file was read for
        raise Broke(Cause.NOT_CONFIGURED, "HTTP/2 needs the extra `http2`")
    # trust_env stays off: config/ reads the environment, proxies and certificates included.
    with mapped():
        proxy = None if provider.proxy is None else httpx.Proxy(provider.proxy, ssl_context=tls_to_proxy)
    return httpx.AsyncHTTPTransport(
        verify=tls or False, trust_env=False, limits=_LIMITS if keeps else _NONE_KEPT, proxy=proxy, http2=provider.http2
    )


def native_client(transport: Transport) -> Http11Client | None:
    """Our own client, where the transport is one: httpx's values cost as much as h11 and would give nothing."""
    return transport.client if isinstance(transport, Http11Transport) else None


def place_of(url: str) -> Place:
    """What a URL says, written as HTTP wants it: international names, what has to be encoded. Raises Broke."""
    with mapped():
        parsed = httpx.URL(url)
        return Place(origin_of(parsed), parsed.raw_path, parsed.netloc.decode("ascii"))


async def ask(
    transport: Transport, request: UpstreamRequest, headers: list[tuple[str, str]], clocks: Clocks
) -> HttpxAnswer:
    """Send, and wait for the head of the answer. Raises Broke."""
    opening = _Opening(clocks)
    content: bytes | AsyncIterator[bytes] | None = request.body or None
    if request.form is not None:
        content = _watched(pieces_of(request.form), clocks)
        headers = [*headers, ("Content-Length", str(request.size))]
    with mapped():
        outgoing = httpx.Request(
            request.method,
            request.url,
            headers=headers,
            content=content,
            extensions={"trace": opening.trace, "timeout": {"pool": clocks.connect}},
        )
    try:
        with mapped(), clocks.wait():
            response = await transport.handle_async_request(outgoing)
    except BaseException:
        await opening.aclose()
        raise
    return HttpxAnswer(response)


async def _watched(pieces: AsyncIterator[bytes], clocks: Clocks) -> AsyncIterator[bytes]:
    """httpcore tells when a body begins and not how it gets on, as our own client does."""
    async for piece in pieces:
        yield piece
        clocks.sending(reused=clocks.reused)


class _Opening:
    """A connection while it is being made, watched by httpcore's `trace`; until a request is sent, it is ours to close.

    httpcore forgets that where a TLS handshake is cancelled, and leaves the socket to the garbage collector.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._stream: trio.abc.AsyncResource | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(".connect_tcp.complete"):
            self._stream = info["return_value"]
        await self._clocks.trace(event, info)

    async def aclose(self) -> None:
        if self._stream is not None and not self._clocks.sent:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._stream.aclose()


class HttpxAnswer:
    """An answer of httpx's, or of whatever stands in for it."""

    def __init__(self, response: httpx.Response) -> None:
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("The transport's answer is not for an asynchronous reader")
        self._response = response
        self._stream = response.stream
        self._pieces: AsyncIterator[bytes] | None = None
        self._closed = False
        self.status: Final = response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return dict(self._response.headers)

    async def read(self, around: Around) -> bytes:
        if self._pieces is None:
            self._pieces = aiter(self._stream)
        with mapped(), around():
            return await _some(self._pieces)

    async def aclose(self) -> None:
        """The same.

        httpx's body is a nest of async generators, and closing the outermost leaves the inner ones to the garbage
        collector. So it is read once more under a scope that is cancelled already: that unwinds each of them, and
        closes the socket, before any byte can be waited for.
        """
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            if self._pieces is not None:
                with suppress(httpx.HTTPError):
                    await _exhaust(self._pieces)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1), suppress(httpx.HTTPError):
            await self._response.aclose()


async def _some(pieces: AsyncIterator[bytes]) -> bytes:
    """The next piece that is not empty; b"" at the end."""
    async for piece in pieces:
        if piece:
            return piece
    return b""


async def _exhaust(pieces: AsyncIterator[bytes]) -> None:
    # No await of our own in between: Cancelled has to be raised inside of the generators. What can come before that is
    # what was received already, which the transport bounds; the limit is for one that never awaits.
    for _ in range(_MAX_BUFFERED_PIECES):
        try:
            await anext(pieces)
        except StopAsyncIteration:
            return


@contextmanager
def mapped() -> Iterator[None]:
    """Foreign exceptions become Broke, by the table. They are cut off: httpx's carry the request, key and all."""
    try:
        yield
    except _FOREIGN as error:
        raise Broke(_cause(error), _detail(error)) from None


def _cause(error: Exception) -> Cause:
    if isinstance(error, httpx.RemoteProtocolError) and any(word in str(error) for word in _GONE):
        return Cause.RESET
    return next(cause for kind, cause in CAUSES if isinstance(error, kind))


def _detail(error: Exception) -> str:
    if isinstance(error, httpx.LocalProtocolError):
        return "the request has a header that cannot be sent"  # the words of h11 quote it, and it may be the key
    return innermost(error)
