"""Access tokens as JWTs: each way in which one must not hold, where the keys come from, and what scopes allow."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import attrs
import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trio.testing import MockClock

from openai_gateway.errors import ConfigError
from openai_gateway.net.client import Http11Client
from openai_gateway_mcp.access.fetch import FetchError, fetcher, origin_of
from openai_gateway_mcp.access.oauth import COOLDOWN, FRESH, LEEWAY, AccessTokens
from openai_gateway_mcp.access.resource import challenge, metadata, metadata_url
from openai_gateway_mcp.config import read_http
from openai_gateway_mcp.http_config import OAuth
from openai_gateway_mcp.transports.callers import Caller, Unauthorized
from tests.gateway_engine.loopback import Connection
from tests.gateway_net.memory import in_memory

ISSUER = "https://auth.example/tenant"
AUDIENCE = "https://mcp.example/mcp"
JWKS = "https://auth.example/keys"
NOW = 1_800_000_000
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": NOW + 60, "scope": "tools:chat openid"}
RSA, OTHER_RSA = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

Json = Any


def jwk(key: Any, kid: str | None = "k1", **more: Json) -> Json:
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    }
    algorithm = next((one for kind, one in kinds.items() if isinstance(key, kind)), jwt.algorithms.OKPAlgorithm)
    named = {} if kid is None else {"kid": kid}
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **named, **more}


def token(key: Any = RSA, alg: str = "RS256", kid: str | None = "k1", **claims: Json) -> str:
    """A claim that is `...` is left out."""
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    return jwt.encode(said, key, algorithm=alg, headers={} if kid is None else {"kid": kid})


@attrs.define
class Server:
    """The authorization server's documents; an Exception is raised for who asks."""

    documents: dict[str, Any]
    asked: list[str] = attrs.field(factory=list)

    async def fetch(self, url: str) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(url)
        found = self.documents.get(url, FetchError(f"{url} answered 404"))
        if isinstance(found, Exception):
            raise found
        return found


def tokens(server: Server | None = None, *, now: Callable[[], float] = lambda: NOW, **options: Any) -> AccessTokens:
    server = server or Server({JWKS: {"keys": [jwk(RSA)]}})
    usual = {"audience": AUDIENCE, "jwks_url": JWKS}
    return AccessTokens(issuer=ISSUER, fetch=server.fetch, wall=now, **{**usual, **options})


async def refusal(known: AccessTokens, shown: str) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        await known.caller_of(shown)
    return caught.value


# --- what holds -----------------------------------------------------------------------------------------------------


async def test_a_token_is_its_subject_with_its_scopes() -> None:
    assert await tokens().caller_of(token()) == Caller(identity="oauth ada", tools=("chat",), models=None)


async def test_nothing_of_a_token_goes_on_with_its_caller() -> None:
    """Who is called on a client's behalf is shown the Caller at most: no token can be passed through."""
    shown = token(scope="tools:chat models:gpt-*")
    said = repr(attrs.asdict(await tokens().caller_of(shown)))  # type: ignore[arg-type]  # not None: it holds
    assert "ada" in said
    assert not [part for part in shown.split(".") if part in said]


@pytest.mark.parametrize(
    ("claims", "tools", "models"),
    [
        ({"scope": "tools:* models:gpt-* models:claude-*"}, ("*",), ("gpt-*", "claude-*")),
        ({"scope": "openid profile"}, (), None),
        ({"scope": ...}, (), None),
        ({"scope": ..., "scp": ["tools:chat", 3]}, ("chat",), None),
        ({"scope": ..., "scp": "tools:chat"}, ("chat",), None),
        ({"scope": 3}, (), None),
    ],
)
async def test_scopes_are_tools_and_models(claims: Json, tools: tuple[str, ...], models: Json) -> None:
    caller = await tokens().caller_of(token(**claims))
    assert caller is not None
    assert (caller.tools, caller.models) == (tools, models)


async def test_a_client_may_have_a_token_of_its_own() -> None:
    caller = await tokens().caller_of(token(sub=..., client_id="batch"))
    assert caller is not None
    assert caller.identity == "oauth batch"


@pytest.mark.parametrize(
    ("key", "alg"),
    [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")],
)
async def test_each_kind_of_signature(key: Any, alg: str) -> None:
    server = Server({JWKS: {"keys": [jwk(OTHER_RSA, "other"), {"kty": "new", "kid": "k9"}, 3, jwk(key)]}})
    assert await tokens(server, algorithms=[alg]).caller_of(token(key, alg)) is not None


async def test_one_of_several_audiences_is_enough() -> None:
    assert await tokens().caller_of(token(aud=["https://other.example", AUDIENCE])) is not None


@pytest.mark.requirement("oauth/canonical-uri")
@pytest.mark.parametrize(
    "said",
    ["HTTPS://mcp.example/mcp", "https://MCP.Example/mcp", ["https://other.example", "Https://MCP.EXAMPLE/mcp"]],
)
async def test_the_case_of_scheme_and_host_means_nothing(said: Json) -> None:
    assert await tokens().caller_of(token(aud=said)) is not None
    assert await tokens(audience="HTTPS://mcp.EXAMPLE/mcp").caller_of(token(aud=said)) is not None


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("https://mcp.example/mcp", "https://mcp.example/Mcp"),
        ("https://Ada@mcp.example/mcp", "https://ada@mcp.example/mcp"),
        ("https://kiosk.example/mcp", "https://\u212aiosk.example/mcp"),  # KELVIN SIGN, whose lower case is k
    ],
)
async def test_the_case_of_all_else_means_something(resource: str, said: str) -> None:
    known = tokens(audience=resource)
    assert await known.caller_of(token(aud=resource)) is not None
    assert (await refusal(known, token(aud=said))).words == "The token is made for another server."


async def test_what_is_no_jwt_is_somebody_else_s_to_know() -> None:
    assert await tokens().caller_of("ogm_abc") is None


# --- what does not --------------------------------------------------------------------------------------------------

PUBLIC_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged(alg: str, secret: bytes = b"") -> str:
    """With an algorithm that is none of a signature: `none`, or the public key as the shared secret of an HMAC."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    head = f"{part(json.dumps({'alg': alg, 'typ': 'JWT', 'kid': 'k1'}).encode())}.{part(json.dumps(CLAIMS).encode())}"
    if alg == "none":
        return f"{head}."
    import hashlib
    import hmac

    return f"{head}.{part(hmac.digest(secret, head.encode(), hashlib.sha256))}"


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("a.b.c", "no JWT"),
        ("..", "no JWT"),
        (forged("none"), "not allowed"),
        (forged("None"), "not allowed"),
        (forged("HS256", PUBLIC_PEM), "not allowed"),
        (token(alg="RS384"), "not allowed"),
        (token(OTHER_RSA), "signature"),
        (token(EC, "ES256"), "does not name"),
        (token(kid="k2"), "does not name"),
        (token()[:-6] + "AAAAAA", "signature"),
        (re.sub(r"\..*\.", ".e30.", token()), "signature"),
        (token(aud="https://other.example"), "another server"),
        (token(aud=f"{AUDIENCE}/"), "another server"),
        (token(aud="https://mcp.example/MCP"), "another server"),
        (token(aud="https://mcp.example:443/mcp"), "another server"),
        (token(aud="https://mcp.example@evil.example/mcp"), "another server"),
        (token(aud="https://evil.example/?https://mcp.example/mcp"), "another server"),
        (token(aud=f" {AUDIENCE}"), "another server"),
        (token(aud=f"{AUDIENCE}\n"), "another server"),
        (token(aud=[]), "another server"),
        (token(aud=[[AUDIENCE]]), "another server"),
        (token(aud={AUDIENCE: 1}), "another server"),
        (token(aud=7), "another server"),
        (token(aud=...), "lacks the claim aud"),
        (token(iss="https://evil.example"), "another issuer"),
        (token(iss=f"{ISSUER}/"), "another issuer"),
        (token(iss=...), "lacks the claim iss"),
        (token(exp=...), "lacks the claim exp"),
        (token(exp=NOW - LEEWAY), "expired"),
        (token(nbf=NOW + LEEWAY + 1), "not hold yet"),
        (token(sub=..., scope="tools:chat"), "neither of whom"),
    ],
)  # fmt: skip
async def test_a_token_that_does_not_hold(shown: str, words: str) -> None:
    error = await refusal(tokens(), shown)
    assert (error.status, error.challenge) == (401, 'Bearer error="invalid_token"')
    assert words in error.words
    assert shown not in error.words


async def test_times_that_are_no_numbers() -> None:
    assert "exp is no time" in (await refusal(tokens(), token(exp=True))).words
    assert "nbf is no time" in (await refusal(tokens(), token(nbf="soon"))).words


async def test_clocks_may_differ_a_little() -> None:
    assert await tokens().caller_of(token(exp=NOW - LEEWAY + 1, nbf=NOW + LEEWAY)) is not None


async def test_a_key_for_another_use_signs_nothing() -> None:
    server = Server({JWKS: {"keys": [jwk(RSA, use="enc"), jwk(RSA, "k3", alg="PS256")]}})
    assert (await refusal(tokens(server), token())).status == 401
    assert (await refusal(tokens(server), token(kid="k3"))).status == 401


async def test_a_key_that_is_none_is_nobody_s() -> None:
    broken = {**jwk(RSA), "n": "!"}
    assert (await refusal(tokens(Server({JWKS: {"keys": [broken]}})), token())).status == 401


async def test_a_token_that_names_no_key_is_checked_with_the_only_one() -> None:
    assert await tokens().caller_of(token(kid=None)) is not None
    two = Server({JWKS: {"keys": [jwk(RSA, "a"), jwk(OTHER_RSA, "b")]}})
    assert (await refusal(tokens(two), token(kid=None))).status == 401


# --- keys -----------------------------------------------------------------------------------------------------------


async def test_keys_are_fetched_once_and_again_when_they_are_old(autojump_clock: MockClock) -> None:
    server = Server({JWKS: {"keys": [jwk(RSA)]}})
    known = tokens(server)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(known.caller_of, token())
    assert server.asked == [JWKS]
    await trio.sleep(FRESH)
    await known.caller_of(token())
    assert server.asked == [JWKS] * 2


async def test_a_new_key_is_found_and_unknown_ones_cost_a_look_now_and_then(autojump_clock: MockClock) -> None:
    server = Server({JWKS: {"keys": [jwk(RSA)]}})
    known = tokens(server)
    await known.caller_of(token())
    server.documents[JWKS] = {"keys": [jwk(OTHER_RSA, "k2")]}
    for _ in range(5):
        assert (await refusal(known, token(OTHER_RSA, kid="k2"))).status == 401
    assert len(server.asked) == 1
    await trio.sleep(COOLDOWN)
    assert await known.caller_of(token(OTHER_RSA, kid="k2")) is not None
    assert (await refusal(known, token())).status == 401


async def test_keys_that_cannot_be_had_are_nobody_s_fault(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server({})
    known = tokens(server)
    error = await refusal(known, token())
    assert (error.status, error.challenge) == (503, "")
    assert "404" in caplog.text
    server.documents[JWKS] = {"keys": [jwk(RSA)]}
    await trio.sleep(COOLDOWN)
    assert await known.caller_of(token()) is not None
    server.documents[JWKS] = ["no set"]
    await trio.sleep(FRESH)
    assert await known.caller_of(token()) is not None  # those that were known still hold


@pytest.mark.parametrize(
    "url",
    ["https://auth.example/.well-known/oauth-authorization-server/tenant",
     "https://auth.example/tenant/.well-known/openid-configuration"],
)  # fmt: skip
async def test_the_issuer_says_where_its_keys_are(url: str) -> None:
    server = Server({url: {"issuer": ISSUER, "jwks_uri": JWKS}, JWKS: {"keys": [jwk(RSA)]}})
    assert await tokens(server, jwks_url=None).caller_of(token()) is not None


@pytest.mark.parametrize("document", [{"issuer": "https://evil.example", "jwks_uri": JWKS}, {"issuer": ISSUER}, []])
async def test_another_s_metadata_is_not_believed(document: Json) -> None:
    url = "https://auth.example/tenant/.well-known/openid-configuration"
    server = Server({url: document, JWKS: {"keys": [jwk(RSA)]}})
    assert (await refusal(tokens(server, jwks_url=None), token())).status == 503


# --- fetching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://auth.example/keys", "ftp://auth.example/", "https://", "https://a@b.example/"])
def test_where_nothing_is_fetched_from(url: str) -> None:
    with pytest.raises(FetchError):
        origin_of(url)


def test_where_it_is_fetched_from() -> None:
    assert origin_of("https://a.example/k?x=1") == (("https", "a.example", 443), b"/k?x=1")
    assert origin_of("http://127.0.0.1:8080") == (("http", "127.0.0.1", 8080), b"/")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: http://evil.example\r\ncontent-length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", "no JSON"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + b" " * 2_000_000, "larger"),
        (b"nonsense\r\n\r\n", "localhost"),
        (b"", "within 10 s"),
    ],
)
async def test_a_fetch_that_fails(answer: bytes, words: str, autojump_clock: MockClock) -> None:
    async def serve(connection: Connection) -> None:
        await connection.request()
        if not answer:
            await trio.sleep(60)
        await connection.stream.send_all(answer)

    async with in_memory(serve) as memory:
        with pytest.raises(FetchError, match=words):
            await fetcher(Http11Client(connect=memory.connect))("http://localhost:1/keys")


async def test_a_fetch() -> None:
    async def serve(connection: Connection) -> None:
        head = await connection.request()
        assert head is not None
        assert b"host: localhost:1\r\n" in head.lower()
        await connection.stream.send_all(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"keys":[]}')

    async with in_memory(serve) as memory:
        assert await fetcher(Http11Client(connect=memory.connect))("http://localhost:1/keys") == {"keys": []}


# --- what clients are told ------------------------------------------------------------------------------------------


def test_the_document_and_the_challenge_that_leads_to_it() -> None:
    oauth = OAuth(issuer=ISSUER, resource=AUDIENCE, jwks_url=None, algorithms=frozenset({"RS256"}))
    documents = metadata(oauth, ("chat", "list_models"))
    at = "/.well-known/oauth-protected-resource"
    assert list(documents) == [at, f"{at}/mcp"]
    assert json.loads(documents[at]) == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["tools:chat", "tools:list_models"],
        "resource_name": "openai-gateway-mcp",
    }
    assert metadata_url(AUDIENCE) == f"https://mcp.example{at}/mcp"
    said = challenge(AUDIENCE, ("chat",))
    assert said == f'resource_metadata="https://mcp.example{at}/mcp", scope="tools:chat"'


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"oauth_issuer": ISSUER}, "--oauth-resource"),
        ({"oauth_jwks_url": JWKS}, "--oauth-issuer"),
        ({"oauth_issuer": "http://auth.example", "oauth_resource": AUDIENCE}, "https"),
        ({"oauth_issuer": ISSUER, "oauth_resource": "mcp.example"}, "https"),
        ({"oauth_issuer": ISSUER, "oauth_resource": f"{AUDIENCE}#x"}, "https"),
        ({"oauth_issuer": ISSUER, "oauth_resource": "http://mcp.example/mcp"}, "https"),
        ({"oauth_issuer": ISSUER, "oauth_resource": AUDIENCE, "oauth_jwks_url": "http://auth.example/keys"}, "https"),
        ({"oauth_issuer": ISSUER, "oauth_resource": AUDIENCE, "oauth_algorithms": "HS256"}, "HS256"),
        ({"oauth_issuer": ISSUER, "oauth_resource": AUDIENCE, "oauth_algorithms": "none,RS256"}, "none"),
        ({"oauth_issuer": ISSUER, "oauth_resource": AUDIENCE, "oauth_algorithms": ","}, "RS256"),
    ],
)
def test_settings_of_it_that_are_wrong(flags: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_http(flags)
    assert words in str(caught.value)


def test_settings_of_it_that_are_right() -> None:
    found = read_http({"oauth_issuer": "http://127.0.0.1:9", "oauth_resource": AUDIENCE, "host": "::"})
    assert found.oauth is not None
    assert found.oauth.algorithms == {"RS256", "ES256"}
