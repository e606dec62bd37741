"""OAuth 2.1 access tokens: this server as a resource server, by MCP's chapter on authorization.

https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization
JWTs are checked by PyJWT against the keys of the authorization server; none of their cryptography is ours.
"""

from __future__ import annotations

import logging
import re
import string
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import trio
from jwt.types import Options

from openai_gateway_mcp.access.bearer import invalid_token
from openai_gateway_mcp.access.fetch import Fetch, FetchError
from openai_gateway_mcp.transports.callers import Caller, Unauthorized

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those that may be allowed: signatures alone. With a shared secret whoever can check a token can make one."""

LEEWAY: Final = 30.0  # seconds that two clocks may differ
FRESH: Final = 3_600.0  # seconds that keys are believed without a look
COOLDOWN: Final = 30.0  # seconds between two looks, whatever unknown keys tokens name

_TOOLS: Final = "tools:"
_MODELS: Final = "models:"

_LOG: Final = logging.getLogger(__name__)


# Times are looked at here, by a clock that a test can set, since PyJWT has its own; and so is the audience, which PyJWT
# compares to the letter.
_OPTIONS: Final[Options] = {
    "require": ["exp", "iss", "aud"],
    "verify_aud": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}

_SCHEME_AND_HOST: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@]*(?=[/?#]|\Z)")
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # str.lower takes a Kelvin sign for a k


class AccessTokens:
    """The tokens of one authorization server, made for this resource.

    `audience` is the URL that clients know this server by. `wall` is Unix time.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        fetch: Fetch,
        jwks_url: str | None = None,
        algorithms: Collection[str] = ("RS256", "ES256"),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = _canonical(audience)
        self._algorithms = [name for name in ALGORITHMS if name in algorithms]
        self._keys = _Keys(issuer, fetch, jwks_url)
        self._wall = wall

    async def caller_of(self, shown: str) -> Caller | None:
        """Whose it is. Raises Unauthorized for a JWT that does not hold here; None for what is no JWT at all."""
        if shown.count(".") != 2:
            return None
        try:
            head = jwt.get_unverified_header(shown)
        except jwt.InvalidTokenError:
            raise invalid_token("The token is no JWT that can be read.") from None
        if head.get("alg") not in self._algorithms:
            raise invalid_token("The token is signed in a way that is not allowed here.")
        key = await self._keys.find(head.get("kid"), str(head["alg"]))
        return _caller(self._claims(shown, key))

    def _claims(self, shown: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                shown,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                options=_OPTIONS,
            )
        except jwt.InvalidIssuerError:
            raise invalid_token("The token is of another issuer.") from None
        except jwt.MissingRequiredClaimError as error:
            raise invalid_token(f"The token lacks the claim {error.claim}.") from None
        except jwt.InvalidTokenError:
            raise invalid_token("The signature of the token does not hold.") from None
        self._check_audience(claims["aud"])
        self._check_times(claims)
        return claims

    def _check_audience(self, said: object) -> None:
        """One URL, or a list with ours in it."""
        urls = said if isinstance(said, list) else [said]
        if not any(isinstance(url, str) and _canonical(url) == self._audience for url in urls):
            raise invalid_token("The token is made for another server.")

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._wall()
        for name in ("exp", "nbf"):
            if not _is_number(claims.get(name, 0)):
                raise invalid_token(f"The token's {name} is no time.")
        if now >= claims["exp"] + LEEWAY:
            raise invalid_token("The token has expired.")
        if now < claims.get("nbf", 0) - LEEWAY:
            raise invalid_token("The token does not hold yet.")


def _canonical(url: str) -> str:
    """Scheme and host in lower case, as MCP has the URI of a server: their case means nothing (RFC 3986, 6.2.2.1).

    The rest stands as it is: another path, or a port that is named, is another server.
    """
    found = _SCHEME_AND_HOST.match(url)
    return url if found is None else found[0].translate(_LOWER) + url[found.end() :]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _caller(claims: dict[str, Any]) -> Caller:
    """The subject, or a client with a token of its own; its scopes `tools:…` and `models:…` are what it may use."""
    who = claims.get("sub") or claims.get("client_id") or claims.get("azp")
    if not isinstance(who, str):
        raise invalid_token("The token says neither of whom nor of which client it is.")
    scopes = _scopes(claims)
    models = _those(scopes, _MODELS)
    return Caller(identity=f"oauth {who}", tools=_those(scopes, _TOOLS), models=models or None)


def _scopes(claims: dict[str, Any]) -> Sequence[str]:
    """`scope` is a string with blanks (RFC 9068); some servers say `scp`, some a list."""
    said = claims.get("scope", claims.get("scp", ""))
    if isinstance(said, str):
        return said.split()
    return [one for one in said if isinstance(one, str)] if isinstance(said, list) else []


def _those(scopes: Sequence[str], prefix: str) -> tuple[str, ...]:
    return tuple(scope.removeprefix(prefix) for scope in scopes if scope.startswith(prefix))


Jwk = Mapping[str, Any]

# the beginning of an algorithm's name → the `kty` of its keys
_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class _Keys:
    """The authorization server's public keys: fetched when first needed, when old, and for a key that is new."""

    def __init__(self, issuer: str, fetch: Fetch, jwks_url: str | None) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._url = jwks_url
        self._keys: list[Jwk] = []
        self._made: dict[tuple[int, str], jwt.PyJWK] = {}  # by place and algorithm: reading one costs a tenth of a ms
        self._looked = -FRESH
        self._lock = trio.Lock()

    async def find(self, kid: object, algorithm: str) -> jwt.PyJWK:
        """Raises Unauthorized: 401 for an unknown key, 503 where the keys cannot be had."""
        found = self._known(kid, algorithm)
        age = trio.current_time() - self._looked
        if age >= FRESH or (found is None and age >= COOLDOWN):
            await self._look(self._looked)
            found = self._known(kid, algorithm)
        if found is None:
            if not self._keys:
                raise Unauthorized(503, "", "The keys of the authorization server cannot be had; try again.")
            raise invalid_token("The token is signed with a key that the authorization server does not name.")
        return found

    def _known(self, kid: object, algorithm: str) -> jwt.PyJWK | None:
        """By its name, or the only one of its kind where the token names none."""
        fitting = [
            place
            for place, key in enumerate(self._keys)
            if key.get("kty") == _KINDS[algorithm[:2]]
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ]
        return self._made_of(fitting[0], algorithm) if len(fitting) == 1 else None

    def _made_of(self, place: int, algorithm: str) -> jwt.PyJWK | None:
        if (place, algorithm) not in self._made:
            try:
                self._made[place, algorithm] = jwt.PyJWK(dict(self._keys[place]), algorithm)
            except (jwt.PyJWTError, ValueError, TypeError):  # it is none, whatever it says
                return None
        return self._made[place, algorithm]

    async def _look(self, since: float) -> None:
        async with self._lock:
            if self._looked != since:  # somebody else has looked meanwhile
                return
            try:
                if self._url is None:
                    self._url = await self._discover()
                self._keys = _signing(await self._fetch(self._url))
                self._made.clear()
            except FetchError as error:
                _LOG.error("The keys of %s cannot be had: %s", self._issuer, error)
            self._looked = trio.current_time()

    async def _discover(self) -> str:
        """By RFC 8414, else by OpenID Connect. Raises FetchError."""
        parts = urlsplit(self._issuer)
        path = parts.path.rstrip("/")
        host = f"{parts.scheme}://{parts.netloc}"
        reasons = []
        for url in (
            f"{host}/.well-known/oauth-authorization-server{path}",
            f"{host}{path}/.well-known/openid-configuration",
        ):
            try:
                found = await self._fetch(url)
            except FetchError as error:
                reasons.append(str(error))
                continue
            if (
                isinstance(found, dict)
                and found.get("issuer") == self._issuer
                and isinstance(found.get("jwks_uri"), str)
            ):
                return str(found["jwks_uri"])
            reasons.append(f"{url} is not about this issuer, or names no keys")
        raise FetchError("; ".join(reasons))


def _signing(document: Any) -> list[Jwk]:
    """The keys of a JWK set that signatures may be checked with. Raises FetchError."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise FetchError("what came is no set of keys")
    return [one for one in listed if isinstance(one, dict) and one.get("use", "sig") == "sig"]
