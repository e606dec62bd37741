"""`moderate`: whether a text is harmful, and in which way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from openai_gateway_mcp.features.answer import facts_of, prefixed
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, argument
from openai_gateway_mcp.features.whole import ask_whole, unreadable
from openai_gateway_mcp.protocol.model import Text, ToolResult

Json = Any


@attrs.frozen(kw_only=True)
class ModerateArgs:
    input: tuple[str, ...] = argument(rule=Rule(help="The texts.", min_items=1, max_items=256, or_one=True))
    model: str | None = argument(default=None)


async def moderate(args: ModerateArgs, context: Context) -> ToolResult:
    """A verdict for each text, in their order: structured content, and the same JSON as text."""
    reply = await ask_whole(context, "moderate", "moderations", args.model, {"input": list(args.input)})
    results = reply.json.get("results")
    if not isinstance(results, list) or len(results) != len(args.input):
        return unreadable(reply, "a verdict for each text")
    verdicts = [_verdict(one) for one in results]
    structured = {"flagged": any(one["flagged"] for one in verdicts), "results": verdicts}
    return ToolResult(
        content=(Text(json.dumps(structured)),), structured=structured, meta=prefixed(facts_of(reply.served))
    )


def _verdict(result: Json) -> dict[str, Json]:
    """Only the categories that are flagged have their scores told: the others are a long list of nothing."""
    found: Mapping[str, Json] = result if isinstance(result, dict) else {}
    categories, scores = (found.get(name) for name in ("categories", "category_scores"))
    flagged = [name for name, is_so in categories.items() if is_so is True] if isinstance(categories, dict) else []
    known = scores if isinstance(scores, dict) else {}
    return {
        "flagged": found.get("flagged") is True,
        "categories": {name: known.get(name) for name in flagged},
    }


TOOL = ToolSpec(
    name="moderate",
    title="Moderate texts",
    description="Judge whether texts are harmful, by category and score. Use it on what strangers wrote. Costs little.",
    args=ModerateArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=moderate,
    output_schema={
        "type": "object",
        "properties": {
            "flagged": {"type": "boolean"},
            "results": {"type": "array", "items": {"type": "object"}},
        },
    },
)
