"""MCP on the wire, without I/O: bytes in, events out; answers in, bytes out."""
