"""`speak`: a text as speech."""

from __future__ import annotations

import base64

import attrs

from openai_gateway_mcp.features.answer import facts_of, prefixed
from openai_gateway_mcp.features.kept import Parked
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, argument
from openai_gateway_mcp.features.whole import ask_whole, unreadable
from openai_gateway_mcp.protocol.model import Audio, Block, Text, ToolResult

_FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_MAX_INLINE = 512 * 1024
"""Bytes; some clients refuse a result of more than a megabyte, and base64 adds a third."""


@attrs.frozen(kw_only=True)
class SpeakArgs:
    text: str = argument(rule=Rule(min_length=1))
    model: str | None = argument(default=None)
    voice: str = argument(default="alloy")
    format: str = argument(default="mp3", rule=Rule(choices=tuple(_FORMATS)))


async def speak(args: SpeakArgs, context: Context) -> ToolResult:
    """The sound as a block, and as a resource; what is long is a resource alone."""
    body = {"input": args.text, "voice": args.voice, "response_format": args.format}
    reply = await ask_whole(context, "speak", "audio/speech", args.model, body)
    if reply.content_type.startswith("application/json") or not reply.body:
        return unreadable(reply, "sound")
    mime_type = _FORMATS[args.format]
    link = context.kept.park(context.settings.tenant, Parked(f"speech.{args.format}", reply.body, mime_type))
    blocks: list[Block] = [] if link is None else [link]
    if len(reply.body) <= _MAX_INLINE:
        blocks.insert(0, Audio(data=base64.b64encode(reply.body).decode("ascii"), mime_type=mime_type))
    where = "too large to be kept: speak less at once" if link is None else f"resource {link.uri}"
    words = f"{len(reply.body):,} bytes of {mime_type} by {reply.served.model}, voice {args.voice}: {where}."
    return ToolResult(content=(Text(words), *blocks), is_error=not blocks, meta=prefixed(facts_of(reply.served)))


TOOL = ToolSpec(
    name="speak",
    title="Speak a text",
    description="Have a text read aloud. Use it when the user wants to hear something. Costs by the length of text.",
    args=SpeakArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=speak,
)
