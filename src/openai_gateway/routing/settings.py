"""The gateway's configuration as one frozen value; config/ makes it, everything below only reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from openai_gateway.routing.plan import RouteTable
from openai_gateway.secret import Secret

MAX_REST: Final = 120.0
"""Seconds. Envoy ejects a host for at most 300 s; a provider's outage is worth a look sooner than that."""


@attrs.frozen(kw_only=True)
class Timeouts:
    """The four clocks, in seconds. A healthy long stream is bounded by `total` alone."""

    connect: float = 5.0
    first_byte: float = 30.0
    idle: float = 30.0
    total: float = 600.0


@attrs.frozen(kw_only=True)
class Retries:
    """`max_retries`: attempts after the first on one target. `max_attempts`: of one call, over all its targets."""

    max_retries: int = 3
    max_attempts: int = 12


@attrs.frozen(kw_only=True)
class Cache:
    """Answers kept for exact repeats (routing/cache.py): for `ttl` seconds, `max_bytes` of them at most."""

    enabled: bool = False
    ttl: float = 300.0
    max_bytes: int = 64 * 2**20


@attrs.frozen(kw_only=True)
class Breaking:
    """When a breaker opens: after `failures` in a row, or when `rate` of at least `least` outcomes in `window` failed.

    It stays open for `rest`, and twice as long after each probe that fails, at most MAX_REST. Times are in seconds. The
    numbers are those of Envoy's outlier detection (5 in a row) and of LiteLLM's cooldown, which counts a share too.
    """

    failures: int = 5
    rate: float = 0.5
    least: int = 10
    window: float = 30.0
    rest: float = 15.0


@attrs.frozen(kw_only=True)
class Settings:
    """One immutable snapshot. `secrets` are all that the redactor strikes out; `warnings` are for the log at start.

    `files` are those it was read from, keys and certificates included, each with a mark of the version that was there
    (None: there was no such file).
    """

    table: RouteTable
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    retries: Retries = attrs.field(factory=Retries)
    breakers: Breaking = attrs.field(factory=Breaking)
    cache: Cache = attrs.field(factory=Cache)
    default_model: str = "gpt-3.5-turbo"
    default_model_is_set: bool = False
    secrets: tuple[Secret, ...] = ()
    warnings: tuple[str, ...] = ()
    files: Mapping[str, str | None] = attrs.field(factory=dict, eq=False)
