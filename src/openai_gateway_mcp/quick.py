"""The flags of serving stdio, read without the command line library, which would cost a third of a cold start."""

from __future__ import annotations

from collections.abc import Sequence

from openai_gateway.errors import ConfigError
from openai_gateway.secret import Redactor
from openai_gateway_mcp.config import SETTINGS
from openai_gateway_mcp.said import Sort

_SETTING_OF = {row.flag: row for row in SETTINGS if row.flag}


def maybe_flags(argv: Sequence[str]) -> dict[str, str] | None:
    """Name of the setting → text, if `argv` has nothing but known flags, spelled out; else None: typer looks at it."""
    flags: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        row = _SETTING_OF.get(flag)
        if row is None:
            return None
        if row.sort is Sort.SWITCH:
            if equals:
                return None
            value = "true"
        elif not equals:
            value = next(words, "-")
            if value.startswith("-"):  # a forgotten value, or the next flag: typer words the error
                return None
        flags[row.name] = value
    return flags


def refuse_keys(argv: Sequence[str]) -> None:
    """ConfigError for an argument that looks like a key; it is not quoted. Prose that mentions one is no key."""
    redact = Redactor().redact
    for position, word in enumerate(argv, start=1):
        if not any(character.isspace() for character in word) and redact(word) != word:
            raise ConfigError(
                f"Argument {position} looks like a key (not shown here). Any process can read arguments: put keys "
                "into the environment (GATEWAY_API_KEY, OPENAI_API_KEY) or a file that GATEWAY_API_KEY_FILE names."
            )
