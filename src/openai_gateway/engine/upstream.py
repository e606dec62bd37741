"""HTTP exchanges with providers, over our own client or httpx's: one face for both, under the clocks."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol, Union
from urllib.parse import urlsplit

import attrs
import trio

from openai_gateway import __version__
from openai_gateway.engine import native_client
from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.local import Local
from openai_gateway.errors import ConfigError
from openai_gateway.net.client import Around, Http11Client
from openai_gateway.net.tls import client_context
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import LocalAnswer, UpstreamRequest
from openai_gateway.routing.plan import Provider

if TYPE_CHECKING:
    from openai_gateway.engine.httpx_client import Transport

MAX_ANSWER_BYTES: Final = 64 * 2**20
MAX_ERROR_BYTES: Final = 256 * 1024
"""An error body longer than this is cut: nobody reads on, and a broken server may send without end."""

_FAREWELL: Final = 0.1  # seconds for an ended stream's last empty chunk, which makes its connection fit for reuse
_USER_AGENT: Final = f"openai-gateway/{__version__}"


@asynccontextmanager
async def open_upstream(transport: Transport | None = None, *, strangers: bool = False) -> AsyncIterator[Upstream]:
    """The connections to all providers, closed at the end.

    A given `transport` stands in for all of them, and stays its owner's to close. `strangers`: the callers do not trust
    each other, so that httpx's own transport keeps no connection from one call to the next.
    """
    upstream = Upstream(transport, strangers=strangers)
    try:
        yield upstream
    finally:
        await upstream.aclose()


class Upstream:
    """Sends requests; it keeps a pool of connections for each provider and makes it when it is first needed."""

    def __init__(self, transport: Transport | None = None, *, strangers: bool = False) -> None:
        self._strangers = strangers
        self._given = None if transport is None else _given(transport)
        self._own: dict[_Way, _Client] = {}
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
        if respond is not None:
            await trio.lowlevel.checkpoint()
            return Exchange(Local(respond(request)), clocks)
        client = self._client(provider)
        try:
            return await _send(client, request, clocks)
        except Broke as broke:
            if broke.cause is not Cause.RESET or not clocks.reused or clocks.answered or not may_repeat:
                raise
        # On clocks that begin anew: the time that the dead connection took must not count as connecting.
        return await _send(client, request, attrs.evolve(clocks), fresh=True)

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
            for client in unused:
                await client.aclose()

    def _client(self, provider: Provider) -> _Client:
        if self._is_closed:
            raise Broke(Cause.NOT_CONFIGURED, "the gateway is closed")
        if self._given is not None:
            return self._given
        way = _way(provider)
        if way not in self._own:
            self._own[way] = _network_client(provider, keeps=not self._strangers)
        return self._own[way]


_Way = tuple[str | None, ...]
_Client = Union[Http11Client, "Transport"]


def _given(transport: Transport) -> _Client:
    from openai_gateway.engine import httpx_client  # noqa: PLC0415 - whoever gives one has imported httpx

    return httpx_client.native_client(transport) or transport


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


def _network_client(provider: Provider, *, keeps: bool) -> _Client:
    is_https = provider.base_url.startswith("https://")
    if provider.transport == "httpx" or provider.http2 or provider.proxy is not None:
        from openai_gateway.engine import httpx_client  # noqa: PLC0415 - slow to import, and for few providers

        to_proxy = (provider.proxy or "").startswith("https://")
        return httpx_client.httpx_transport(
            provider,
            tls=_tls(provider) if is_https else None,
            tls_to_proxy=_tls(attrs.evolve(provider, client_cert=None)) if to_proxy else None,
            keeps=keeps,
        )
    return Http11Client(tls=_tls(provider, alpn=True) if is_https else None)


def _tls(provider: Provider, *, alpn: bool = False) -> ssl.SSLContext:
    """Raises Broke where a file of the configuration is of no use. `alpn` is off for httpx, which says it itself."""
    try:
        return client_context(provider.ca_bundle, provider.client_cert, alpn=alpn)
    except ConfigError as error:
        raise Broke(Cause.NOT_CONFIGURED, str(error)) from None


async def _send(client: _Client, request: UpstreamRequest, clocks: Clocks, *, fresh: bool = False) -> Exchange:
    if isinstance(client, Http11Client):
        return Exchange(await native_client.ask(client, request, _named(request), clocks, fresh=fresh), clocks)
    from openai_gateway.engine import httpx_client  # noqa: PLC0415 - it is imported: the client is one of its

    return Exchange(await httpx_client.ask(client, request, _named(request), clocks), clocks)


def _named(request: UpstreamRequest) -> list[tuple[str, str]]:
    """With our name, if the configuration says none: some servers know their customers by it."""
    said = dict(request.headers)
    return list(request.headers) if "user-agent" in said else [("User-Agent", _USER_AGENT), *request.headers]


class Answer(Protocol):
    """An answer that is being received, whoever received it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """With names in small letters; of a repeated one the values are joined by a comma."""

    async def read(self, around: Around) -> bytes:
        """Some of the body, as it comes; b"" at its end. Raises Broke.

        `around` stands around each wait for the upstream.
        """

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
        except Broke as broke:
            if broke.cause is not Cause.RESET:
                raise
            cut = Broke(Cause.CUT, broke.detail)
        raise cut

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
