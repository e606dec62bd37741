"""`install` and `uninstall` on the files of each client."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from typer.testing import CliRunner, Result

from openai_gateway import __version__
from openai_gateway.errors import ConfigError
from openai_gateway_mcp.cli import app
from openai_gateway_mcp.clients.document import Entry, Format
from openai_gateway_mcp.clients.installing import backup_of, plan_install, plan_uninstall
from openai_gateway_mcp.clients.table import CLIENTS, KeyWay, Launch, Places
from tests.clients.test_documents import plain
from tests.peers.fake_upstream import KEY, running

Json = Any
ENTRY = Entry(path=("mcpServers",), name="openai-gateway", value={"command": "x"})
ROOT = Path(__file__).parents[2]


@attrs.frozen
class User:
    """Somebody with a home of their own, who types commands."""

    home: Path

    def run(self, *argv: str, typed: str = "", **environ: str) -> Result:
        """The command, which is to find what this user has and nothing else."""
        runner = CliRunner()
        return runner.invoke(app, list(argv), input=typed, env=self.environ | environ)

    def does(self, *argv: str, typed: str = "", **environ: str) -> str:
        done = self.run(*argv, typed=typed, **environ)
        assert done.exit_code == 0, done.output
        return done.stdout

    @property
    def environ(self) -> dict[str, str]:
        ours = ("GATEWAY", "OPENAI", "ANTHROPIC", "AZURE", "OPENROUTER", "XDG", "CODEX", "MCP_")
        cleared = {name: "" for name in os.environ if name.startswith(ours)}  # noqa: TID251 - what is there to be cleared
        return cleared | {"HOME": str(self.home), "XDG_CONFIG_HOME": "", "GATEWAY_URL": "", "CODEX_HOME": ""}

    def file(self, client: str) -> Path:
        return CLIENTS[client].file(Places(home=self.home, environ={}), None)

    def read(self, client: str) -> Json:
        """What its file says, by a parser of somebody else's."""
        text = self.file(client).read_text(encoding="utf-8")
        readers: dict[Format, Callable[[str], Json]] = {
            Format.JSON: plain,
            Format.TOML: tomllib.loads,
            Format.YAML: yaml.safe_load,
        }
        return readers[CLIENTS[client].format](text)

    def entry(self, client: str) -> Json:
        found = self.read(client)
        for step in CLIENTS[client].path:
            found = found[step]
        return found["openai-gateway"]


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


# --- every client ---------------------------------------------------------------------------------------------------

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a client", "version": "1"}}
TALK = [
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "chat", "arguments": {"prompt": "Hi", "model": "echo"}},
    },
]


def converse(command: str, args: list[str], env: Mapping[str, str]) -> str:
    """Start the server as a client does, with nothing but the entry's environment; what it answered to the chat."""
    process = subprocess.Popen(
        [command, *args],
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("".join(json.dumps(message) + "\n" for message in TALK))
        process.stdin.flush()
        for line in process.stdout:
            message = json.loads(line)
            if message.get("id") == 2:
                return str(message["result"]["content"][0]["text"])
    finally:
        process.communicate()
    raise AssertionError("no answer came")


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_written_starts_a_server_that_answers(client: str, user: User) -> None:
    with running() as upstream:
        user.does("install", client, "--gateway-url", upstream.url, typed=KEY)
        entry = user.entry(client)
        env = dict(entry.get("env", entry.get("envs", {})))
        if client == "vscode":
            (asked,) = user.read(client)["inputs"]
            assert asked["password"] is True
            env = {name: value.replace(f"${{input:{asked['id']}}}", KEY) for name, value in env.items()}
        if client == "codex":
            env |= dict.fromkeys(entry["env_vars"], KEY)
        assert converse(entry.get("command", entry.get("cmd")), entry["args"], env) == "Hi"
    everything = b"".join(
        path.read_bytes() for path in user.home.rglob("*") if path.is_file() and "client-keys" not in path.parts
    )
    assert KEY.encode() not in everything


@pytest.mark.parametrize("client", CLIENTS)
def test_out_again_leaves_nothing_behind(client: str, user: User) -> None:
    user.does("install", client, "--embedded", "--no-key")
    assert "openai-gateway no more" in user.does("uninstall", client)
    assert not user.file(client).exists()
    done = user.run("uninstall", client)
    assert done.exit_code == 1
    assert "has no openai-gateway" in done.stderr


@pytest.mark.parametrize("client", CLIENTS)
def test_a_dry_run_shows_a_diff_and_changes_nothing(client: str, user: User) -> None:
    shown = user.does("install", client, "--embedded", "--dry-run")
    assert shown.startswith("--- /dev/null\n")
    assert f"+++ {user.file(client)}" in shown
    assert "--embedded" in shown
    assert list(user.home.rglob("*")) == []


@pytest.mark.parametrize("client", [name for name, row in CLIENTS.items() if row.project])
def test_a_projects_file_is_in_its_directory(client: str, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    project = user.home / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    user.does("install", client, "--project", "--embedded", "--no-key")
    assert (project / str(CLIENTS[client].project)).exists()
    assert not user.file(client).exists()
    user.does("uninstall", client, "--project")
    assert not (project / str(CLIENTS[client].project)).exists()


def test_the_list_says_who_has_it(user: User) -> None:
    user.does("install", "cursor", "--embedded", "--no-key")
    user.file("gemini").parent.mkdir()
    user.file("gemini").write_text("{}")
    user.file("windsurf").parent.mkdir(parents=True)
    user.file("windsurf").write_text("{")
    states = {one["client"]: one["state"] for one in json.loads(user.does("clients", "--json"))}
    assert set(states) == set(CLIENTS)
    assert (states["cursor"], states["gemini"], states["zed"], states["windsurf"]) == (
        "installed",
        "not installed",
        "no file",
        "unreadable",
    )
    assert re.search(rf"^cursor +installed +{re.escape(str(user.file('cursor')))}$", user.does("clients"), re.MULTILINE)


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_is_kept_in_a_file_that_is_its_owners_alone(user: User) -> None:
    user.does("install", "cursor", "--embedded", typed="sk-one\n")
    path = Path(user.entry("cursor")["env"]["OPENAI_API_KEY_FILE"])
    assert path.read_text() == "sk-one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_is_written_into_the_clients_file_only_where_that_is_asked_for(user: User) -> None:
    shown = user.does("install", "cursor", "--embedded", "--store-key", "--dry-run")
    assert "(the key)" in shown
    user.does("install", "cursor", "--embedded", "--store-key", "--key-name", "ANTHROPIC_API_KEY", typed="sk-two")
    assert user.entry("cursor")["env"] == {"ANTHROPIC_API_KEY": "sk-two"}
    assert stat.S_IMODE(user.file("cursor").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("client", "written"),
    [("claude-code", "${GATEWAY_API_KEY}"), ("cursor", "${env:GATEWAY_API_KEY}"), ("gemini", "${GATEWAY_API_KEY}")],
)
def test_a_client_takes_the_key_from_its_own_environment_where_that_is_asked_for(
    client: str, written: str, user: User
) -> None:
    user.does("install", client, "--gateway-url", "https://g.example", "--from-environment")
    assert user.entry(client)["env"] == {"GATEWAY_URL": "https://g.example", "GATEWAY_API_KEY": written}


def test_codex_hands_the_variable_on(user: User) -> None:
    user.does("install", "codex", "--gateway-url", "https://g.example", "--from-environment")
    assert user.entry("codex")["env_vars"] == ["GATEWAY_API_KEY"]


def test_a_key_file_that_is_there_is_named(user: User) -> None:
    key = user.home / "key"
    key.write_text("sk-three")
    refused = user.run("install", "cursor", "--embedded", "--key-file", str(key))
    key.chmod(0o600)
    user.does("install", "cursor", "--embedded", "--key-file", str(key))
    assert user.entry("cursor")["env"] == {"OPENAI_API_KEY_FILE": str(key)}
    assert isinstance(refused.exception, ConfigError)
    assert "others can read" in str(refused.exception)


def test_the_settings_given_are_the_entrys(user: User) -> None:
    (user.home / "gateway.toml").write_text('[providers.echo]\nkind = "echo"\n')
    config = str(user.home / "gateway.toml")
    user.does(
        "install",
        "cursor",
        "--config",
        config,
        "--default-model",
        "echo",
        "--timeout",
        "5",
        "--watch",
        "--state",
        "s.db",
    )
    entry = user.entry("cursor")
    assert entry["args"] == [
        "--config",
        config,
        "--watch",
        "--default-model",
        "echo",
        "--timeout",
        "5",
        "--state",
        str(Path.cwd() / "s.db"),
    ]
    assert entry["env"] == {}


def test_the_gateway_of_the_environment_is_taken_and_another_name_too(user: User) -> None:
    user.does(
        "install", "cursor", "--name", "work", "--no-key", "--command", "/opt/run", GATEWAY_URL="https://g.example"
    )
    assert user.read("cursor")["mcpServers"] == {
        "work": {"command": "/opt/run", "args": [], "env": {"GATEWAY_URL": "https://g.example"}}
    }


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["netscape", "--embedded"], "There is no client 'netscape'; known are claude-desktop"),
        (["cursor"], "Where do calls go?"),
        (["cursor", "--embedded", "--timeout", "soon"], "--timeout is 'soon'"),
        (["cursor", "--gateway-url", "http://far.example"], "far.example"),
        (["cursor", "--embedded", "--no-key", "--store-key"], "exclude each other"),
        (["windsurf", "--embedded", "--project"], "no file for one project"),
        (["zed", "--embedded", "--from-environment"], "knows no way"),
        (["cursor", "--embedded"], "--no-key leaves it out"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(argv: list[str], words: str, user: User) -> None:
    done = user.run("install", *argv)
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)
    assert list(user.home.rglob("*")) == []


# --- files ----------------------------------------------------------------------------------------------------------


def test_what_was_there_is_kept_beside_it_and_its_mode_stays(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b'{"a": 1}')
    path.chmod(0o640)
    plan_install(path, Format.JSON, [ENTRY]).carry_out()
    assert json.loads(path.read_bytes())["mcpServers"] == {"openai-gateway": {"command": "x"}}
    assert backup_of(path).read_bytes() == b'{"a": 1}'
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(backup_of(path).stat().st_mode) == 0o640
    # Another entry in its place leaves the backup what it was, so that the way back stays open.
    plan_install(path, Format.JSON, [attrs.evolve(ENTRY, value={"command": "y"})]).carry_out()
    assert backup_of(path).read_bytes() == b'{"a": 1}'
    plan_uninstall(path, Format.JSON, [ENTRY]).carry_out()
    assert path.read_bytes() == b'{"a": 1}'


def test_the_same_again_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    plan_install(path, Format.JSON, [ENTRY]).carry_out()
    plan = plan_install(path, Format.JSON, [ENTRY])
    assert not plan.is_change
    assert plan.diff() == ""
    assert not backup_of(path).exists()


def test_a_link_is_followed_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.json").write_text("{}")
    (tmp_path / "mcp.json").symlink_to("dotfiles.json")
    plan_install(tmp_path / "mcp.json", Format.JSON, [ENTRY]).carry_out()
    assert (tmp_path / "mcp.json").is_symlink()
    assert "openai-gateway" in (tmp_path / "dotfiles.json").read_text()


def test_a_file_that_another_program_changes_meanwhile_is_left(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    plan = plan_install(path, Format.JSON, [ENTRY])
    path.write_text('{"new": 1}')
    with pytest.raises(ConfigError, match="changed a moment ago"):
        plan.carry_out()
    assert path.read_text() == '{"new": 1}'


def test_a_broken_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b'{"a": ')
    for plan in (plan_install, plan_uninstall):
        with pytest.raises(ConfigError, match="left as it is: as JSON, line 1 is not valid"):
            plan(path, Format.JSON, [ENTRY])
    assert path.read_bytes() == b'{"a": '
    assert not backup_of(path).exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "pipe"):
        for plan in (plan_install, plan_uninstall):
            with pytest.raises(ConfigError, match="is no file"):
                plan(tmp_path / name, Format.JSON, [ENTRY])


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    plan = plan_install(tmp_path / "other" / "mcp.json", Format.JSON, [ENTRY])
    (tmp_path / "other").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be (written|read)"):
        plan.carry_out()


# --- places ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "platform", "environ", "path"),
    [
        ("claude-desktop", "linux", {}, ".config/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", {"XDG_CONFIG_HOME": "relative"}, ".config/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", {"XDG_CONFIG_HOME": "{home}/x"}, "x/Claude/claude_desktop_config.json"),
        ("claude-desktop", "darwin", {}, "Library/Application Support/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", {"APPDATA": "{home}/r"}, "r/Claude/claude_desktop_config.json"),
        ("vscode", "darwin", {}, "Library/Application Support/Code/User/mcp.json"),
        ("vscode", "win32", {}, "AppData/Roaming/Code/User/mcp.json"),
        ("codex", "linux", {"CODEX_HOME": "{home}/c"}, "c/config.toml"),
        ("goose", "win32", {}, "AppData/Roaming/Block/goose/config/config.yaml"),
        ("zed", "darwin", {}, ".config/zed/settings.json"),
        ("zed", "win32", {}, "AppData/Roaming/Zed/settings.json"),
    ],
)
def test_each_system_has_its_places(
    client: str, platform: str, environ: dict[str, str], path: str, tmp_path: Path
) -> None:
    said = {name: value.format(home=tmp_path) for name, value in environ.items()}
    places = Places(home=tmp_path, environ=said, platform=platform)
    assert CLIENTS[client].file(places, None) == tmp_path / path


def test_claude_of_the_store_has_a_directory_of_its_own(tmp_path: Path) -> None:
    store = tmp_path / "Packages" / "Claude_pzs8sxrjxfjjc" / "LocalCache" / "Roaming" / "Claude"
    store.mkdir(parents=True)
    places = Places(home=tmp_path, environ={"LOCALAPPDATA": str(tmp_path)}, platform="win32")
    assert CLIENTS["claude-desktop"].file(places, None) == store / "claude_desktop_config.json"


def test_an_entry_without_a_key_asks_for_none() -> None:
    launch = Launch(name="openai-gateway", command="x")
    for row in CLIENTS.values():
        for way in KeyWay:
            (entry,) = row.entries(launch, way)
            assert "env_vars" not in entry.value


def test_docker_is_told_what_to_run(user: User) -> None:
    shown = user.does("install", "docker", "--gateway-url", "https://g.example", "--default-model", "m")
    entry = yaml.safe_load(shown)["registry"]["openai-gateway"]
    assert entry["image"] == f"openai-gateway-mcp:{__version__}"
    assert entry["env"] == [{"name": "GATEWAY_URL", "value": "https://g.example"}]
    assert entry["secrets"] == [{"name": "openai-gateway.key", "env": "GATEWAY_API_KEY"}]
    assert entry["command"] == ["--default-model", "m"]
    run = shlex.split(shown.splitlines()[-1].removeprefix("# "))
    assert run[:4] == ["docker", "run", "--rm", "-i"]
    assert "-t" not in run
    assert run[-5:] == ["-e", "GATEWAY_API_KEY", entry["image"], "--default-model", "m"]
    assert list(user.home.rglob("*")) == []
    bare = yaml.safe_load(user.does("install", "docker", "--embedded", "--no-key"))["registry"]["openai-gateway"]
    assert bare.keys() == {"title", "description", "type", "image", "command"}


def test_yaml_without_the_extra_says_what_to_install(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    done = user.run("install", "goose", "--embedded", "--no-key")
    assert isinstance(done.exception, ConfigError)
    assert "openai-gateway-mcp[yaml]" in str(done.exception)
