"""`embed`: texts as vectors."""

from __future__ import annotations

import json
from typing import Any

import attrs

from openai_gateway import Reply
from openai_gateway_mcp.features.answer import facts_of, prefixed
from openai_gateway_mcp.features.kept import Parked
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, argument
from openai_gateway_mcp.features.whole import ask_whole, unreadable
from openai_gateway_mcp.protocol.model import Block, Text, ToolResult

Json = Any


@attrs.frozen(kw_only=True)
class EmbedArgs:
    input: tuple[str, ...] = argument(rule=Rule(help="The texts.", min_items=1, max_items=2048, or_one=True))
    model: str | None = argument(default=None)
    dimensions: int | None = argument(default=None, rule=Rule(minimum=1))
    inline: bool = argument(default=False, help="Vectors in the answer.")


async def embed(args: EmbedArgs, context: Context) -> ToolResult:
    """The facts as JSON text; the vectors lie in a resource, in the order of the texts, unless they are wanted here."""
    body = {"input": list(args.input), "dimensions": args.dimensions, "encoding_format": "float"}
    reply = await ask_whole(context, "embed", "embeddings", args.model, body)
    vectors = _vectors(reply)
    if vectors is None or len(vectors) != len(args.input):
        return unreadable(reply, "a vector for each text")
    facts: dict[str, Json] = {
        "model": reply.served.model,
        "count": len(vectors),
        "dimensions": len(vectors[0]),
        "input_tokens": None if reply.served.usage is None else reply.served.usage.input,
    }
    link = None
    if args.inline:
        facts["vectors"] = vectors
    else:
        link = context.kept.park(
            context.settings.tenant, Parked("vectors.json", json.dumps(vectors), "application/json")
        )
        facts["vectors"] = "too large to be kept: embed fewer texts" if link is None else link.uri
    content: tuple[Block, ...] = (Text(json.dumps(facts)),) if link is None else (Text(json.dumps(facts)), link)
    return ToolResult(content=content, meta=prefixed(facts_of(reply.served)))


def _vectors(reply: Reply) -> list[list[float]] | None:
    """In the order of the texts, whatever the order of the answer."""
    data = reply.json.get("data")
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        return None
    vectors = [one.get("embedding") for one in sorted(data, key=_place)]
    is_right = all(isinstance(one, list) and all(isinstance(x, int | float) for x in one) for one in vectors)
    return vectors if is_right else None


def _place(one: Json) -> int:
    index = one.get("index")
    return index if isinstance(index, int) else 0


TOOL = ToolSpec(
    name="embed",
    title="Embed texts",
    description="Turn texts into vectors, which are a resource to read. Use it for search or clustering. Costs the "
    "tokens of input.",
    args=EmbedArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=embed,
)
