"""`list_models`: what may be asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from openai_gateway import Model
from openai_gateway_mcp.features.default_model import choose
from openai_gateway_mcp.features.model_names import ranked
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, WrongArgument, argument
from openai_gateway_mcp.protocol.model import Text, ToolResult

Json = Any


@attrs.frozen(kw_only=True)
class ListArgs:
    query: str = argument(default="", help="A part of the name.")
    limit: int = argument(default=25, rule=Rule(minimum=1, maximum=100))
    cursor: str | None = argument(default=None, help="next_cursor of the page before.")
    detail: str = argument(
        default="concise", rule=Rule(help="full: all that the gateway says.", choices=("concise", "full"))
    )


_OUTPUT = {
    "type": "object",
    "properties": {
        "models": {"type": "array", "items": {"type": "object"}},
        "total": {"type": "integer"},
        "default_model": {"type": "string"},
        "next_cursor": {"type": "string"},
    },
    "required": ["models", "total", "default_model"],
}


async def list_models(args: ListArgs, context: Context) -> ToolResult:
    """A page of the models that match, best first, as structured content and the same JSON as text."""
    found = ranked(context.settings.permitted(await context.door.models()), args.query)
    start = _start(args.cursor, len(found))
    entries = [
        model_entry(one) if args.detail == "full" else _concise(one) for one in found[start : start + args.limit]
    ]
    fitting = _fitting(entries, context.settings.max_characters)
    page: dict[str, Json] = {
        "models": entries[:fitting],
        "total": len(found),
        "default_model": (await choose(context.door, None, context.settings)).model,
    }
    if start + fitting < len(found):
        page["next_cursor"] = str(start + fitting)
    return ToolResult(content=(Text(json.dumps(page)),), structured=page)


def model_entry(model: Model) -> dict[str, Json]:
    """One entry of OpenAI's model list: as the gateway gave it, under the name that a caller uses."""
    return {
        **model.raw,
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
    }


def _concise(model: Model) -> dict[str, Json]:
    return {"id": model.id, "owned_by": model.owned_by}


def _start(cursor: str | None, total: int) -> int:
    """The cursor is a place in the list: nothing to store, and a list that changed in between is still paged."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10 and int(cursor) <= total):
        raise WrongArgument.of("cursor", cursor, "next_cursor of the page before, with the same query")
    return int(cursor)


def _fitting(entries: Sequence[Json], max_characters: int) -> int:
    """How many entries fit the size of a result; always at least one, so that paging gets on."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(json.dumps(entry)) + 2
        if size > max_characters and count:
            return count
    return len(entries)


TOOL = ToolSpec(
    name="list_models",
    title="List models",
    description=(
        "List the models that can be asked. Use it before naming one that you are not sure of. Costs nothing."
    ),
    args=ListArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=list_models,
    output_schema=_OUTPUT,
)
