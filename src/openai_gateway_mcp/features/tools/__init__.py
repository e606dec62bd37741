"""The tools, a row each; a new tool is one file beside this one and one row here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from openai_gateway_mcp.features.tools.spec import ToolSpec

MODEL_VARIABLES: Final[Mapping[str, str | None]] = {
    "chat": None,
    "list_models": None,
    "compare_models": None,
    "embed": "EMBED_MODEL",
    "generate_image": "IMAGE_MODEL",
    "speak": "SPEECH_MODEL",
    "transcribe": "TRANSCRIPTION_MODEL",
    "moderate": "MODERATION_MODEL",
}
"""In the order in which a client shows them, the setting that names each one's model, where the default model will not
do. Such a tool is offered where its model is set, or where it is asked for by name; the others always."""


class _Tools(Mapping[str, "ToolSpec"]):
    """Name → tool. A tool's file is imported when it is looked up: no start waits for those that are not offered."""

    def __getitem__(self, name: str) -> ToolSpec:
        if name not in MODEL_VARIABLES:
            raise KeyError(name)
        tool: ToolSpec = importlib.import_module(f"{__name__}.{name}").TOOL
        return tool

    def __iter__(self) -> Iterator[str]:
        return iter(MODEL_VARIABLES)

    def __len__(self) -> int:
        return len(MODEL_VARIABLES)


TOOLS: Final[Mapping[str, ToolSpec]] = _Tools()
