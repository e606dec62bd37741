"""`tokens create`, `tokens list` and `tokens revoke`: who may call `http`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import attrs
import typer

from openai_gateway.errors import ConfigError
from openai_gateway.terminal import print_table
from openai_gateway_mcp.access.tokens import Token, new_token, read_tokens, write_tokens
from openai_gateway_mcp.config import tokens_file
from openai_gateway_mcp.serve import say

app: Final = typer.Typer(
    help="Make, list and revoke the tokens that callers of `http` show. A file holds their hashes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_DAY: Final = 86_400
_File = Annotated[str | None, typer.Option("--tokens", help="The file of tokens; also MCP_TOKENS.", metavar="FILE")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("create")
def create(
    *,
    name: Annotated[str, typer.Option(help="What people call it.", metavar="NAME")] = "",
    tool: Annotated[
        list[str] | None,
        typer.Option(help="A tool it may call, * for any characters; again for more. Default: all.", metavar="TOOL"),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it may ask, * for any characters; again for more. Default: all.", metavar="MODEL"),
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days until it expires. Default: never.", min=1, metavar="N")] = None,
    file: _File = None,
) -> None:
    """Make a token. It is printed on stdout, now and never again; the rest goes to stderr."""
    path = _path(file)
    now = int(time.time())
    expires = None if days is None else now + days * _DAY
    token, shown = new_token(name=name, now=now, expires=expires, tools=tool, models=model)
    write_tokens(path, [*read_tokens(path).values(), token])
    say(f"{token.id} may call now; its hash is in {path}. A client sends the token as: Authorization: Bearer …")
    typer.echo(shown)


@app.command("list")
def list_tokens(*, as_json: _Json = False, file: _File = None) -> None:
    """List the tokens, and what each may do."""
    tokens = list(read_tokens(_path(file)).values())
    if as_json:
        typer.echo(json.dumps([_shown(token) for token in tokens], indent=2))
        return
    print_table([("ID", "NAME", "EXPIRES", "TOOLS", "MODELS"), *(_row(token) for token in tokens)])


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(help="The token's id, or its name where no other has it.")],
    *,
    file: _File = None,
) -> None:
    """Take a token out of the file. A server that runs knows it within a second."""
    path = _path(file)
    tokens = read_tokens(path)
    found = [one for one in tokens.values() if token in {one.id, one.name}]
    if len(found) != 1:
        there = "There is no token" if not found else "There is more than one token"
        raise ConfigError(f"{there} {token!r} in {path}; `tokens list` shows their ids.")
    write_tokens(path, [one for one in tokens.values() if one is not found[0]])
    say(f"{found[0].id} is revoked.")


def _path(file: str | None) -> str:
    path = tokens_file({} if file is None else {"tokens": file})
    if path is None:
        raise ConfigError("Name the file of tokens with --tokens, or in MCP_TOKENS; `http` reads the same.")
    return path


def _shown(token: Token) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(token).items() if name != "digest"}


def _row(token: Token) -> tuple[str, ...]:
    day = "never" if token.expires is None else datetime.fromtimestamp(token.expires, UTC).strftime("%Y-%m-%d %H:%M")
    return token.id, token.name, day, _patterns(token.tools), _patterns(token.models)


def _patterns(patterns: tuple[str, ...] | None) -> str:
    return "all" if patterns is None else ", ".join(patterns) or "none"
