"""What Docker is told: no file of its is written, since its own commands do that."""

from __future__ import annotations

import json
import shlex
from typing import Final

from openai_gateway import __version__
from openai_gateway_mcp.clients.table import Launch

IMAGE: Final = f"openai-gateway-mcp:{__version__}"
_HARDENED: Final = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def instructions(launch: Launch) -> str:
    """A catalog entry for the MCP Toolkit, and the plain command that any client can start. Never with -t: a terminal
    would change the bytes."""
    lines = [
        f"# {launch.name}.yaml, for the MCP Toolkit:",
        "#   docker mcp catalog create mine",
        f"#   docker mcp catalog add mine {launch.name} {launch.name}.yaml",
    ]
    if launch.key is not None:
        lines.append(f"#   docker mcp secret set {launch.name}.key=…")
    lines += [
        f"#   docker mcp server enable {launch.name}",
        "registry:",
        f"  {launch.name}:",
        "    title: OpenAI Gateway",
        "    description: Lets MCP clients ask any OpenAI-compatible API.",
        "    type: server",
        f"    image: {IMAGE}",
    ]
    if launch.args:
        lines.append(f"    command: {json.dumps(list(launch.args))}")
    if launch.env:
        lines += ["    env:"]
        for name, value in launch.env.items():
            lines += [f"      - name: {name}", f"        value: {json.dumps(value)}"]
    if launch.key is not None:
        lines += ["    secrets:", f"      - name: {launch.name}.key", f"        env: {launch.key}"]
    run = ["docker", "run", "--rm", "-i", *_HARDENED]
    for name, value in launch.env.items():
        run += ["-e", f"{name}={value}"]
    run += [*(("-e", launch.key) if launch.key is not None else ()), IMAGE, *launch.args]
    return "\n".join([*lines, "", "# Or, as the command of any client:", f"# {shlex.join(run)}"])
