"""What an MCP client sees; the one door between the two layers."""
