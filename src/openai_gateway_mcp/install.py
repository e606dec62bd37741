"""`install`, `uninstall` and `clients`: this server in the configuration of an MCP client."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
import typer

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import read_secret_file, write_secret_file
from openai_gateway.log import harmless
from openai_gateway.secret import Secret
from openai_gateway.terminal import print_table
from openai_gateway_mcp.clients.docker import instructions
from openai_gateway_mcp.clients.document import Entry, has_entry
from openai_gateway_mcp.clients.installing import Plan, backup_of, plan_install, plan_uninstall
from openai_gateway_mcp.clients.table import CLIENTS, Client, KeyWay, Launch, Places
from openai_gateway_mcp.clients.text import Unreadable
from openai_gateway_mcp.config import SETTINGS, key_store, read
from openai_gateway_mcp.keys import asked_key, interruptible
from openai_gateway_mcp.options import with_settings
from openai_gateway_mcp.serve import say

_PROGRAM: Final = "openai-gateway-mcp"

_DOCKER: Final = "docker"

_Client = Annotated[
    str, typer.Argument(metavar="CLIENT", help=f"One of {', '.join(CLIENTS)}; docker: prints what Docker is told.")
]
_Name = Annotated[str, typer.Option(help="What the client calls the server.", metavar="NAME")]
_Project = Annotated[bool, typer.Option("--project", help="In this directory's file, not in the user's.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


@attrs.frozen(kw_only=True)
class _KeyOptions:
    variable: str | None
    store: bool
    from_environment: bool
    file: str | None


@with_settings
def install(
    *,
    client: _Client,
    name: _Name = "openai-gateway",
    project: _Project = False,
    dry_run: _DryRun = False,
    key_name: Annotated[
        str | None,
        typer.Option(
            help="The variable of the key. Default: GATEWAY_API_KEY, with --embedded OPENAI_API_KEY.",
            show_default=False,
            metavar="VARIABLE",
        ),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="The server needs none.")] = False,
    key_file: Annotated[
        str | None,
        typer.Option(help="A file of mode 0600 that has the key already.", metavar="FILE", show_default=False),
    ] = None,
    from_environment: Annotated[
        bool, typer.Option("--from-environment", help="The client takes the key from its own environment.")
    ] = False,
    store_key: Annotated[
        bool, typer.Option("--store-key", help="Write the key itself into the client's file.")
    ] = False,
    command: Annotated[
        str | None,
        typer.Option(help="What starts the server. Default: this program.", metavar="PROGRAM", show_default=False),
    ] = None,
    flags: dict[str, str],
) -> int:
    """Have an MCP client start this server.

    It gets an entry in the client's configuration. Nothing else there is touched, and the file as it was is kept beside
    it. The settings given here are the entry's. The key is asked for without showing it, or read from stdin, and is
    kept in a file that is yours alone.
    """
    if client == _DOCKER:
        launch = _launch(name, flags, _DOCKER, _checked(flags), None if no_key else key_name or _usual_key(flags))
        typer.echo(harmless(instructions(launch)))
        return 0
    row = _row(client)
    if sum((no_key, key_file is not None, from_environment, store_key)) > 1:
        raise ConfigError("--no-key, --key-file, --from-environment and --store-key exclude each other.")
    url = _checked(flags)
    path = row.file(Places.mine(), Path.cwd() if project else None)
    variable = None if no_key else key_name or _usual_key(flags)
    launch = _launch(name, flags, command, url, variable)
    options = _KeyOptions(variable=variable, store=store_key, from_environment=from_environment, file=key_file)
    with interruptible():
        plan = _installed(row, path, _key_way(row, launch, options), variable, dry_run=dry_run)
    if dry_run:
        return _show(plan)
    typer.echo(harmless(f"{row.title} starts {name} by {plan.path}."))
    if plan.backup is not None:
        typer.echo(harmless(f"As it was before: {backup_of(plan.path)}"))
    typer.echo(row.after)
    return 0


def _installed(row: Client, path: Path, key: _Key, variable: str | None, *, dry_run: bool) -> Plan:
    """What changed, or in a dry run would. The key is asked for once the file is known to take the entry."""
    if key.is_literal and variable is not None:
        key = attrs.evolve(key, launch=_with_env(key.launch, variable, "(the key)" if dry_run else _asked(variable)))
    plan = plan_install(path, row.format, row.entries(key.launch, key.way))
    if dry_run:
        return plan
    if key.file is not None and variable is not None:
        write_secret_file(key.file, Secret(_asked(variable), name=variable))
        say(f"the key is in {key.file}, which only you can read")
    if plan.is_change:
        plan.carry_out()
    return plan


def uninstall(
    *, client: _Client, name: _Name = "openai-gateway", project: _Project = False, dry_run: _DryRun = False
) -> None:
    """Take this server out of an MCP client's configuration."""
    row = _row(client)
    path = row.file(Places.mine(), Path.cwd() if project else None)
    plan = plan_uninstall(path, row.format, _any_entries(row, name))
    if dry_run:
        raise typer.Exit(_show(plan))
    if not plan.is_change:
        say(f"{path} has no {name}")
        raise typer.Exit(1)
    plan.carry_out()
    typer.echo(harmless(f"{row.title} knows {name} no more; {plan.path} is changed."))
    key = _key_directory(name)
    if key.is_dir():
        say(f"its keys are still in {key}")


def clients(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the MCP clients that install knows. Tells where their files are, and which have this server."""
    found = [_state(row) for row in CLIENTS.values()]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    print_table([("CLIENT", "STATE", "FILE"), *((one["client"], one["state"], one["file"]) for one in found)])


def _row(client: str) -> Client:
    if client not in CLIENTS:
        raise ConfigError(f"There is no client {client!r}; known are {', '.join(CLIENTS)}.")
    return CLIENTS[client]


def _state(row: Client) -> dict[str, Any]:
    path = row.file(Places.mine(), None)
    state = "no file"
    try:
        content = path.read_bytes()
        state = (
            "installed" if has_entry(content, row.format, _any_entries(row, "openai-gateway")[-1]) else "not installed"
        )
    except FileNotFoundError:
        pass
    except (OSError, Unreadable, ConfigError):
        state = "unreadable"
    return {"client": row.name, "title": row.title, "state": state, "file": str(path)}


def _any_entries(row: Client, name: str) -> tuple[Entry, ...]:
    """All that an entry of this name may have brought along."""
    return row.entries(Launch(name=name, command="", key="KEY"), row.key_way)


# --- what goes into the entry ---------------------------------------------------------------------------------------


def _checked(flags: dict[str, str]) -> str | None:
    """The gateway's URL, None for an embedded one. Raises ConfigError for settings with which no server would start."""
    is_own = "embedded" in flags or "config" in flags
    url = flags.get("gateway_url")
    if url is None and not is_own:
        url = os.environ.get("GATEWAY_URL", "").strip() or None  # noqa: TID251 - what is set here is what is meant
    if url is None and not is_own:
        raise ConfigError("Where do calls go? Give --gateway-url URL, or --embedded, or --config FILE.")
    read(flags if url is None else {**flags, "gateway_url": url})
    return url


def _usual_key(flags: dict[str, str]) -> str | None:
    if "config" in flags:
        return None  # the file says where its keys are
    return "OPENAI_API_KEY" if "embedded" in flags else "GATEWAY_API_KEY"


def _launch(name: str, flags: dict[str, str], command: str | None, url: str | None, key: str | None) -> Launch:
    args: list[str] = [] if command is not None else list(_program()[1:])
    for setting in SETTINGS:
        if setting.flag is None or setting.name not in flags or setting.name == "gateway_url":
            continue
        value = flags[setting.name]
        if setting.name in {"config", "state"}:
            value = str(Path(value).expanduser().absolute())  # the client starts it in some other directory
        args += [setting.flag] if value == "true" else [setting.flag, value]
    env = {} if url is None else {"GATEWAY_URL": url}
    return Launch(name=name, command=command or _program()[0], args=tuple(args), env=env, key=key)


def _program() -> tuple[str, ...]:
    """This program by its whole path: what has windows knows no PATH of a shell."""
    beside = Path(sys.executable).with_name(_PROGRAM + (".exe" if sys.platform == "win32" else ""))
    if beside.exists():
        return (str(beside),)
    found = shutil.which(_PROGRAM)
    return (str(Path(found).absolute()),) if found else (sys.executable, "-m", "openai_gateway_mcp")


@attrs.frozen(kw_only=True)
class _Key:
    """How the key comes, and the entry's launch that says so. `file`: where it is to be put; `is_literal`: in there."""

    launch: Launch
    way: KeyWay = KeyWay.FILE
    file: Path | None = None
    is_literal: bool = False


def _key_way(row: Client, launch: Launch, options: _KeyOptions) -> _Key:
    """Raises ConfigError."""
    variable = options.variable
    if variable is None:
        return _Key(launch=launch)
    if options.store:
        return _Key(launch=launch, is_literal=True)
    if options.file is not None:
        path = str(Path(options.file).expanduser().absolute())
        read_secret_file(path, name=variable, said_by="--key-file")
        return _Key(launch=_with_env(launch, f"{variable}_FILE", path))
    if row.key_way is KeyWay.FORWARDED or (row.key_way is KeyWay.INPUT and not options.from_environment):
        return _Key(launch=launch, way=row.key_way)
    if options.from_environment:
        if row.reference is None:
            raise ConfigError(f"{row.title} knows no way to pass a variable of its environment on.")
        return _Key(launch=_with_env(launch, variable, row.reference.format(variable)))
    file = _key_directory(launch.name) / variable.lower()
    is_kept = file.exists() and (sys.stdin is None or sys.stdin.isatty())
    return _Key(launch=_with_env(launch, f"{variable}_FILE", str(file)), file=None if is_kept else file)


def _asked(variable: str) -> str:
    try:
        return asked_key(variable).reveal()
    except ConfigError as error:
        raise ConfigError(f"{error} It is the key for {variable}; --no-key leaves it out.") from None


def _with_env(launch: Launch, name: str, value: str) -> Launch:
    return attrs.evolve(launch, env={**launch.env, name: value})


def _key_directory(name: str) -> Path:
    """The directory of the keys that `install` was given for servers of this name."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return key_store().with_name("client-keys") / safe


def _show(plan: Plan) -> int:
    diff = plan.diff()
    typer.echo(harmless(diff) if diff else f"{plan.path} would not change.", nl=not diff)
    return 0
