"""Whether one key may do no more than another: what an admin gives away must be the admin's own."""

from __future__ import annotations

from openai_gateway.routing.globs import is_allowed
from openai_gateway.routing.virtual_keys import VirtualKey

_DAYS: int = 31  # of the longest month


def excess(key: VirtualKey, creator: VirtualKey) -> str | None:
    """What of the key goes beyond its creator, by the field's name; None where nothing does."""
    checks = {
        "role": key.role == "user" or creator.role == "admin",
        "models": _names_within(key.models, creator.models),
        "endpoints": _names_within(key.endpoints, creator.endpoints),
        "rpm": _number_within(key.rpm, creator.rpm),
        "tpm": _number_within(key.tpm, creator.tpm),
        "max_parallel": _number_within(key.max_parallel, creator.max_parallel),
        "budget": _number_within(_monthly(key), _monthly(creator)) and _number_within(_daily(key), _daily(creator)),
        "expires": _number_within(key.expires, creator.expires),
    }
    return next((name for name, is_within in checks.items() if not is_within), None)


def _names_within(globs: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Each glob, its `*` read as a letter, must be matched by one of the others: only a `*` of theirs matches that."""
    return others is None or (globs is not None and all(is_allowed(glob, others) for glob in globs))


def _number_within(number: int | None, other: int | None) -> bool:
    return other is None or (number is not None and number <= other)


def _monthly(key: VirtualKey) -> int | None:
    """The most that it can spend in a month."""
    return key.budget if key.budget is None or key.period == "month" else key.budget * _DAYS


def _daily(key: VirtualKey) -> int | None:
    """The most that it can spend in a day, which for a month's budget is all of it."""
    return key.budget
