"""JSON documents of the authorization server: small, in time, and from where the operator said."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from openai_gateway.net.admission import is_loopback
from openai_gateway.net.client import Http11Client, Origin
from openai_gateway.net.connection import NetError, Unwatched
from openai_gateway.wire.strict import JsonError, loads

SECONDS: Final = 10.0
MAX_BYTES: Final = 2**20

Fetch = Callable[[str], Awaitable[Any]]
"""The JSON behind a URL. Raises FetchError."""


class FetchError(Exception):
    """It could not be had; the words are for the log."""


def origin_of(url: str) -> tuple[Origin, bytes]:
    """Where a URL leads, and the target to ask for there. Raises FetchError for one that nothing is fetched from."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http"} or not host or parts.username is not None:
        raise FetchError(f"{url} is no address")
    if parts.scheme == "http" and not is_loopback(host):
        raise FetchError(f"{url} is neither https nor on this machine")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)), target.encode()


def fetcher(client: Http11Client) -> Fetch:
    """No redirect is followed: keys come from where the operator said."""

    async def fetch(url: str) -> Any:
        origin, target = origin_of(url)
        with trio.move_on_after(SECONDS):
            try:
                return await _fetch(client, origin, target, url)
            except NetError as error:
                raise FetchError(f"{url}: {error}") from None
            except JsonError as error:
                raise FetchError(f"{url} holds no JSON: {error}") from None
        raise FetchError(f"{url} did not answer within {SECONDS:g} s")

    return fetch


async def _fetch(client: Http11Client, origin: Origin, target: bytes, url: str) -> Any:
    headers = [("host", urlsplit(url).netloc), ("accept", "application/json"), ("accept-encoding", "identity")]
    answer = await client.ask(origin, method="GET", target=target, headers=headers, body=b"", watch=Unwatched())
    body = bytearray()
    try:
        if answer.status != 200:
            raise FetchError(f"{url} answered {answer.status}")
        while piece := await answer.read(contextlib.nullcontext):
            body += piece
            if len(body) > MAX_BYTES:
                raise FetchError(f"{url} is larger than {MAX_BYTES} bytes")
    finally:
        await answer.aclose()
    return loads(body)
