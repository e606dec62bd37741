"""How each kind of provider wants to be spoken to, a file a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from openai_gateway.errors import ConfigError
from openai_gateway.routing.dialects.dialect import Dialect, LocalAnswer, UpstreamRequest
from openai_gateway.routing.dialects.echo import ECHO
from openai_gateway.routing.dialects.openai import OPENAI

__all__ = ["KINDS", "PLANNED", "Dialect", "LocalAnswer", "UpstreamRequest", "dialect_of"]

KINDS: Final[Mapping[str, Dialect]] = {dialect.kind: dialect for dialect in (OPENAI, ECHO)}
PLANNED: Final = ("azure", "anthropic")


def dialect_of(kind: str) -> Dialect:
    """The row of `kind`. Raises ConfigError for a kind that is not built yet, and for one that is none."""
    dialect = KINDS.get(kind)
    if dialect is not None:
        return dialect
    built = " and ".join(KINDS)
    if kind in PLANNED:
        raise ConfigError(f"Providers of kind {kind!r} are planned and not built yet; built are {built}.")
    raise ConfigError(f"There is no kind of provider {kind!r}; known are {', '.join((*KINDS, *PLANNED))}.")
