"""What an admin does: create, show, revoke and rotate keys, and look at what was used."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import attrs

from openai_gateway.engine.store import By, ServiceStore
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.grants import excess
from openai_gateway.routing.ledger import dollars
from openai_gateway.routing.limits import Period
from openai_gateway.routing.money import nanodollars
from openai_gateway.routing.virtual_keys import KEY_BYTES, PREFIX, Role, VirtualKey, digest_of
from openai_gateway.wire.structure import StructureError, structure


@attrs.frozen(kw_only=True)
class KeyRequest:
    """The body of a request for a key; `budget` in US dollars a `period`, `expires` in seconds of Unix time."""

    name: str = ""
    owner: str = ""
    role: Role = "user"
    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    budget: float | None = None
    period: Period = "month"
    expires: int | None = None


def new_secret() -> str:
    """A key itself, which nobody stores."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def new_key(asked: KeyRequest, *, now: int) -> tuple[VirtualKey, str]:
    """A key with these rights, and its secret; `now` in seconds of Unix time. Raises GatewayError."""
    for name in ("rpm", "tpm", "max_parallel", "budget", "expires"):
        value = getattr(asked, name)
        if value is not None and not 0 <= value < 2**53 / (10**9 if name == "budget" else 1):
            raise _wrong(name, f"`{name}` must be a number from 0 on.")
    secret = new_secret()
    fields = attrs.asdict(asked, recurse=False)
    budget = None if asked.budget is None else nanodollars(asked.budget)
    key = VirtualKey(
        **{**fields, "budget": budget},
        id=f"key_{secrets.token_hex(6)}",
        digest=digest_of(secret),
        created=now,
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


async def create_key(
    store: ServiceStore, creator: VirtualKey, body: Mapping[str, Any], *, now: int
) -> tuple[VirtualKey, str]:
    """Make and keep the key that the body asks for. Raises GatewayError, also where it is more than its creator's."""
    try:
        asked = structure(dict(body), KeyRequest)
    except StructureError as error:
        message = str(error)
    else:
        key, secret = new_key(asked, now=now)
        if (name := excess(key, creator)) is not None:
            message = f"A key may do no more than the one that makes it, and `{name}` goes beyond that."
            raise GatewayError(kind=Kind.PERMISSION, code="grant_not_allowed", message=message, param=name)
        await store.put_key(key)
        return key, secret
    raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)


async def revoke_key(store: ServiceStore, creator: VirtualKey, id: str, *, now: int) -> VirtualKey:  # noqa: A002
    """End a key. Raises GatewayError for one that is not there, or may do more than who revokes it."""
    key = revoked(await _own(store, creator, id), now=now)
    await store.put_key(key)
    return key


async def rotate_key(store: ServiceStore, creator: VirtualKey, id: str) -> tuple[VirtualKey, str]:  # noqa: A002
    """Give it another secret. Raises GatewayError as `revoke_key`."""
    secret = new_secret()
    key = rotated(await _own(store, creator, id), secret)
    await store.put_key(key)
    return key, secret


async def usage(store: ServiceStore, *, by: str, since: int, until: int, key: str | None) -> list[dict[str, Any]]:
    """Sums as JSON, money in US dollars; `since` and `until` in Unix milliseconds. Raises GatewayError."""
    ways: dict[str, By] = {"day": "day", "model": "model", "key": "key"}
    if by not in ways:
        raise _wrong("by", "`by` must be day, model or key.")
    sums = await store.sums(ways[by], since=since, until=until, key=key)
    return [{**attrs.asdict(one), "money": dollars(one.money)} for one in sums]


async def _own(store: ServiceStore, creator: VirtualKey, id_: str) -> VirtualKey:
    """One with more rights than one's own is none of one's business: its new secret would give them away."""
    for key in await store.keys():
        if key.id == id_ and excess(key, creator) is None:
            return key
    raise GatewayError(kind=Kind.MODEL_NOT_FOUND, code="key_not_found", message="There is no such key.")


def _wrong(name: str, message: str) -> GatewayError:
    return GatewayError(kind=Kind.INVALID_REQUEST, message=message, param=name)
