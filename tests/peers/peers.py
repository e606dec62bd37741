"""The clients, a row each: what is installed, what drives it, and which revision it must end up with."""

from __future__ import annotations

from typing import Final

import attrs

from tests.installed import Peer

MCP_2: Final = Peer(name="mcp-2", requirements=("mcp==2.3.0",))
MCP_1_30: Final = Peer(name="mcp-1.30", requirements=("mcp[ws]==1.30.0",))
# Newer releases of pydantic refuse the models of the three old ones.
MCP_1_12: Final = Peer(name="mcp-1.12", requirements=("mcp==1.12.4", "pydantic<2.12"))
MCP_1_9: Final = Peer(name="mcp-1.9", requirements=("mcp==1.9.4", "pydantic<2.12"))
MCP_1_6: Final = Peer(name="mcp-1.6", requirements=("mcp==1.6.0", "pydantic<2.12"))
FASTMCP: Final = Peer(name="fastmcp-4", requirements=("fastmcp==4.1.4", "fastmcp-tasks==4.1.4"))
PYTHON_PEERS: Final = (MCP_2, MCP_1_30, MCP_1_12, MCP_1_9, MCP_1_6, FASTMCP)

SDK_1: Final = Peer(name="npm-sdk-1", requirements=("@modelcontextprotocol/sdk@1.32.2",))
CLIENT_2: Final = Peer(name="npm-client-2", requirements=("@modelcontextprotocol/client@2.4.0",))
INSPECTOR: Final = Peer(name="npm-inspector", requirements=("@modelcontextprotocol/inspector@2.12.0",))
EXT_TASKS: Final = Peer(
    name="npm-ext-tasks",
    requirements=("@modelcontextprotocol/ext-tasks@0.2.2", "@modelcontextprotocol/client@2.4.0"),
)
NPM_PEERS: Final = (SDK_1, CLIENT_2, INSPECTOR, EXT_TASKS)


@attrs.frozen(kw_only=True)
class Client:
    """`mode` is the driver's word for how the client opens.

    `asks` is off for one that opens without a word and so never learns whom it talks to; `kills` is on for one that
    ends a session with SIGTERM at once.
    """

    name: str
    peer: Peer
    driver: str
    revision: str
    mode: str = ""
    asks: bool = True
    kills: bool = False


CLIENTS: Final = (
    Client(name="mcp-2-auto", peer=MCP_2, driver="mcp_v2.py", mode="auto", revision="2026-07-28"),
    Client(name="mcp-2-pinned", peer=MCP_2, driver="mcp_v2.py", mode="2026-07-28", revision="2026-07-28", asks=False),
    Client(name="mcp-2-legacy", peer=MCP_2, driver="mcp_v2.py", mode="legacy", revision="2025-11-25"),
    Client(name="mcp-1.30", peer=MCP_1_30, driver="mcp_v1.py", revision="2025-11-25"),
    Client(name="mcp-1.12", peer=MCP_1_12, driver="mcp_v1.py", revision="2025-06-18"),
    Client(name="mcp-1.9", peer=MCP_1_9, driver="mcp_v1.py", revision="2025-03-26", kills=True),
    Client(name="mcp-1.6", peer=MCP_1_6, driver="mcp_v1.py", revision="2024-11-05", kills=True),
    Client(name="npm-sdk-1", peer=SDK_1, driver="sdk_v1.mjs", revision="2025-11-25"),
    Client(name="npm-client-2-auto", peer=CLIENT_2, driver="client_v2.mjs", mode="auto", revision="2026-07-28"),
    Client(name="npm-client-2-pinned", peer=CLIENT_2, driver="client_v2.mjs", mode="pinned", revision="2026-07-28"),
    Client(name="npm-client-2-legacy", peer=CLIENT_2, driver="client_v2.mjs", mode="legacy", revision="2025-11-25"),
)

TASK_CLIENTS: Final = (
    Client(name="fastmcp-tasks", peer=FASTMCP, driver="fastmcp_v4.py", revision="2026-07-28"),
    Client(name="npm-ext-tasks", peer=EXT_TASKS, driver="ext_tasks.mjs", revision="2026-07-28"),
)
"""Those that take a task for an answer (`io.modelcontextprotocol/tasks`)."""
