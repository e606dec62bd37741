"""The tools, a row each; a new tool is one file beside this one and one row here."""

from __future__ import annotations

from openai_gateway_mcp.features.tools.chat import CHAT
from openai_gateway_mcp.features.tools.compare_models import COMPARE_MODELS
from openai_gateway_mcp.features.tools.embed import EMBED
from openai_gateway_mcp.features.tools.generate_image import GENERATE_IMAGE
from openai_gateway_mcp.features.tools.list_models import LIST_MODELS
from openai_gateway_mcp.features.tools.moderate import MODERATE
from openai_gateway_mcp.features.tools.speak import SPEAK
from openai_gateway_mcp.features.tools.spec import ToolSpec
from openai_gateway_mcp.features.tools.transcribe import TRANSCRIBE

TOOLS: dict[str, ToolSpec] = {
    tool.name: tool for tool in (CHAT, LIST_MODELS, COMPARE_MODELS, EMBED, GENERATE_IMAGE, SPEAK, TRANSCRIBE, MODERATE)
}
"""In the order in which a client shows them."""
