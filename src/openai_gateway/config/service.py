"""What `openai-gateway serve` is told: flags, the environment, the `[serve]` table of the file, in this order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from openai_gateway.config import environment
from openai_gateway.config.toml import Table
from openai_gateway.errors import ConfigError
from openai_gateway.routing.service_settings import ServiceSettings, Tls

_GIGABYTE: Final = 2**30
_STORE_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_TLS: Final = ("tls_certificate", "tls_key", "client_ca")


def _text(table: Table, key: str) -> str | None:
    return table.text(key)


def _flag(table: Table, key: str) -> bool | None:
    return table.flag(key) if key in table.content else None


def _on_failure(table: Table, key: str) -> str | None:
    said = table.text(key)
    if said not in {None, "refuse", "allow"}:
        raise table.wrong(key, '"refuse" or "allow"')
    return said


def _texts(table: Table, key: str) -> tuple[str, ...] | None:
    return table.texts(key) if key in table.content else None


def _integer(least: int, most: int) -> Callable[[Table, str], int | None]:
    return lambda table, key: table.integer(key, least=least, most=most)


_KEYS: Final[Mapping[str, Callable[[Table, str], Any]]] = {
    "host": _text,
    "port": _integer(0, 65535),
    "tls_certificate": _text,
    "tls_key": _text,
    "client_ca": _text,
    "workers": _integer(1, 64),
    "data": _text,
    "store": _text,
    "on_store_failure": _on_failure,
    "repair": _flag,
    "dashboard": _flag,
    "origins": _texts,
    "hosts": _texts,
    "grace": lambda table, key: table.number(key, most=3600),
    "max_connections": _integer(1, 1_000_000),
    "max_body_bytes": _integer(1024, _GIGABYTE),
    "max_upload_bytes": _integer(1024, 2**40),
    "files": _text,
    "retention_days": _integer(1, 36_500),
    "retention_rows": _integer(1000, 10**12),
}
"""Each key of `[serve]`, and how it is read."""

SERVE_KEYS: Final = tuple(_KEYS)


def read_serve(table: Table | None) -> dict[str, Any]:
    """What the table says, by its keys. Raises ConfigError."""
    if table is None:
        return {}
    table.only(_KEYS)
    said = {key: read(table, key) for key, read in _KEYS.items()}
    return {key: value for key, value in said.items() if value is not None}


def service_settings(
    environ: Mapping[str, str], said: Mapping[str, Any], flags: Mapping[str, Any], *, no_auth: bool = False
) -> ServiceSettings:
    """The settings of a service. `said` is the file's, `flags` win where they are not None. Raises ConfigError."""
    merged = {**said, **{key: value for key, value in flags.items() if value is not None}}
    store = flags.get("store") or environment.text(environ, "GATEWAY_STORE") or said.get("store") or ""
    refuse_store(store)
    tls = _tls({key: merged.pop(key, None) for key in _TLS})
    data = flags.get("data") or environment.text(environ, "GATEWAY_DATA") or said.get("data") or data_directory(environ)
    return ServiceSettings(
        **{**merged, "data": str(Path(data).expanduser()), "store": store},
        tls=tls,
        no_auth=no_auth,
        otlp_endpoint=environment.text(environ, "OTEL_EXPORTER_OTLP_ENDPOINT") or "",
        store_password=environment.read_secret(environ, "GATEWAY_STORE_PASSWORD"),
        metrics_token=environment.read_secret(environ, "GATEWAY_METRICS_TOKEN"),
    )


def refuse_store(address: str) -> None:
    """Raises ConfigError for an address that no store can be reached at, or that tells a secret."""
    if not address:
        return
    parts = urlsplit(address)
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.scheme == "unix"):
        raise ConfigError("store is the address of a Redis or a Valkey: redis://HOST:PORT, rediss:// or unix:///PATH.")
    if parts.password is not None:
        raise ConfigError("store holds a password; give it as GATEWAY_STORE_PASSWORD or GATEWAY_STORE_PASSWORD_FILE.")
    if unknown := parse_qs(parts.query, keep_blank_values=True).keys() - _STORE_OPTIONS:
        raise ConfigError(f"store has the option {min(unknown)!r}; it may have {', '.join(sorted(_STORE_OPTIONS))}.")


def data_directory(environ: Mapping[str, str]) -> str:
    """Where a service keeps its store and its audit log, where nobody says otherwise (XDG Base Directory)."""
    said = environment.text(environ, "XDG_STATE_HOME")
    if said is not None and Path(said).is_absolute():
        return str(Path(said, "openai-gateway"))
    home = environment.text(environ, "HOME")
    if home is None:
        raise ConfigError("There is no home directory to keep the store in: say where with --data.")
    return str(Path(home, ".local/state/openai-gateway"))


def _tls(files: Mapping[str, str | None]) -> Tls | None:
    certificate, key, client_ca = (files[name] for name in _TLS)
    if certificate is not None and key is not None:
        return Tls(certificate=certificate, key=key, client_ca=client_ca)
    if certificate is not None or key is not None or client_ca is not None:
        raise ConfigError("TLS needs both a certificate and its key: tls_certificate and tls_key.")
    return None
