"""The ways to a remote `openai-gateway-mcp`."""
