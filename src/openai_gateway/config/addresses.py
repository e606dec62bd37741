"""Base URLs as people write them, made one; and which proxy stands before one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from openai_gateway.errors import ConfigError

_VERSION: Final = re.compile(r"/v\d[^/]*(?=/|$)")
_ENDPOINT: Final = "/chat/completions"
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is bound to them
_AZURE_V1: Final = "/openai/v1"
_AZURE_PATH: Final = re.compile(r"/openai(?:/v1|/deployments/[^/]+)?(?:/chat/completions)?$")


def base_url(raw: str, said_by: str, *, allow_insecure: bool = False, endpoint: str = _ENDPOINT) -> str:
    """The URL that `endpoint` is put behind, without a trailing slash.

    Accepted with or without /v1, a trailing slash or the endpoint. `/v1` is added where the path has no version in
    it (`/v1`, `/v1beta`, `/v4` …) and did not spell the endpoint out, which is how to say "exactly here". Plain
    http:// goes to this machine only, unless `allow_insecure`. Raises ConfigError.
    """
    parts = _checked(raw, said_by, allow_insecure=allow_insecure)
    path = parts.path.rstrip("/")
    if path.endswith(endpoint):
        path = path.removesuffix(endpoint)
    elif not _VERSION.search(path):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def endpoint_url(raw: str, said_by: str, *, allow_insecure: bool = False) -> str:
    """A URL that is asked as it stands, such as an MCP server's, also of ws and wss. Raises ConfigError."""
    is_websocket = raw.lower().startswith(("ws:", "wss:"))
    parts = _checked(f"http{raw[2:]}" if is_websocket else raw, said_by, allow_insecure=allow_insecure)
    scheme = parts.scheme.replace("http", "ws") if is_websocket else parts.scheme
    return f"{scheme}://{parts.netloc}{parts.path}"


def anthropic_url(raw: str, said_by: str, *, allow_insecure: bool = False) -> str:
    """The URL that `/messages` is put behind. Raises ConfigError."""
    return base_url(raw, said_by, allow_insecure=allow_insecure, endpoint="/messages")


def azure_url(raw: str, said_by: str, *, api_version: str | None, allow_insecure: bool = False) -> str:
    """The address of an Azure OpenAI resource, as the azure dialect takes it. Raises ConfigError.

    With an `api_version` it is that of the resource, for the surface with a path a deployment; without one, or where
    the address itself ends in /openai/v1, it is that of the surface which needs none.
    """
    parts = _checked(raw, said_by, allow_insecure=allow_insecure)
    path = parts.path.rstrip("/")
    is_v1 = path.removesuffix(_ENDPOINT).endswith(_AZURE_V1)
    path = _AZURE_PATH.sub("", path) + (_AZURE_V1 if is_v1 or api_version is None else "")
    return f"{parts.scheme}://{parts.netloc}{path}"


def checked_api_version(raw: str, said_by: str) -> str:
    """An `api-version` of Azure's, such as 2024-10-21 or preview. Raises ConfigError."""
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", raw):
        raise ConfigError(f"{said_by} is {raw!r}; allowed is a version such as 2024-10-21.")
    return raw


def _checked(raw: str, said_by: str, *, allow_insecure: bool) -> SplitResult:
    parts = _split(raw, said_by)
    if parts.scheme == "http" and not (allow_insecure or is_loopback(parts.hostname or "")):
        if parts.hostname in _EVERYWHERE:  # as servers print it when they start
            raise ConfigError(
                f"{said_by} is {shown(raw)!r}: at {parts.hostname} a server listens on every address that it has."
                " On this machine it is asked at 127.0.0.1."
            )
        raise ConfigError(
            f"{said_by} is {shown(raw)!r}: plain http:// would carry keys and prompts readable to all on the way."
            " Use https://, or say allow_insecure = true in the configuration (ALLOW_INSECURE=true in the environment)."
        )
    return parts


def _split(raw: str, said_by: str) -> SplitResult:
    try:
        parts = urlsplit(raw)
        sound = parts.scheme in {"http", "https"} and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:  # a port that is no number, a bracket without its pair
        sound = False
    if not sound or not raw.isprintable() or " " in raw:
        raise ConfigError(f"{said_by} is {shown(raw)!r}; allowed is a URL such as https://gateway.example.com/v1.")
    if "@" in parts.netloc:
        raise ConfigError(f"{said_by} holds a user name or password; a key has its own setting.")
    if parts.query or parts.fragment:
        raise ConfigError(f"{said_by} is {shown(raw)!r}; a base URL ends before any '?' or '#'.")
    return parts


def _is_host(host: str) -> bool:
    """Whether it can be looked up at all: each label of a name has 1 to 63 characters (RFC 1035, 2.3.4)."""
    return all(1 <= len(label) <= 63 for label in host.removesuffix(".").split("."))


def shown(raw: str) -> str:
    """The URL as far as it may be shown: without user name and password, and without what follows a `?`."""
    without_user = re.sub(r"//[^/@]*@", "//…@", raw)
    return re.sub(r"[?#].*", "?…", without_user, flags=re.DOTALL)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its literal name: a look-up could say something else a moment later."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(environ: Mapping[str, str], url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (also in small letters) name for this URL.

    HTTP_PROXY in capitals is not asked where REQUEST_METHOD is set: there a web client could have set it (httpoxy).
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or _is_excepted(host, parts.port, _either(environ, "no_proxy") or ""):
        return None
    if parts.scheme == "http" and "REQUEST_METHOD" in environ:
        return environ.get("http_proxy") or _either(environ, "all_proxy")
    return _either(environ, f"{parts.scheme}_proxy") or _either(environ, "all_proxy")


def _either(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name) or environ.get(name.upper()) or None


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    entries = [entry.strip().lower().lstrip(".") for entry in exceptions.split(",")]
    return any(_covers(entry, host, port) for entry in entries if entry)


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry in {"*", host, f"{host}:{port}"} or host.endswith(f".{entry.removeprefix('*.')}"):
        return True
    try:
        return "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def checked_proxy(raw: str, said_by: str) -> str:
    """A proxy URL that the transport can use: http:// or https://, a password in it allowed. Raises ConfigError."""
    full = raw if "://" in raw else f"http://{raw}"
    try:
        parts = urlsplit(full)
        sound = parts.scheme in {"http", "https"} and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"{said_by} is {shown(full)!r}; allowed is a proxy such as http://proxy.example.com:3128.")
    return full
