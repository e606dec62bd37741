"""`generate_image`: pictures from words."""

from __future__ import annotations

from typing import Any

import attrs

from openai_gateway_mcp.features.answer import facts_of, prefixed
from openai_gateway_mcp.features.media import decoded, media_of
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, argument
from openai_gateway_mcp.features.whole import ask_whole, unreadable
from openai_gateway_mcp.protocol.model import Block, Image, ResourceLink, Text, ToolResult

Json = Any


@attrs.frozen(kw_only=True)
class ImageArgs:
    prompt: str = argument(rule=Rule(min_length=1))
    model: str | None = argument(default=None)
    size: str | None = argument(default=None, help="Such as 1024x1024.")
    n: int | None = argument(default=None, rule=Rule(minimum=1, maximum=10))


async def generate_image(args: ImageArgs, context: Context) -> ToolResult:
    """A picture a block, after a line of text; what came as an address is a link, and not fetched."""
    body = {"prompt": args.prompt, "size": args.size, "n": args.n}
    reply = await ask_whole(context, "generate_image", "images/generations", args.model, body)
    data = found if isinstance(found := reply.json.get("data"), list) else []
    blocks = [block for one in data if (block := _block(one)) is not None]
    if not blocks:
        return unreadable(reply, "a picture")
    count = "1 picture" if len(blocks) == 1 else f"{len(blocks)} pictures"
    told = data[0].get("revised_prompt") if isinstance(data[0], dict) else None
    words = f"{count} by {reply.served.model}." + (f" Asked for was: {told}" if isinstance(told, str) else "")
    return ToolResult(content=(Text(words), *blocks), meta=prefixed(facts_of(reply.served)))


def _block(one: Json) -> Block | None:
    if not isinstance(one, dict):
        return None
    encoded, url = one.get("b64_json"), one.get("url")
    if isinstance(encoded, str):
        data = decoded(f"data:;base64,{encoded}")
        media = None if data is None else media_of(data)
        return None if media is None else Image(data=media.base64, mime_type=media.mime_type)
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return ResourceLink(uri=url, name="picture", description="The provider keeps it for about an hour.")
    return None


TOOL = ToolSpec(
    name="generate_image",
    title="Generate an image",
    description="Make pictures from a description. Use it when the user asks for a picture. Costs some cents each.",
    args=ImageArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=generate_image,
)
