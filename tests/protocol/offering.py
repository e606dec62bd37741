"""A server that offers one of everything, for the conversations of these tests."""

from __future__ import annotations

from openai_gateway_mcp.protocol.model import (
    CacheScope,
    Prompt,
    PromptArgument,
    Resource,
    ResourceTemplate,
    Server,
    Text,
    Tool,
    ToolResult,
)

CHAT = Tool(
    name="chat",
    title="Ask a model",
    description="Sends a prompt to a model.",
    input_schema={"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    annotations={"readOnlyHint": True, "openWorldHint": True},
    meta={"anthropic/maxResultSizeChars": 500_000},
)
LIST = Tool(
    name="list_models",
    title="List the models",
    description="Lists the models.",
    input_schema={"type": "object", "properties": {}},
    output_schema={"type": "object", "properties": {"models": {"type": "array", "items": {"type": "string"}}}},
)
MODELS = Resource(
    uri="openai://models",
    name="models",
    title="All models",
    description="The merged list.",
    mime_type="application/json",
)
MODEL = ResourceTemplate(
    uri_template="openai://models/{model}",
    name="model",
    title="One model",
    description="One row of the list.",
    mime_type="application/json",
)
ASK = Prompt(
    name="ask",
    title="Ask another model",
    description="Asks a model.",
    arguments=(
        PromptArgument(name="question", description="What to ask", required=True),
        PromptArgument(name="model", description="Whom to ask"),
    ),
)

FULL = Server(
    name="openai-gateway-mcp",
    title="OpenAI gateway",
    version="1.2.3",
    instructions="Ask other models.",
    tools=(CHAT, LIST),
    resources=(MODELS,),
    resource_templates=(MODEL,),
    prompts=(ASK,),
    extensions=frozenset({"models/list", "completion/complete"}),
    cache_scope=CacheScope.PUBLIC,
    ttl_ms=60_000,
)
BARE = Server(name="bare", title="Bare", version="0", instructions="")

HELLO = ToolResult(content=(Text("hello"),))
HELLO_LEGACY = {"content": [{"type": "text", "text": "hello"}], "isError": False}
