"""Property-based fuzzing of any MCP server: strategies, an oracle of the rules, and a state machine that talks to it.

Needs the extra `fuzz`. Nothing here shares code with the server beside it.
"""
