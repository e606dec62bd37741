"""How each kind of provider wants to be spoken to, a file a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from openai_gateway.errors import ConfigError
from openai_gateway.routing.dialects.anthropic import ANTHROPIC
from openai_gateway.routing.dialects.azure import AZURE
from openai_gateway.routing.dialects.dialect import Dialect, LocalAnswer, UpstreamRequest
from openai_gateway.routing.dialects.echo import ECHO
from openai_gateway.routing.dialects.openai import OPENAI

__all__ = ["KINDS", "Dialect", "LocalAnswer", "UpstreamRequest", "dialect_of"]

KINDS: Final[Mapping[str, Dialect]] = {dialect.kind: dialect for dialect in (OPENAI, AZURE, ANTHROPIC, ECHO)}


def dialect_of(kind: str) -> Dialect:
    """The row of `kind`. Raises ConfigError where there is none."""
    dialect = KINDS.get(kind)
    if dialect is None:
        raise ConfigError(f"There is no kind of provider {kind!r}; known are {', '.join(KINDS)}.")
    return dialect
