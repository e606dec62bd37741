"""The settings of MCP over the network: where it listens, and whom it lets in."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from openai_gateway.config.environment import read_secret
from openai_gateway.errors import ConfigError
from openai_gateway.net.admission import is_loopback
from openai_gateway.secret import Secret
from openai_gateway_mcp.said import Said, Setting, Sort

_DAY = 86_400.0

HTTP_SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="host",
        variable="MCP_HOST",
        flag="--host",
        sort=Sort.TEXT,
        default="127.0.0.1",
        help="The address to listen on; one that others can reach needs a token or client certificates.",
        metavar="ADDRESS",
    ),
    Setting(
        name="port",
        variable="MCP_PORT",
        flag="--port",
        sort=Sort.COUNT,
        default="3000",
        help="The port to listen on; 0: any that is free.",
        high=65_535,
        metavar="PORT",
    ),
    Setting(
        name="token_env",
        variable=None,
        flag="--token-env",
        sort=Sort.TEXT,
        default="MCP_TOKEN",
        help="The variable with the one token that callers must show; with _FILE behind it, of a file that has it.",
        metavar="VARIABLE",
    ),
    Setting(
        name="tokens",
        variable="MCP_TOKENS",
        flag="--tokens",
        sort=Sort.TEXT,
        default="",
        help="The file of tokens, one a caller, that `tokens create` writes.",
        metavar="FILE",
    ),
    Setting(
        name="oauth_issuer",
        variable="MCP_OAUTH_ISSUER",
        flag="--oauth-issuer",
        sort=Sort.TEXT,
        default="",
        help="The authorization server whose access tokens (JWT) are taken; it needs --oauth-resource.",
        metavar="URL",
    ),
    Setting(
        name="oauth_resource",
        variable="MCP_OAUTH_RESOURCE",
        flag="--oauth-resource",
        sort=Sort.TEXT,
        default="",
        help="The URL that clients know this server by, such as https://mcp.example/mcp: the audience of its tokens.",
        metavar="URL",
    ),
    Setting(
        name="oauth_jwks_url",
        variable="MCP_OAUTH_JWKS_URL",
        flag="--oauth-jwks-url",
        sort=Sort.TEXT,
        default="",
        help="Where the issuer's keys are; else its own metadata says it.",
        metavar="URL",
    ),
    Setting(
        name="oauth_algorithms",
        variable="MCP_OAUTH_ALGORITHMS",
        flag="--oauth-algorithms",
        sort=Sort.TEXT,
        default="RS256,ES256",
        help="How tokens may be signed, with commas between; only by signatures, never with a shared secret.",
        metavar="NAMES",
    ),
    Setting(
        name="tls_cert",
        variable="MCP_TLS_CERT",
        flag="--tls-cert",
        sort=Sort.TEXT,
        default="",
        help="A PEM file: the certificate to show, with those between it and its authority. It is https then.",
        metavar="FILE",
    ),
    Setting(
        name="tls_key",
        variable="MCP_TLS_KEY",
        flag="--tls-key",
        sort=Sort.TEXT,
        default="",
        help="A PEM file: the certificate's key.",
        metavar="FILE",
    ),
    Setting(
        name="tls_client_ca",
        variable="MCP_TLS_CLIENT_CA",
        flag="--tls-client-ca",
        sort=Sort.TEXT,
        default="",
        help="A PEM file of authorities: callers must show a certificate of one of them.",
        metavar="FILE",
    ),
    Setting(
        name="allowed_hosts",
        variable="MCP_ALLOWED_HOSTS",
        flag="--allowed-hosts",
        sort=Sort.TEXT,
        default="",
        help="Names that Host may have, with commas between; on loopback beside its own names, else the only ones.",
        metavar="NAMES",
    ),
    Setting(
        name="allowed_origins",
        variable="MCP_ALLOWED_ORIGINS",
        flag="--allowed-origins",
        sort=Sort.TEXT,
        default="",
        help="Origins whose pages may call, such as https://app.example, separated by commas.",
        metavar="ORIGINS",
    ),
    Setting(
        name="remote_paths",
        variable=None,
        flag="--remote-paths",
        sort=Sort.SWITCH,
        default="",
        help="Let callers name files of ALLOWED_ROOTS, which are files of this machine.",
    ),
    Setting(
        name="grace",
        variable="MCP_GRACE",
        flag="--grace",
        sort=Sort.SECONDS,
        default="30",
        help="Seconds that calls in work may still take once the server is asked to stop.",
        high=_DAY,
    ),
)


@attrs.frozen(kw_only=True)
class Tls:
    """Paths of PEM files."""

    certificate: str
    key: str
    client_ca: str | None = None


@attrs.frozen(kw_only=True)
class OAuth:
    """An authorization server, and the URL that its tokens name this server by."""

    issuer: str
    resource: str
    jwks_url: str | None
    algorithms: frozenset[str]


@attrs.frozen(kw_only=True)
class HttpSettings:
    """`grace` in seconds; `tokens` is the path of the file of tokens."""

    host: str = "127.0.0.1"
    port: int = 3000
    token: Secret | None = None
    tokens: str | None = None
    oauth: OAuth | None = None
    tls: Tls | None = None
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    remote_paths: bool = False
    grace: float = 30.0

    @property
    def asks_who(self) -> bool:
        """Whether callers have to say who they are."""
        has_tokens = self.token is not None or self.tokens is not None or self.oauth is not None
        return has_tokens or self.knows_certificates

    @property
    def knows_certificates(self) -> bool:
        return self.tls is not None and self.tls.client_ca is not None


def load_http(said: Said) -> HttpSettings:
    """Raises ConfigError, also for a server that anybody on the network could use."""
    settings = HttpSettings(
        host=said.text("host"),
        port=int(said.number("port")),
        token=read_secret(said.environ, said.text("token_env")),
        tokens=said.maybe("tokens"),
        oauth=_oauth(said),
        tls=_tls(said),
        hosts=said.names("allowed_hosts"),
        origins=said.names("allowed_origins"),
        remote_paths="remote_paths" in said.flags,
        grace=said.number("grace"),
    )
    if "token_env" in said.flags and settings.token is None:
        raise ConfigError(f"--token-env names {said.text('token_env')}, which is not set.")
    if not settings.asks_who and not is_loopback(settings.host):
        raise ConfigError(
            f"Others can reach {settings.host}, and whoever does could spend your money: set MCP_TOKEN, or --tokens "
            "with a file that `openai-gateway-mcp tokens create` wrote, or --oauth-issuer, or --tls-client-ca."
        )
    return settings


_SIGNATURES = frozenset(f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)) | {"EdDSA"}


def _oauth(said: Said) -> OAuth | None:
    issuer, resource = said.maybe("oauth_issuer"), said.maybe("oauth_resource")
    if issuer is None and resource is None and said.maybe("oauth_jwks_url") is None:
        return None
    if issuer is None or resource is None:
        raise ConfigError("OAuth needs both --oauth-issuer and --oauth-resource.")
    for name in ("oauth_issuer", "oauth_resource", "oauth_jwks_url"):
        url = said.maybe(name)
        parts = urlsplit(url or "https://x")
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        if not is_safe or not parts.hostname or parts.fragment or parts.query:
            raise ConfigError(f"{said.by(name)} is {url!r}; allowed is an https URL, or an http one of this machine.")
    algorithms = said.names("oauth_algorithms")
    if unknown := sorted(algorithms - _SIGNATURES) or (not algorithms):
        shown = unknown[0] if isinstance(unknown, list) else ""
        allowed = ", ".join(sorted(_SIGNATURES))
        raise ConfigError(f"{said.by('oauth_algorithms')} has {shown!r}; allowed is any of {allowed}.")
    return OAuth(issuer=issuer, resource=resource, jwks_url=said.maybe("oauth_jwks_url"), algorithms=algorithms)


def _tls(said: Said) -> Tls | None:
    certificate, key, client_ca = said.maybe("tls_cert"), said.maybe("tls_key"), said.maybe("tls_client_ca")
    if certificate is not None and key is not None:
        return Tls(certificate=certificate, key=key, client_ca=client_ca)
    if certificate is None and key is None and client_ca is None:
        return None
    raise ConfigError("TLS needs both --tls-cert and --tls-key; --tls-client-ca comes beside them.")
