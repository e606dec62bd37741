"""What `openai-gateway serve` is told beside the route table, as one frozen value; config/ and flags make it."""

from __future__ import annotations

from typing import Literal

import attrs

from openai_gateway.secret import Secret


@attrs.frozen(kw_only=True)
class Tls:
    """PEM files. With `client_ca` only clients that show a certificate of these authorities are let in."""

    certificate: str
    key: str
    client_ca: str | None = None


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """`data` is the directory of the audit log, and of the store unless `store` is the address of another one.

    With on_store_failure "allow" calls of known keys pass, without any limit, while the store cannot be asked.
    `metrics_token` is whose bearer may read the metrics.

    `otlp_endpoint` is where traces are sent, "" for nowhere.
    `origins` are those that a browser's page may call from, `hosts` the names that a Host header may have beside the
    bound address (empty: any, unless that is loopback). `files` is the provider that new files go to, "" for the first
    that can keep any. Sizes are in bytes, times in seconds, `retention_rows` is the number of ledger rows that are
    kept.
    """

    host: str = "127.0.0.1"
    port: int = 4000  # LiteLLM's, so that a client's configuration may stay as it is
    tls: Tls | None = None
    workers: int = 1
    data: str = ""
    store: str = ""
    store_password: Secret | None = None
    on_store_failure: Literal["refuse", "allow"] = "refuse"
    no_auth: bool = False
    repair: bool = False
    dashboard: bool = False
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    metrics_token: Secret | None = None
    otlp_endpoint: str = ""
    grace: float = 30.0
    max_connections: int = 10_000
    max_body_bytes: int = 32 * 2**20
    max_upload_bytes: int = 512 * 2**20
    files: str = ""
    retention_days: int = 90
    retention_rows: int = 10_000_000

    @property
    def lenient(self) -> bool:
        """Whether calls pass without limits while the store cannot be asked."""
        return self.on_store_failure == "allow"
