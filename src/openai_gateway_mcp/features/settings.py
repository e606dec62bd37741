"""What the features are told at start, as one frozen value; config.py makes it, the features only read it."""

from __future__ import annotations

import attrs

from openai_gateway import Settings as GatewaySettings

MAX_CHARACTERS = 48_000
"""Claude Code writes results over 50,000 characters to a file that its model must then read in pieces."""

TENANT = "stdio"
"""Who asks, for the gateway's cache: on stdio there is one client, and its process is its own."""


@attrs.frozen(kw_only=True)
class Settings:
    """`soft_deadline` is in seconds from the start of a tool call, None for off; `tools` are the names switched on.

    `rate_limit` is in calls a minute, 0 for off.
    """

    gateway: GatewaySettings
    soft_deadline: float | None = 55.0
    rate_limit: int = 600
    max_characters: int = MAX_CHARACTERS
    tools: tuple[str, ...] = ()
