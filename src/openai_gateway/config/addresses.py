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


def base_url(raw: str, said_by: str, *, allow_insecure: bool = False) -> str:
    """The URL that `/chat/completions` is put behind, without a trailing slash.

    Accepted with or without /v1, a trailing slash or /chat/completions. `/v1` is added where the path has no version in
    it (`/v1`, `/v1beta`, `/v4` …) and did not spell /chat/completions out, which is how to say "exactly here". Plain
    http:// goes to this machine only, unless `allow_insecure`. Raises ConfigError.
    """
    parts = _split(raw, said_by)
    if parts.scheme == "http" and not (allow_insecure or is_loopback(parts.hostname or "")):
        raise ConfigError(
            f"{said_by} is {shown(raw)!r}: plain http:// would carry keys and prompts readable to all on the way."
            " Use https://, or say allow_insecure = true in the configuration (ALLOW_INSECURE=true in the environment)."
        )
    path = parts.path.rstrip("/")
    if path.endswith(_ENDPOINT):
        path = path.removesuffix(_ENDPOINT)
    elif not _VERSION.search(path):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


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
