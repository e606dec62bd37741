"""The MCP clients that can be configured, a row each: its file, what an entry looks like, how a key gets in."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.clients.document import Entry, Format

Json = Any

SECONDS_TO_START: Final = 20
SECONDS_FOR_A_TOOL: Final = 120


class KeyWay(enum.Enum):
    """How a key reaches the server that a client starts."""

    FILE = "file"
    """The entry names a file of mode 0600."""
    INPUT = "input"
    """The client asks for it and keeps it."""
    FORWARDED = "forwarded"
    """The client hands on its own environment's variable."""


@attrs.frozen(kw_only=True)
class Places:
    """Where this user's files are. `platform` is `sys.platform`."""

    home: Path
    environ: Mapping[str, str]
    platform: str = sys.platform

    @classmethod
    def mine(cls) -> Places:
        return cls(home=Path.home(), environ=os.environ)  # noqa: TID251 - the clients' own directories, no setting of ours

    def variable(self, name: str, default: Path) -> Path:
        """The directory that the system's variable names. One that is no absolute path counts for nothing."""
        said = Path(self.environ.get(name, ""))
        return said if said.is_absolute() else default

    @property
    def config(self) -> Path:
        """Where programs of this system keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if self.platform == "win32":
            return self.variable("APPDATA", self.home / "AppData" / "Roaming")
        return self.variable("XDG_CONFIG_HOME", self.home / ".config")


@attrs.frozen(kw_only=True)
class Launch:
    """How the server is started. `key` is the variable that its key comes by, None for none."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    key: str | None = None

    def plain(self, **more: Json) -> dict[str, Json]:
        """The shape that most clients share."""
        return {"command": self.command, "args": list(self.args), "env": dict(self.env), **more}


@attrs.frozen(kw_only=True)
class Client:
    """A row. `user` and `project` say where its file is, None where there is none of that scope.

    `reference` writes a variable of the client's environment, where it knows a way; `after` is what a person does next.
    """

    name: str
    title: str
    user: Callable[[Places], Path] | None
    project: str | None = None
    format: Format = Format.JSON
    path: tuple[str, ...] = ("mcpServers",)
    value: Callable[[Launch], dict[str, Json]] = Launch.plain
    key_way: KeyWay = KeyWay.FILE
    reference: str | None = None
    after: str = ""

    def file(self, places: Places, project: Path | None) -> Path:
        """Raises ConfigError where the client has no file of this scope."""
        if project is not None:
            if self.project is None:
                raise ConfigError(f"{self.title} has no file for one project; leave out --project.")
            return project / self.project
        if self.user is None:
            raise ConfigError(f"{self.title} has a file in each project alone; give --project.")
        return self.user(places)

    def entries(self, launch: Launch, way: KeyWay) -> tuple[Entry, ...]:
        """What goes into the file."""
        if launch.key is None or way is KeyWay.FILE:
            return (Entry(path=self.path, name=launch.name, value=self.value(launch)),)
        if way is KeyWay.FORWARDED:
            return (Entry(path=self.path, name=launch.name, value=self.value(launch) | {"env_vars": [launch.key]}),)
        asked = f"{launch.name}-key"
        env = {**launch.env, launch.key: f"${{input:{asked}}}"}
        question = {
            "type": "promptString",
            "id": asked,
            "description": f"{launch.key} of {launch.name}",
            "password": True,
        }
        return (
            Entry(path=("inputs",), name=asked, value=question, in_array=True),
            Entry(path=self.path, name=launch.name, value=self.value(attrs.evolve(launch, env=env))),
        )


def _claude_desktop(places: Places) -> Path:
    if places.platform == "win32":
        local = places.variable("LOCALAPPDATA", places.home / "AppData" / "Local")
        stores = sorted(local.glob("Packages/Claude_*/LocalCache/Roaming/Claude"))
        if stores:  # what came from the Store sees its own copy of the directory
            return stores[0] / "claude_desktop_config.json"
    return places.config / "Claude" / "claude_desktop_config.json"


def _goose(places: Places) -> Path:
    if places.platform == "win32":
        return places.config / "Block" / "goose" / "config" / "config.yaml"
    return places.variable("XDG_CONFIG_HOME", places.home / ".config") / "goose" / "config.yaml"


def _zed(places: Places) -> Path:
    if places.platform == "win32":
        return places.config / "Zed" / "settings.json"
    return places.variable("XDG_CONFIG_HOME", places.home / ".config") / "zed" / "settings.json"


def _codex(places: Places) -> Path:
    return places.variable("CODEX_HOME", places.home / ".codex") / "config.toml"


def _codex_value(launch: Launch) -> dict[str, Json]:
    times = {"startup_timeout_sec": SECONDS_TO_START, "tool_timeout_sec": SECONDS_FOR_A_TOOL}
    plain = {"command": launch.command, "args": list(launch.args), **times}
    return plain | ({"env": dict(launch.env)} if launch.env else {})


def _goose_value(launch: Launch) -> dict[str, Json]:
    return {
        "name": launch.name,
        "type": "stdio",
        "cmd": launch.command,
        "args": list(launch.args),
        "envs": dict(launch.env),
        "enabled": True,
        "timeout": SECONDS_FOR_A_TOOL,
    }


CLIENTS: Final[Mapping[str, Client]] = {
    client.name: client
    for client in (
        Client(
            name="claude-desktop",
            title="Claude Desktop",
            user=_claude_desktop,
            after="Quit Claude Desktop, from its menu, and start it again.",
        ),
        Client(
            name="claude-code",
            title="Claude Code",
            user=lambda places: places.home / ".claude.json",
            project=".mcp.json",
            value=lambda launch: {"type": "stdio", **launch.plain()},
            reference="${{{}}}",
            after="`claude mcp list` shows it.",
        ),
        Client(
            name="cursor",
            title="Cursor",
            user=lambda places: places.home / ".cursor" / "mcp.json",
            project=".cursor/mcp.json",
            reference="${{env:{}}}",
            after="It is under Settings, MCP.",
        ),
        Client(
            name="windsurf",
            title="Windsurf",
            user=lambda places: places.home / ".codeium" / "windsurf" / "mcp_config.json",
            reference="${{env:{}}}",
            after="Refresh the list of MCP servers in Cascade.",
        ),
        Client(
            name="vscode",
            title="VS Code",
            user=lambda places: places.config / "Code" / "User" / "mcp.json",
            project=".vscode/mcp.json",
            path=("servers",),
            value=lambda launch: {"type": "stdio", **launch.plain()},
            key_way=KeyWay.INPUT,
            reference="${{env:{}}}",
            after="VS Code asks for the key when the server starts (MCP: List Servers).",
        ),
        Client(
            name="codex",
            title="Codex",
            user=_codex,
            format=Format.TOML,
            path=("mcp_servers",),
            value=_codex_value,
            key_way=KeyWay.FORWARDED,
            after="`codex mcp list` shows it.",
        ),
        Client(
            name="gemini",
            title="Gemini CLI",
            user=lambda places: places.home / ".gemini" / "settings.json",
            project=".gemini/settings.json",
            value=lambda launch: launch.plain(timeout=SECONDS_FOR_A_TOOL * 1000),
            reference="${{{}}}",
            after="`/mcp` shows it.",
        ),
        Client(
            name="zed",
            title="Zed",
            user=_zed,
            path=("context_servers",),
            value=lambda launch: {"source": "custom", **launch.plain()},
            after="It is in the Agent Panel's settings.",
        ),
        Client(
            name="cline",
            title="Cline",
            user=lambda places: places.home / ".cline" / "mcp.json",
            value=lambda launch: launch.plain(timeout=SECONDS_FOR_A_TOOL),
            after="It is under MCP Servers, Installed.",
        ),
        Client(
            name="goose",
            title="goose",
            user=_goose,
            format=Format.YAML,
            path=("extensions",),
            value=_goose_value,
            after="Start a new session of goose.",
        ),
    )
}
