"""The configuration files of MCP clients: an entry is put in or taken out, and nothing else is touched."""
