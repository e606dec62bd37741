"""An MCP server that lets MCP clients use any OpenAI-compatible API; it speaks MCP and holds no credential."""
