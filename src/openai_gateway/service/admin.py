"""What an admin does: create, show, revoke and rotate keys, and look at what was used."""

from __future__ import annotations

import secrets
from typing import Any

import attrs

from openai_gateway.routing.ledger import dollars
from openai_gateway.routing.limits import Period
from openai_gateway.routing.virtual_keys import KEY_BYTES, PREFIX, Role, VirtualKey, digest_of


def new_secret() -> str:
    """A key itself, which nobody stores."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def new_key(
    *,
    now: int,
    name: str = "",
    owner: str = "",
    role: Role = "user",
    expires: int | None = None,
    models: tuple[str, ...] | None = None,
    endpoints: tuple[str, ...] | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    max_parallel: int | None = None,
    budget: int | None = None,
    period: Period = "month",
) -> tuple[VirtualKey, str]:
    """A key with these rights, and its secret; `now` and `expires` in seconds of Unix time, `budget` in nanodollars."""
    secret = new_secret()
    key = VirtualKey(
        id=f"key_{secrets.token_hex(6)}",
        digest=digest_of(secret),
        name=name,
        owner=owner,
        role=role,
        created=now,
        expires=expires,
        models=models,
        endpoints=endpoints,
        rpm=rpm,
        tpm=tpm,
        max_parallel=max_parallel,
        budget=budget,
        period=period,
    )
    return key, secret


def revoked(key: VirtualKey, *, now: int) -> VirtualKey:
    """The key, ended; one that was ended before stays as it was."""
    return key if key.revoked is not None else attrs.evolve(key, revoked=now)


def rotated(key: VirtualKey, secret: str) -> VirtualKey:
    """The same rights under another secret."""
    return attrs.evolve(key, digest=digest_of(secret))


def shown_key(key: VirtualKey) -> dict[str, Any]:
    """All of a key that may be shown: not its digest. The budget is in US dollars."""
    shown = attrs.asdict(key, filter=lambda field, _: field.name != "digest")
    return {**shown, "budget": None if key.budget is None else dollars(key.budget)}
