"""The tools, a row each; a new tool is one file beside this one and one row here."""

from __future__ import annotations

from openai_gateway_mcp.features.tools.chat import CHAT
from openai_gateway_mcp.features.tools.compare_models import COMPARE_MODELS
from openai_gateway_mcp.features.tools.list_models import LIST_MODELS
from openai_gateway_mcp.features.tools.spec import ToolSpec

TOOLS: dict[str, ToolSpec] = {tool.name: tool for tool in (CHAT, LIST_MODELS, COMPARE_MODELS)}
"""In the order in which a client shows them."""
