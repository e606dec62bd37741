"""Who may come in: the key that a request carries."""

from __future__ import annotations

import base64
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import trio

from openai_gateway.engine.store import Records
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.net.admission import is_loopback
from openai_gateway.net.listener import Request
from openai_gateway.routing.globs import is_allowed
from openai_gateway.routing.virtual_keys import VirtualKey, digest_of, looks_like_a_key
from openai_gateway.secret import Secret

FRESH: Final = 1.0
"""Seconds that a key is known without being looked up: so long a revoked one may still work."""

_REMEMBERED: Final = 4096
_BEARER: Final = re.compile(r"Bearer +(\S+)", re.IGNORECASE)
_BASIC: Final = re.compile(r"Basic +(\S+)", re.IGNORECASE)
_OTHER_HEADERS: Final = ("api-key", "x-api-key")  # Azure's client, and Anthropic's
_OF_PROXIES: Final = ("forwarded", "x-forwarded-for", "x-real-ip")
"""A proxy on this machine is here for somebody who is not."""

ANYBODY: Final = VirtualKey(id="", digest="", name="", role="user")
"""Who asks where no key is asked for (--no-auth)."""


class Guard:
    """Knows keys: looked up by their digest, and remembered for a moment.

    A `lenient` one goes by what it knew of a key for as long as the store cannot be asked.
    """

    def __init__(
        self,
        records: Records,
        *,
        no_auth: bool = False,
        lenient: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._no_auth = no_auth
        self._lenient = lenient
        self._wall = wall
        self._known: OrderedDict[str, tuple[float, VirtualKey]] = OrderedDict()

    async def key_of(self, request: Request) -> VirtualKey:
        """Whose request it is. Raises GatewayError: AUTHENTICATION, or STORE where nobody can tell."""
        return await self._key_of(lambda: presented_key(request))

    async def key_of_page(self, request: Request) -> VirtualKey:
        """The same for a browser, which gives the key as the password that it asked its user for (RFC 7617).

        It sends it along to this origin unasked from then on, so only what changes nothing may be asked in this way.
        """
        return await self._key_of(lambda: presented_password(request) or presented_key(request))

    async def _key_of(self, presented_by: Callable[[], str]) -> VirtualKey:
        if self._no_auth:
            return ANYBODY
        presented = presented_by()
        if not looks_like_a_key(presented):
            raise _unknown()
        key = await self._find(digest_of(presented))
        key.refuse_if_dead(self._wall())
        return key

    def forget(self) -> None:
        """Look every key up anew."""
        self._known.clear()

    async def _find(self, digest: str) -> VirtualKey:
        # The digest of 256 random bits: who finds another that differs late in it has found nothing of the key.
        until, key = self._known.get(digest, (0.0, ANYBODY))
        now = trio.current_time()
        if now < until:
            return key
        try:
            found = await self._records.key_of(digest)
        except GatewayError:
            if self._lenient and digest in self._known:
                return key
            raise
        self._known.pop(digest, None)
        if found is None:
            raise _unknown()
        self._known[digest] = now + FRESH, found
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def presented_key(request: Request) -> str:
    """The one key that a request carries. Raises GatewayError for none, and for two that differ."""
    found: set[str] = set()
    for value in request.headers.all("authorization"):
        match = _BEARER.fullmatch(value)
        if match is None:
            raise _unknown()
        found.add(match[1])
    found.update(value for name in _OTHER_HEADERS for value in request.headers.all(name))
    if not found:
        raise GatewayError(
            kind=Kind.AUTHENTICATION,
            message="The request carries no API key.",
            hint="Send one of this gateway's keys in the header Authorization, with the scheme Bearer.",
        )
    if len(found) > 1:
        raise _unknown()
    return found.pop()


def presented_password(request: Request) -> str | None:
    """The password of the scheme Basic; the user's name may be any."""
    values = request.headers.all("authorization")
    match = _BASIC.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        return None


def refuse_endpoint(key: VirtualKey, endpoint: str) -> None:
    """Raises GatewayError where the key may not use it."""
    if not is_allowed(endpoint, key.endpoints):
        raise GatewayError(
            kind=Kind.PERMISSION, code="endpoint_not_allowed", message=f"This key may not use the endpoint {endpoint}."
        )


def refuse_no_admin(key: VirtualKey) -> None:
    """Raises GatewayError for all but an admin's key."""
    if key.role != "admin":
        raise GatewayError(kind=Kind.PERMISSION, code="not_an_admin", message="This needs an admin's key.")


def refuse_metrics(request: Request, token: Secret | None) -> None:
    """The metrics are for whoever has their token; where there is none, for this machine. Raises GatewayError."""
    if token is None:
        is_passed_on = any(request.headers.get(name) is not None for name in _OF_PROXIES)
        if is_passed_on or (request.peer and not is_loopback(request.peer)):
            raise GatewayError(
                kind=Kind.PERMISSION,
                code="metrics_not_allowed",
                message="Without a token the metrics are shown to this machine alone.",
            )
        return
    if Secret(presented_key(request), name="the token") != token:
        raise _unknown()


def _unknown() -> GatewayError:
    """It begins in OpenAI's own words: by them LiteLLM's client tells a wrong key from a wrong request."""
    return GatewayError(
        kind=Kind.AUTHENTICATION,
        message="Incorrect API key provided: it is none of this gateway's.",
        hint="Its keys begin with ogw_; ask whoever runs the gateway for one.",
    )
