"""TLS towards upstreams: which certificates are trusted, and which one is ours."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path
from typing import Final

import trio

from openai_gateway.errors import ConfigError
from openai_gateway.routing.plan import SYSTEM_STORE

ALPN: Final = ("http/1.1",)


def client_context(
    ca_bundle: str | None = None, client_cert: str | None = None, *, alpn: bool = True
) -> ssl.SSLContext:
    """What a client needs to know the server, and to show itself. Made once a process, and anew when a file changed.

    `ca_bundle`: a PEM file, or SYSTEM_STORE; without one certifi's list. Certificates and names are always verified.
    `alpn`: HTTP/1.1 is all that we speak on it; off where httpx says that itself. Raises ConfigError.
    """
    files = (None if ca_bundle == SYSTEM_STORE else ca_bundle, client_cert)
    return _context(ca_bundle, client_cert, ALPN if alpn else (), tuple(map(_version, files)))


@functools.lru_cache(maxsize=32)  # making one costs 48 ms
def _context(
    ca_bundle: str | None,
    client_cert: str | None,
    alpn: tuple[str, ...],
    _versions: tuple[tuple[int, int] | None, ...],  # of the two files; a part of the key and nothing else
) -> ssl.SSLContext:
    context = _trusting(ca_bundle)
    if client_cert is not None:
        _show(context, client_cert)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    if ca_bundle == SYSTEM_STORE:
        return ssl.create_default_context()
    if ca_bundle is None:
        import certifi  # noqa: PLC0415 - it is httpx's own requirement, and needed on this path only

        return ssl.create_default_context(cafile=certifi.where())
    try:
        return ssl.create_default_context(cafile=str(Path(ca_bundle).expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise _unusable(ca_bundle, error) from None


def _show(context: ssl.SSLContext, client_cert: str) -> None:
    try:
        # A password, if only an empty one: without any, OpenSSL asks for it on the terminal and waits.
        context.load_cert_chain(str(Path(client_cert).expanduser()), password="")
    except (OSError, ssl.SSLError) as error:
        raise _unusable(client_cert, error) from None


def _version(name: str | None) -> tuple[int, int] | None:
    """By what a changed file is told from the one that was read."""
    if name is None:
        return None
    try:
        found = Path(name).expanduser().stat()
    except OSError as error:
        raise _unusable(name, error) from None
    return found.st_mtime_ns, found.st_size


def _unusable(name: str, error: OSError) -> ConfigError:
    return ConfigError(f"the configured certificates cannot be used: {error.strerror or error}: {name}")


def undecrypted(stream: trio.SSLStream[trio.abc.Stream]) -> bool:
    """Whether bytes were read from the socket that TLS has not looked at: a record that came with the one before."""
    # trio has no public word for it, and its receive_some would wait for more. A test shows that this still tells.
    return bool(stream._incoming.pending or stream.pending())  # noqa: SLF001 - as above


def server_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """What a server shows, from PEM files; with `client_ca` it lets in who shows a certificate of these authorities.

    Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    try:
        context.load_cert_chain(str(Path(certificate).expanduser()), str(Path(key).expanduser()), password="")
    except (OSError, ssl.SSLError) as error:
        raise _unusable(certificate, error) from None
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cafile=str(Path(client_ca).expanduser()))
        except (OSError, ssl.SSLError) as error:
            raise _unusable(client_ca, error) from None
    return context
