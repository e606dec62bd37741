"""HTTP exchanges with providers: over our own client or httpx's, whose exceptions become our causes here."""

from __future__ import annotations

import functools
import importlib.util
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from openai_gateway import __version__
from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.errors import ConfigError
from openai_gateway.net.client import Http11Client, Origin, Unreachable
from openai_gateway.net.connection import Gone, NetError, Unreadable, Unsendable
from openai_gateway.net.tls import client_context
from openai_gateway.net.transport import Http11Transport, origin_of
from openai_gateway.net.words import innermost
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import LocalAnswer, UpstreamRequest
from openai_gateway.routing.plan import Provider

Transport = httpx.AsyncBaseTransport
Around = Callable[[], AbstractContextManager[None]]

MAX_ANSWER_BYTES: Final = 64 * 2**20
MAX_ERROR_BYTES: Final = 256 * 1024
"""An error body longer than this is cut: nobody reads on, and a broken server may send without end."""

_MAX_BUFFERED_PIECES: Final = 2**16
_FAREWELL: Final = 0.1  # seconds for an ended stream's last empty chunk, which makes its connection fit for reuse
_USER_AGENT: Final = f"openai-gateway/{__version__}"
_LIMITS: Final = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=5.0)

CAUSES: Final[tuple[tuple[type[Exception], Cause], ...]] = (
    (Unreachable, Cause.CONNECT),
    (Gone, Cause.RESET),
    (Unreadable, Cause.MALFORMED),
    (Unsendable, Cause.NOT_CONFIGURED),  # a header that cannot be sent comes from the configuration
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
"""What each exception of our client and of httpx means, the first row that fits. A timeout is httpx's own: ours has
none."""

_FOREIGN: Final = tuple(kind for kind, _ in CAUSES)

_GONE: Final = ("disconnected", "closed connection")  # how h11 and httpcore begin to say that the peer left too early


@asynccontextmanager
async def open_upstream(transport: Transport | None = None) -> AsyncIterator[Upstream]:
    """The connections to all providers, closed at the end.

    A given `transport` stands in for all of them, and stays its owner's to close.
    """
    upstream = Upstream(transport)
    try:
        yield upstream
    finally:
        await upstream.aclose()


class Upstream:
    """Sends requests; it keeps a pool of connections for each provider and makes it when it is first needed."""

    def __init__(self, transport: Transport | None = None) -> None:
        self._given = transport
        self._own: dict[_Way, Transport] = {}
        self._is_closed = False

    async def open(
        self,
        provider: Provider,
        request: UpstreamRequest,
        clocks: Clocks,
        *,
        respond: Callable[[UpstreamRequest], LocalAnswer] | None = None,
        may_repeat: bool = True,
    ) -> Exchange:
        """Send, and wait for the head of the answer. The caller closes the exchange. Raises Broke.

        `respond`: the provider lives in this process and answers itself. A kept connection may have died in the
        meantime (servers close idle ones after seconds); that is seen when it is used, and then asked once more, but
        for what may not be done twice: the server may have left while it was doing it (RFC 9110, 9.2.2).
        """
        with mapped():
            transport = self._transport(provider) if respond is None else LocalTransport(respond)
        try:
            return await _send(transport, request, clocks)
        except Broke as broke:
            if broke.cause is not Cause.RESET or not clocks.reused or clocks.answered or not may_repeat:
                raise
        # On clocks that begin anew: the time that the dead connection took must not count as connecting.
        return await _send(transport, request, attrs.evolve(clocks), fresh=True)

    async def keep_only(self, providers: Iterable[Provider]) -> None:
        """Close the connections that none of these providers would use; nor may any exchange that is still open."""
        wanted = {_way(provider) for provider in providers}
        await self._close([way for way in self._own if way not in wanted])

    async def aclose(self) -> None:
        """Close all connections. None is opened from here on: nobody would close it."""
        self._is_closed = True
        await self._close(list(self._own))

    async def _close(self, ways: Iterable[_Way]) -> None:
        """Shielded: closing a socket or a TLS stream of ours never waits for the peer."""
        unused = [self._own.pop(way) for way in ways]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            for transport in unused:
                await transport.aclose()

    def _transport(self, provider: Provider) -> Transport:
        if self._is_closed:
            raise Broke(Cause.NOT_CONFIGURED, "the gateway is closed")
        if self._given is not None:
            return self._given
        way = _way(provider)
        if way not in self._own:
            self._own[way] = _network_transport(provider)
        return self._own[way]


_Way = tuple[str | None, ...]


def _way(provider: Provider) -> _Way:
    """What decides whether a provider can go on using its connections after a reload; no key is part of it."""
    url = urlsplit(provider.base_url)
    return (
        provider.name,
        url.scheme,
        url.netloc,
        provider.proxy,
        provider.ca_bundle,
        provider.client_cert,
        provider.certificates,
        provider.transport,
        str(provider.http2),
    )


def _network_transport(provider: Provider) -> Transport:
    if provider.transport == "httpx" or provider.http2 or provider.proxy is not None:
        return _httpx_transport(provider)
    tls = _tls(provider, alpn=True) if provider.base_url.startswith("https://") else None
    return Http11Transport(tls=tls)


def _httpx_transport(provider: Provider) -> Transport:
    if provider.http2 and importlib.util.find_spec("h2") is None:  # for settings that no file was read for
        raise Broke(Cause.NOT_CONFIGURED, "HTTP/2 needs the extra `http2`")
    # trust_env stays off: config/ reads the environment, proxies and certificates included.
    context, proxy = None, None
    if provider.base_url.startswith("https://"):
        context = _tls(provider)
    if provider.proxy is not None:
        to_proxy = _tls(attrs.evolve(provider, client_cert=None)) if provider.proxy.startswith("https://") else None
        proxy = httpx.Proxy(provider.proxy, ssl_context=to_proxy)
    return httpx.AsyncHTTPTransport(
        verify=context or False, trust_env=False, limits=_LIMITS, proxy=proxy, http2=provider.http2
    )


def _tls(provider: Provider, *, alpn: bool = False) -> ssl.SSLContext:
    """Raises Broke where a file of the configuration is of no use. `alpn` is off for httpx, which says it itself."""
    try:
        return client_context(provider.ca_bundle, provider.client_cert, alpn=alpn)
    except ConfigError as error:
        raise Broke(Cause.NOT_CONFIGURED, str(error)) from None


async def _send(transport: Transport, request: UpstreamRequest, clocks: Clocks, *, fresh: bool = False) -> Exchange:
    if isinstance(transport, Http11Transport):  # without httpx's values, which cost as much as h11 and give nothing
        return Exchange(await _ask(transport.client, request, clocks, fresh=fresh), clocks)
    return Exchange(await _ask_httpx(transport, request, clocks), clocks)


async def _ask(client: Http11Client, request: UpstreamRequest, clocks: Clocks, *, fresh: bool) -> Answer:
    try:
        place = _place_of(request.url)
        headers = _headers_of(request, place)
        with clocks.wait():
            return await client.ask(
                place.origin,
                method=request.method,
                target=place.target,
                headers=headers,
                body=request.body,
                watch=clocks,
                fresh=fresh,
            )
    except _FOREIGN as error:
        raise _broke(error) from None


@attrs.frozen
class _Place:
    """What a URL says, as HTTP/1.1 wants to hear it."""

    origin: Origin
    target: bytes
    host: str


@functools.lru_cache(maxsize=1024)  # a provider has few, and httpx takes 40 us to read one
def _place_of(url: str) -> _Place:
    parsed = httpx.URL(url)
    return _Place(origin_of(parsed), parsed.raw_path, parsed.netloc.decode("ascii"))


def _headers_of(request: UpstreamRequest, place: _Place) -> list[tuple[str, str]]:
    """With those that HTTP asks for: a Host, if the configuration names none, and the length of the body."""
    headers = _named(request)
    if not any(name.lower() == "host" for name, _ in request.headers):
        headers.insert(0, ("Host", place.host))
    if request.body or request.method != "GET":
        headers.append(("Content-Length", str(len(request.body))))
    return headers


def _named(request: UpstreamRequest) -> list[tuple[str, str]]:
    """With our name, if the configuration says none: some servers know their customers by it."""
    if any(name.lower() == "user-agent" for name, _ in request.headers):
        return list(request.headers)
    return [("User-Agent", _USER_AGENT), *request.headers]


async def _ask_httpx(transport: Transport, request: UpstreamRequest, clocks: Clocks) -> Answer:
    opening = _Opening(clocks)
    with mapped():
        outgoing = httpx.Request(
            request.method,
            request.url,
            headers=_named(request),
            content=request.body or None,
            extensions={"trace": opening.trace, "timeout": {"pool": clocks.connect}},
        )
    try:
        with mapped(), clocks.wait():
            response = await transport.handle_async_request(outgoing)
    except BaseException:
        await opening.aclose()
        raise
    return HttpxAnswer(response)


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


class Answer(Protocol):
    """An answer that is being received, whoever received it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """With names in small letters; of a repeated one the values are joined by a comma."""

    async def read(self, around: Around) -> bytes:
        """Some of the body, as it comes; b"" at its end. `around` stands around each wait for the upstream."""

    async def aclose(self) -> None:
        """Close at once, whatever is still to come; a connection whose answer was read to its end is kept."""


class Exchange:
    """An answer under its clocks. Reading and closing are for one task at a time."""

    def __init__(self, answer: Answer, clocks: Clocks) -> None:
        self._answer = answer
        self._clocks = clocks
        self._begun = False
        self.status: Final = answer.status

    @functools.cached_property
    def headers(self) -> Mapping[str, str]:
        """With names in small letters; of a repeated one the values are joined by a comma."""
        return self._answer.headers

    def content_came(self) -> None:
        """From now on the idle clock runs in the place of the first-byte clock."""
        self._clocks.content_came()

    async def read(self) -> bytes:
        """Some bytes, as they come; b"" at the end. Raises Broke."""
        if not self._begun:
            self._begun = True
            self._refuse_encoding()
        try:
            return await self._answer.read(self._clocks.wait)
        except _FOREIGN as error:
            broke = _broke(error)
        raise Broke(Cause.CUT, broke.detail) if broke.cause is Cause.RESET else broke

    async def read_all(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """The whole body. Raises Broke, also where it is longer than `limit`."""
        body = await self.read_at_most(limit + 1)
        if len(body) > limit:
            raise Broke(Cause.TOO_LARGE, f"the answer is larger than {limit >> 20} MiB")
        return body

    async def read_at_most(self, limit: int) -> bytes:
        """The first `limit` bytes of the body, all of it if it is shorter. Raises Broke."""
        body = bytearray()  # and no list: a body that drips in tiny pieces would weigh many times its length
        while len(body) < limit and (piece := await self.read()):
            body += piece
        return bytes(body[:limit])

    async def drain(self) -> None:
        """Give a complete answer the moment it takes to end on the wire too, so that its connection can be kept."""
        with trio.move_on_after(_FAREWELL), suppress(Broke):
            while await self.read():
                pass

    async def aclose(self) -> None:
        """Close at once, whatever is still to come; a connection whose answer was read to its end is kept."""
        await self._answer.aclose()

    def _refuse_encoding(self) -> None:
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            raise Broke(Cause.MALFORMED, f"it came as content-encoding {encoding!r}, though identity was asked for")


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
        with around():
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
        raise _broke(error) from None


def _broke(error: Exception) -> Broke:
    return Broke(_cause(error), _detail(error))


def _cause(error: Exception) -> Cause:
    if isinstance(error, httpx.RemoteProtocolError) and any(word in str(error) for word in _GONE):
        return Cause.RESET
    return next(cause for kind, cause in CAUSES if isinstance(error, kind))


def _detail(error: Exception) -> str:
    if isinstance(error, NetError):
        return str(error)
    if isinstance(error, httpx.LocalProtocolError):
        return "the request has a header that cannot be sent"  # the words of h11 quote it, and it may be the key
    return innermost(error)


class LocalTransport(Transport):
    """A kind of provider that lives in this process, behind the interface of all the others."""

    def __init__(self, respond: Callable[[UpstreamRequest], LocalAnswer]) -> None:
        self._respond = respond

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        headers = tuple(request.headers.items())
        asked = UpstreamRequest(method=request.method, url=str(request.url), headers=headers, body=body)
        answer = self._respond(asked)
        return httpx.Response(answer.status, headers=list(answer.headers), stream=_Pieces(answer.pieces))


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await trio.lowlevel.checkpoint()  # as a socket would, so that a cancelled call ends here too
            yield piece
