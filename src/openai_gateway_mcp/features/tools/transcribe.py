"""`transcribe`: speech as text."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import PurePath

import attrs
import trio

from openai_gateway_mcp.features.answer import facts_of, prefixed
from openai_gateway_mcp.features.media import Media, decoded, media_of
from openai_gateway_mcp.features.roots import FileRefused, read_within
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, WrongArgument, argument
from openai_gateway_mcp.features.whole import ask_whole, unreadable
from openai_gateway_mcp.protocol.model import Text, ToolResult

_MAX_BYTES = 25 * 10**6
"""The most that OpenAI takes of one file."""
_ACCEPTED = "sound as base64, as a data: URL, or as the path of a file in an allowed directory"


@attrs.frozen(kw_only=True)
class TranscribeArgs:
    audio: str = argument(rule=Rule(help="A path the operator allowed, or base64.", min_length=1))
    model: str | None = argument(default=None)
    language: str | None = argument(default=None, help="Such as en.")


@attrs.frozen
class _Held:
    """The content of a form's file, in memory."""

    data: bytes = attrs.field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncIterator[bytes]:
        await trio.lowlevel.checkpoint()
        yield self.data


async def transcribe(args: TranscribeArgs, context: Context) -> ToolResult:
    """The words as one text."""
    from openai_gateway import FilePart, Upload  # noqa: PLC0415 - not before a call

    media = await _media(args.audio, context)
    file = FilePart(
        name="file", filename=f"audio.{media.ending}", content_type=media.mime_type, content=_Held(media.data)
    )
    body = {"language": args.language, "response_format": "json"}
    upload = Upload(boundary=secrets.token_hex(16), files=(file,))
    reply = await ask_whole(context, "transcribe", "audio/transcriptions", args.model, body, upload=upload)
    text = reply.json.get("text")
    if not isinstance(text, str):
        return unreadable(reply, "a text")
    return ToolResult(content=(Text(text or "[No speech was heard.]"),), meta=prefixed(facts_of(reply.served)))


async def _media(said: str, context: Context) -> Media:
    """Raises WrongArgument."""
    name, data = await _read(said, context)
    if len(data) > _MAX_BYTES:
        raise WrongArgument.of("audio", said, f"at most {_MAX_BYTES:,} bytes of sound")
    media = media_of(data)
    if media is None or not media.mime_type.startswith("audio/"):
        raise WrongArgument.of("audio", said, "sound: mp3, wav, ogg, flac, m4a, aac or webm")
    ending = PurePath(name).suffix.lstrip(".").lower()
    return attrs.evolve(media, ending=ending) if ending.isalnum() and ending.isascii() else media


async def _read(said: str, context: Context) -> tuple[str, bytes]:
    """The name of the file, if it is one, and its content."""
    if (data := decoded(said)) is not None:
        await trio.lowlevel.checkpoint()
        return "", data
    try:
        return await trio.to_thread.run_sync(read_within, said, context.settings.roots, _MAX_BYTES)
    except FileRefused as refused:
        raise WrongArgument.of("audio", said, f"{_ACCEPTED}; as a path: {refused}") from None


TOOL = ToolSpec(
    name="transcribe",
    title="Transcribe speech",
    description="Write down what is said in a recording. Use it for audio. Costs by the length of the recording.",
    args=TranscribeArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=transcribe,
)
