"""What the features are told at start, as one frozen value; config.py makes it, the features only read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from openai_gateway import Model
from openai_gateway import Settings as GatewaySettings
from openai_gateway.routing.globs import is_allowed
from openai_gateway_mcp.features.prompts import PROMPTS, PromptSpec

MAX_CHARACTERS = 48_000
"""Claude Code writes results over 50,000 characters to a file that its model must then read in pieces."""


@attrs.frozen(kw_only=True)
class Settings:
    """`soft_deadline` is in seconds from the start of a tool call, None for off; `tools` are the names switched on.

    `rate_limit` is in calls a minute, 0 for off. `tenant` is who asks, for the gateway's cache: on stdio there is one
    client, and its process is its own. `models` are the patterns of the names that it may ask, None for all.
    `tool_models`: the model of each tool that does not chat. `roots` are the directories whose files may be sent.
    `embedded`: the gateway is this process's own.
    """

    gateway: GatewaySettings
    soft_deadline: float | None = 55.0
    rate_limit: int = 600
    max_characters: int = MAX_CHARACTERS
    tools: tuple[str, ...] = ()
    tenant: str = "stdio"
    models: tuple[str, ...] | None = None
    tool_models: Mapping[str, str] = attrs.field(factory=dict)
    roots: tuple[str, ...] = ()
    embedded: bool = False
    prompts: tuple[PromptSpec, ...] = PROMPTS

    def may_ask(self, model: str) -> bool:
        """Whether this caller may use the model."""
        return is_allowed(model, self.models)

    def permitted(self, models: Iterable[Model]) -> tuple[Model, ...]:
        """Those that this caller may use."""
        return tuple(model for model in models if self.may_ask(model.id))
