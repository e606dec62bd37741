"""The PyPI `mcp` server with three tools of the shape of ours."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer  # type: ignore[import-not-found] # lives in its own environment
from pydantic import Field  # type: ignore[import-not-found, unused-ignore] # comes with mcp

server = MCPServer("bench")


@server.tool(title="Ask a model", structured_output=False)
def chat(
    prompt: Annotated[str, Field(description="The question.")],
    model: Annotated[str, Field(description="A name from list_models.")] = "",
    system: Annotated[str, Field(description="Instructions for the model.")] = "",
    max_tokens: Annotated[int, Field(description="Most tokens to generate.", ge=1)] = 1000,
    temperature: Annotated[float, Field(ge=0, le=2)] = 1,
) -> str:
    """Ask another AI model and get its answer as text. Costs the tokens of one request, billed to your key."""
    return f"{model}{system}{max_tokens}{temperature}: {prompt}"


@server.tool(title="List models", structured_output=False)
def list_models(
    query: Annotated[str, Field(description="A part of the name.")] = "",
    limit: Annotated[int, Field(ge=1, le=100)] = 25,
    cursor: Annotated[str, Field(description="next_cursor of the page before.")] = "",
) -> str:
    """The models that may be asked, best match first. Costs nothing."""
    return f"{query}{limit}{cursor}"


@server.tool(title="Compare models", structured_output=False)
def compare_models(
    prompt: Annotated[str, Field(description="The question for all of them.")],
    models: Annotated[list[str], Field(description="Names from list_models.", min_length=2, max_length=8)],
    system: Annotated[str, Field(description="Instructions for each model.")] = "",
) -> str:
    """Ask 2 to 8 models the same question at once and get their answers side by side."""
    return f"{models}{system}: {prompt}"


server.run("stdio")
