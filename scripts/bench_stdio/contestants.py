"""Who runs: the floor, its own floor, our server and two peers, each in an environment with compiled byte code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
SERVERS = Path(__file__).parent / "servers"

MCP = "mcp>=2,<3"
NPM = "@modelcontextprotocol/sdk@1"


@attrs.frozen(kw_only=True)
class Contestant:
    """`name` chooses it on the command line, `title` is for the table; `speaks_mcp`: its results have MCP's shape."""

    name: str
    title: str
    command: tuple[str, ...]
    env: Mapping[str, str] = attrs.field(factory=dict)
    speaks_mcp: bool = True


class CannotInstall(Exception):
    """The message says what is missing."""


def install(names: list[str]) -> list[Contestant]:
    """Installs what `names` need into `.cache/bench/`, once, and ours anew each time. Raises CannotInstall."""
    CACHE.mkdir(parents=True, exist_ok=True)
    tools = _write_tools()
    makers = {"floor": _floor, "lines": _lines, "long": _long, "ours": _ours, "mcp": _mcp, "npm": _npm}
    return [makers[name](tools) for name in names]


NAMES = ("floor", "lines", "long", "ours", "mcp", "npm")


def _write_tools() -> str:
    """The path of a file with our answer to tools/list: the peers serve the same tools, so that all send as much."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    ours = str(_our_environment() / "bin" / "openai-gateway-mcp")
    answer = json.loads(_run([ours, "--embedded"], text=request + "\n"))
    path = CACHE / "tools.json"
    path.write_text(json.dumps(answer["result"], separators=(",", ":")))
    return str(path)


def _floor(_tools: str) -> Contestant:
    command = (str(_our_environment() / "bin" / "python"), str(SERVERS / "floor.py"))
    return Contestant(name="floor", title="floor (bare trio echo)", command=command, speaks_mcp=False)


def _lines(_tools: str) -> Contestant:
    command = (str(_our_environment() / "bin" / "python"), str(SERVERS / "lines.py"))
    return Contestant(name="lines", title="`for line in stdin`", command=command, speaks_mcp=False)


def _long(tools: str) -> Contestant:
    command = (str(_our_environment() / "bin" / "python"), str(SERVERS / "floor.py"), tools)
    return Contestant(name="long", title="floor with answers as long as ours", command=command, speaks_mcp=False)


def _ours(_tools: str) -> Contestant:
    # As an MCP client starts it. Nothing is asked of the gateway, so that its address need not answer.
    env = {"GATEWAY_URL": "http://127.0.0.1:9", "GATEWAY_API_KEY": "none"}
    command = (str(_our_environment() / "bin" / "openai-gateway-mcp"),)
    return Contestant(name="ours", title="openai-gateway-mcp", command=command, env=env)


def _mcp(tools: str) -> Contestant:
    room = _environment("mcp", MCP)
    version = _run([str(room / "bin/python"), "-c", "import importlib.metadata as m; print(m.version('mcp'))"])
    command = (str(room / "bin" / "python"), str(SERVERS / "mcp_server.py"), tools)
    return Contestant(name="mcp", title=f"PyPI mcp {version.strip()}", command=command)


def _npm(tools: str) -> Contestant:
    room = CACHE / "npm"
    package = room / "node_modules" / "@modelcontextprotocol" / "sdk" / "package.json"
    if not package.exists():
        room.mkdir(exist_ok=True)
        _run([_found("npm"), "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(room), NPM])
    # Node resolves packages from where the file lies, so a copy of the server lies beside them.
    server = shutil.copy(SERVERS / "npm_server.mjs", room)
    version = json.loads(package.read_text())["version"]
    return Contestant(name="npm", title=f"npm SDK {version}", command=(_found("node"), str(server), tools))


_made: dict[str, Path] = {}


def _our_environment() -> Path:
    """The project as people install it (no editable path, no development packages), from this checkout as it is."""
    if "ours" not in _made:
        _made["ours"] = _environment("ours", str(ROOT), renew=True)
    return _made["ours"]


def _environment(name: str, requirement: str, *, renew: bool = False) -> Path:
    room = CACHE / name
    stamp = room / "installed.txt"
    if not renew and stamp.exists() and stamp.read_text() == requirement:
        return room
    python = str(room / "bin" / "python")
    if uv := shutil.which("uv"):
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(room)])
        renewing = ["--reinstall-package", "openai-gateway-mcp"] if renew else []
        _run([uv, "pip", "install", "-q", "--compile-bytecode", *renewing, "--python", python, requirement])
    else:
        _run([sys.executable, "-m", "venv", "--clear", str(room)])
        _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", requirement])
    stamp.write_text(requirement)
    return room


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CannotInstall(f"{program} is not on this machine: leave the contestant out with --only")
    return path


def _run(command: list[str], *, text: str = "") -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600, input=text)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        told = error.stderr if isinstance(error.stderr, str) else ""
        raise CannotInstall(f"{' '.join(command[:4])} … failed: {told[-500:]}") from error
    return done.stdout
