"""Virtual keys: what the gateway gives out in the place of a provider's, and what each of them may do."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final, Literal

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.limits import Limits, Period

PREFIX: Final = "ogw_"
KEY_BYTES: Final = 32
"""256 bit, which nobody guesses: so a plain SHA-256 of the key is enough to know it again, and costs a call nothing."""

_SHAPE: Final = re.compile(r"ogw_[A-Za-z0-9_-]{43}")

Role = Literal["user", "admin"]


def looks_like_a_key(presented: str) -> bool:
    """Whether it has the shape of a key that we gave out: the hash of one has not."""
    return _SHAPE.fullmatch(presented) is not None


def digest_of(presented: str) -> str:
    """By what a key is found: all that is ever stored of it."""
    return hashlib.sha256(presented.encode("utf-8", "surrogatepass")).hexdigest()


@attrs.frozen(kw_only=True)
class VirtualKey:
    """One key. `id` may be shown, `digest` is the SHA-256 of the key itself, in hexadecimal.

    `created`, `expires` and `revoked` are seconds of Unix time, None for never. `models` and `endpoints` are globs
    (routing/globs.py); None allows all. An admin's key also opens the admin routes. `budget` is in nanodollars
    a `period`, days and months of UTC.
    """

    id: str
    digest: str = attrs.field(repr=False)
    name: str = ""
    owner: str = ""
    role: Role = "user"
    created: int = 0
    expires: int | None = None
    revoked: int | None = None
    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    budget: int | None = None
    period: Period = "month"

    def written(self) -> str:
        """As a store keeps it; `read` is the way back."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def read(cls, content: str | bytes) -> VirtualKey:
        """What `written` made."""
        found = json.loads(content)
        globs = {name: None if found[name] is None else tuple(found[name]) for name in ("models", "endpoints")}
        return cls(**{**found, **globs})

    @property
    def limits(self) -> Limits | None:
        """What it may use, None where nothing limits it."""
        if self.rpm is None and self.tpm is None and self.max_parallel is None and self.budget is None:
            return None
        return Limits(
            key=f"key {self.id}",
            title=f"key {self.name or self.id}",
            rpm=self.rpm,
            tpm=self.tpm,
            max_parallel=self.max_parallel,
            budget=self.budget,
            period=self.period,
        )

    def refuse_if_dead(self, now: float) -> None:
        """Raises GatewayError (AUTHENTICATION) for one that is revoked or expired at `now`, in seconds of Unix time."""
        if self.revoked is not None:
            raise _dead(f"Incorrect API key provided: the key {self.id} was revoked.")
        if self.expires is not None and now >= self.expires:
            raise _dead(f"Incorrect API key provided: the key {self.id} has expired.")


def _dead(message: str) -> GatewayError:
    return GatewayError(kind=Kind.AUTHENTICATION, message=message, hint="Ask whoever runs the gateway for a new one.")
