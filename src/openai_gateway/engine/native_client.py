"""Exchanges over our own client: the way to every provider that needs neither a proxy nor HTTP/2."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import AsyncGenerator
from typing import Final

import attrs

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.net.client import Answer, Around, Http11Client, Origin, Unreachable
from openai_gateway.net.connection import Gone, NetError, Unreadable, Unsendable
from openai_gateway.net.words import innermost
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from openai_gateway.routing.forms import Form

CAUSES: Final[tuple[tuple[type[Exception], Cause], ...]] = (
    (Unreachable, Cause.CONNECT),
    (Gone, Cause.RESET),
    (Unreadable, Cause.MALFORMED),
    (Unsendable, Cause.NOT_CONFIGURED),  # a header that cannot be sent comes from the configuration
    (UnicodeError, Cause.CONNECT),  # a host name that IDNA or the resolver refuses
)
"""What each exception of our client means, the first row that fits. None is a timeout: it has none."""

_FOREIGN: Final = tuple(kind for kind, _ in CAUSES)

_SAFE: Final = r"(?:[A-Za-z0-9._~:@/+,=&-]|%[0-9A-Fa-f]{2})*"
_PLAIN: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    rf"(?P<target>/{_SAFE}(?:\?{_SAFE})?)",
    re.ASCII,
)
"""A URL that goes to the wire as it stands."""

_PORTS: Final = {"http": 80, "https": 443}


@attrs.frozen
class Place:
    """What a URL says, as HTTP/1.1 wants to hear it: `target` is its path and query, `host` what Host says."""

    origin: Origin
    target: bytes
    host: str


@functools.lru_cache(maxsize=1024)  # a provider has few, and httpx takes 40 us to read one
def place_of(url: str) -> Place:
    """Raises Broke. What is not plain, such as an international name, is httpx's to read and to encode."""
    plain = _PLAIN.fullmatch(url)
    if plain is None or "/." in url or not _is_host(plain["host"]):
        from openai_gateway.engine import httpx_client  # noqa: PLC0415 - slow to import, and needed for few addresses

        return httpx_client.place_of(url)
    scheme, host, usual = plain["scheme"], plain["host"], _PORTS[plain["scheme"]]
    port = int(plain["port"] or usual)
    origin = Origin(scheme, host.strip("[]"), port)
    return Place(origin, plain["target"].encode(), host if port == usual else f"{host}:{port}")


def _is_host(host: str) -> bool:
    """Whether it is an address, or a name that no IDNA has to look at."""
    if host[0] == "[" or host[-1].isdecimal():
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return True
    return not host.startswith((".", "-")) and "xn--" not in host and ".." not in host


async def ask(
    client: Http11Client, request: UpstreamRequest, headers: list[tuple[str, str]], clocks: Clocks, *, fresh: bool
) -> NativeAnswer:
    """Send, and wait for the head of the answer; `fresh`: on a new connection. Raises Broke."""
    place = place_of(request.url)
    try:
        with clocks.wait():
            answer = await client.ask(
                place.origin,
                method=request.method,
                target=place.target,
                headers=_complete(headers, request, place),
                body=request.body if request.form is None else functools.partial(pieces_of, request.form),
                watch=clocks,
                fresh=fresh,
            )
    except _FOREIGN as error:
        raise broke_of(error) from None
    return NativeAnswer(answer)


def _complete(headers: list[tuple[str, str]], request: UpstreamRequest, place: Place) -> list[tuple[str, str]]:
    """With those that HTTP asks for: a Host, which comes first, and the length of the body."""
    hosts: list[tuple[str, str]] = [("Host", place.host)]
    if "host" in dict(headers):  # the configuration names one
        hosts = [field for field in headers if field[0] == "host"]
        headers = [field for field in headers if field[0] != "host"]
    size = request.size
    length = [("Content-Length", str(size))] if size or request.method != "GET" else []
    return [*hosts, *headers, *length]


async def pieces_of(form: Form) -> AsyncGenerator[bytes, None]:
    """The body of a form, from its beginning."""
    for segment in form.segments:
        if isinstance(segment, bytes):
            yield segment
        else:
            async for piece in segment.pieces():
                yield piece


class NativeAnswer:
    """An answer of our client's, whose errors are Broke."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.status: Final = answer.status
        self.aclose: Final = answer.aclose

    @property
    def headers(self) -> dict[str, str]:
        return self._answer.headers

    async def read(self, around: Around) -> bytes:
        try:
            return await self._answer.read(around)
        except NetError as error:
            raise broke_of(error) from None


def broke_of(error: Exception) -> Broke:
    """What an exception of CAUSES means."""
    words = str(error) if isinstance(error, NetError) else innermost(error)
    return Broke(next(cause for kind, cause in CAUSES if isinstance(error, kind)), words)
