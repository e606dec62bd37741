"""`[[prompts]]` of the configuration file: the prompts of whoever runs this server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from openai_gateway.config.file import other_tables
from openai_gateway_mcp.features.prompts import PROMPTS, PromptSpec, places_in
from openai_gateway_mcp.protocol.model import Prompt, PromptArgument

if TYPE_CHECKING:
    from openai_gateway.config.toml import Table

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ARGUMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def prompts_of(path: str) -> tuple[PromptSpec, ...]:
    """Those that are always there, and then the file's. Raises ConfigError, with the line."""
    specs = list(PROMPTS)
    for table in other_tables(path, "prompts"):
        spec = _prompt(table)
        if any(known.prompt.name == spec.prompt.name for known in specs):
            raise table.fault("name", f"there is a prompt {spec.prompt.name!r} already.")
        specs.append(spec)
    return tuple(specs)


def _prompt(table: Table) -> PromptSpec:
    table.only(("name", "title", "description", "text", "arguments"))
    name = table.required("name")
    if not _NAME.fullmatch(name):
        raise table.fault("name", f"name in {table.title} is {name!r}; allowed are letters, digits, - and _, up to 64.")
    words = table.required("text")
    arguments = tuple(_argument(one) for one in table.tables("arguments"))
    unknown = [place for place in places_in(words) if all(place != argument.name for argument in arguments)]
    if unknown:
        raise table.fault("text", f"text has a place for {{{unknown[0]}}}, which is none of its [[prompts.arguments]].")
    prompt = Prompt(
        name=name,
        title=table.text("title") or name,
        description=table.text("description") or "",
        arguments=arguments,
    )
    return PromptSpec(prompt=prompt, words=words)


def _argument(table: Table) -> PromptArgument:
    table.only(("name", "description", "required"))
    name = table.required("name")
    if not _ARGUMENT.fullmatch(name):
        raise table.fault("name", f"name in {table.title} is {name!r}; allowed are letters, digits and _.")
    return PromptArgument(name=name, description=table.text("description") or "", required=table.flag("required"))
