"""Whom a request is from: by the token it carries, or the certificate its connection showed."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from openai_gateway.errors import ConfigError
from openai_gateway.net.listener import Request
from openai_gateway.secret import Secret
from openai_gateway_mcp.access.tokens import Token, digest_of, read_tokens
from openai_gateway_mcp.transports.callers import Caller, Unauthorized

FRESH: Final = 1.0
"""Seconds that the file of tokens is believed without a look: so long a revoked one may still work."""

_BEARER: Final = re.compile(r"Bearer +([!-~]+)", re.IGNORECASE)
_LOG: Final = logging.getLogger(__name__)


class Known(Protocol):
    """One kind of token."""

    async def caller_of(self, shown: str) -> Caller | None:
        """Whose it is; None where it is none of this kind. Raises Unauthorized for one that no longer holds."""
        ...


class OneToken:
    """The one token of MCP_TOKEN: whoever has it may use all there is."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    async def caller_of(self, shown: str) -> Caller | None:  # noqa: ASYNC910, ASYNC124 - it has nothing to wait for
        is_it = Secret(shown, name="the token") == self._token  # in constant time
        return Caller(identity="token") if is_it else None


class TokenFile:
    """The tokens of a file, which is read again when it has changed. `wall` is Unix time."""

    def __init__(self, path: str, *, wall: Callable[[], float] = time.time) -> None:
        """Reads the file. Raises ConfigError."""
        self._path = path
        self._wall = wall
        self._mark = _mark(path)
        self._tokens: Mapping[str, Token] = read_tokens(path)
        self._believed_until = -1.0
        self._lock = trio.Lock()

    async def caller_of(self, shown: str) -> Caller | None:
        if trio.current_time() >= self._believed_until:
            async with self._lock:
                await self._look()
        # The digest of 256 random bits: who finds another that differs late in it has found nothing of the token.
        token = self._tokens.get(digest_of(shown))
        if token is None:
            return None
        if token.expires is not None and self._wall() >= token.expires:
            raise invalid_token("The token has expired.")
        return Caller(identity=token.id, tools=token.tools, models=token.models)

    async def _look(self) -> None:
        if trio.current_time() < self._believed_until:
            return
        mark = await trio.to_thread.run_sync(_mark, self._path)
        if mark != self._mark:
            try:
                self._tokens = await trio.to_thread.run_sync(read_tokens, self._path)
            except ConfigError as error:
                _LOG.error("%s The tokens that were known still hold.", error)
            self._mark = mark
        self._believed_until = trio.current_time() + FRESH


def _mark(path: str) -> tuple[int, int, int] | None:
    """By what a changed file is told from the one that was read."""
    try:
        found = Path(path).expanduser().stat()
    except (OSError, RuntimeError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Bearers:
    """The verifier of a server whose callers show a token of one of these kinds, or a certificate where there is none.

    `challenge`: further parameters of WWW-Authenticate.
    """

    def __init__(self, kinds: Sequence[Known], *, certificates: bool = False, challenge: str = "") -> None:
        self._kinds = kinds
        self._certificates = certificates
        self._challenge = challenge

    async def verify(self, request: Request) -> Caller:
        """Raises Unauthorized."""
        if not self._kinds and self._certificates:
            return await _bearer_of(request)
        try:
            return await self._known(_shown(request))
        except Unauthorized as error:
            if self._challenge and error.challenge:
                both = ", ".join(filter(None, (error.challenge.partition(" ")[2], self._challenge)))
                raise Unauthorized(error.status, f"Bearer {both}", error.words) from None
            raise

    async def _known(self, shown: str) -> Caller:
        for kind in self._kinds:
            if (caller := await kind.caller_of(shown)) is not None:
                return caller
        raise invalid_token("The token is none of this server's.")


async def _bearer_of(request: Request) -> Caller:  # noqa: ASYNC910, ASYNC124 - it has nothing to wait for
    """Of a certificate: TLS has let it in, so its subject is who its authority says."""
    subject = [] if request.certificate is None else request.certificate.get("subject", ())
    names = [f"{name}={value}" for part in subject for name, value in part]
    return Caller(identity=f"certificate {', '.join(names)}")


def _shown(request: Request) -> str:
    """The one token of a request. Raises Unauthorized for none, and for more than one."""
    values = request.headers.all("authorization")
    if not values:
        raise Unauthorized(401, "Bearer", "A token is needed: send it in the header Authorization, with Bearer.")
    found = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise invalid_token("Authorization must hold one token, with the scheme Bearer.")
    return found[1]


def invalid_token(words: str) -> Unauthorized:
    """401 with the words of RFC 6750."""
    return Unauthorized(401, 'Bearer error="invalid_token"', words)
