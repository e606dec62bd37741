"""The server that is fuzzed: a tool, a prompt, a resource of each sort, and both extension methods."""

from __future__ import annotations

import attrs

from openai_gateway_mcp.protocol.model import (
    Prompt,
    PromptArgument,
    Resource,
    ResourceTemplate,
    Server,
    Tool,
)

SERVER = Server(
    name="fuzzed",
    title="Fuzzed",
    version="0",
    instructions="Ask, ünd be answered.",
    tools=(
        Tool(
            name="chat",
            title="Chat",
            description="Ask a model.",
            input_schema={"type": "object", "properties": {"prompt": {"type": "string"}}},
            output_schema={"type": "object", "properties": {"models": {"type": "array", "items": {"type": "string"}}}},
            annotations={"readOnlyHint": True},
            meta={"ogw/size": 1},
        ),
        Tool(name="list_models", title="List", description="", input_schema={"type": "object", "properties": {}}),
    ),
    resources=(
        Resource(uri="openai://models", name="models", title="Models", description="", mime_type="application/json"),
    ),
    resource_templates=(
        ResourceTemplate(
            uri_template="openai://models/{model}", name="model", title="", description="", mime_type="text/plain"
        ),
    ),
    prompts=(
        Prompt(
            name="ask",
            title="Ask",
            description="Ask a model",
            arguments=(
                PromptArgument(name="question", description="", required=True),
                PromptArgument(name="model", description="which"),
            ),
        ),
    ),
    extensions=frozenset({"models/list", "completion/complete"}),
    offers_tasks=True,
)

# The same server after a change of each list.
CHANGED = {
    "toolsListChanged": attrs.evolve(SERVER, tools=SERVER.tools[:1]),
    "promptsListChanged": attrs.evolve(SERVER, prompts=(attrs.evolve(SERVER.prompts[0], description="new"),)),
    "resourcesListChanged": attrs.evolve(SERVER, resources=()),
}
