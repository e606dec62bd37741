"""Our client beneath httpx's API, for whoever has an httpx client or wants to be given a transport."""

from __future__ import annotations

import ssl
from contextlib import nullcontext
from typing import Final, Self

import httpx

from openai_gateway.net.client import (
    Answer,
    Http11Client,
    OpenStream,
    Origin,
    Unreachable,
    open_tcp,
)
from openai_gateway.net.connection import Gone, NetError, Unreadable, Unsendable, Unwatched
from openai_gateway.net.pool import Limits, Pool

WATCH: Final = "watch"
"""The extension of a request that holds its Watch."""

FRESH: Final = "fresh"
"""The extension of a request that says (True) that only a new connection will do."""

_PORTS: Final = {"http": 80, "https": 443}
_UNWATCHED: Final = Unwatched()

_TERMS: Final[dict[type[NetError], type[httpx.TransportError]]] = {
    Unreachable: httpx.ConnectError,
    Gone: httpx.ReadError,
    Unreadable: httpx.RemoteProtocolError,
    Unsendable: httpx.LocalProtocolError,
}
"""Our errors in httpx's terms."""


class Http11Transport(httpx.AsyncBaseTransport):
    """An Http11Client as a transport of httpx. The engine takes `client` itself: httpx's values are dear."""

    def __init__(
        self, *, connect: OpenStream = open_tcp, tls: ssl.SSLContext | None = None, limits: Limits | None = None
    ) -> None:
        self.client = Http11Client(connect=connect, tls=tls, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer's head; its stream is read for the body. Raises httpx.TransportError, without the request."""
        extensions = request.extensions
        origin = origin_of(request.url)
        body = await request.aread()
        try:
            answer = await self.client.ask(
                origin,
                method=request.method,
                target=request.url.raw_path,
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                body=body,
                watch=extensions.get(WATCH, _UNWATCHED),
                fresh=extensions.get(FRESH, False),
            )
        except NetError as error:
            failure = _in_their_terms(error)
        else:
            return httpx.Response(
                answer.status,
                headers=list(answer.raw_headers),
                stream=_Body(answer),
                extensions={"http_version": b"HTTP/" + answer.http_version, "reason_phrase": answer.reason},
            )
        raise failure

    async def aclose(self) -> None:
        """Close all connections, those in use as well."""
        await self.client.aclose()

    def pool(self, url: httpx.URL) -> Pool:
        """The connections to the origin of this URL."""
        return self.client.pool(origin_of(url))


def origin_of(url: httpx.URL) -> Origin:
    """Raises httpx.UnsupportedProtocol."""
    scheme = url.scheme
    if scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f"there is no transport for {scheme!r}")
    return Origin(scheme, url.raw_host.decode("ascii"), url.port or _PORTS[scheme])


class _Body(httpx.AsyncByteStream):
    """The rest of an answer. An iterator and no generator: closing it leaves nothing to the garbage collector."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._answer.read(nullcontext)
        except NetError as error:
            failure = _in_their_terms(error)
        else:
            if piece:
                return piece
            raise StopAsyncIteration
        raise failure

    async def aclose(self) -> None:
        """Leave the rest; the connection is closed at once."""
        await self._answer.aclose()


def _in_their_terms(error: NetError) -> httpx.TransportError:
    return _TERMS[type(error)](str(error))
