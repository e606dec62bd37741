"""`keys set`, `keys list` and `keys remove`: the keys that `api_key = { keyring = "NAME" }` finds."""

from __future__ import annotations

import getpass
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.ring import NoRing
from openai_gateway.keystore.store import Store
from openai_gateway.keystore.usable import MAX_KEY_BYTES, key_in
from openai_gateway.log import harmless
from openai_gateway.routing.key_source import entry_name
from openai_gateway.secret import Secret
from openai_gateway_mcp.config import key_store
from openai_gateway_mcp.serve import INTERRUPTED, say

app: Final = typer.Typer(
    help="Keep keys in the OS keyring. Where there is none, they are kept in files of mode 0600.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as openai: small letters, digits, - and _.")]


@app.command("set")
def set_key(
    name: _Name,
    *,
    in_file: Annotated[bool, typer.Option("--file", help="Into a file, even where there is an OS keyring.")] = False,
) -> None:
    """Store a key. It is asked for without showing it, or read from stdin where that is piped in."""
    entry_name(name)  # before anybody types a key
    with interruptible():
        secret = asked_key(name)
        try:
            stored = _store().set(name, secret, in_file=in_file)
        except NoRing as error:
            raise ConfigError(f"{error}. Try again, or keep it in a file with --file.") from None
    why = f" ({stored.why_no_ring})" if stored.why_no_ring else ""
    typer.echo(harmless(f"Stored {name} in {stored.where}{why}. A provider uses it so:"))
    typer.echo(f'api_key = {{ keyring = "{name}" }}')


@app.command("list")
def list_keys() -> None:
    """List the names of the stored keys and where each is, but no key."""
    with interruptible():
        found = _store().list()
    if not found:
        say("no key is stored; keys set NAME stores one")
    width = max(map(len, found), default=0)
    for name, stored in found.items():
        typer.echo(harmless(f"{name:<{width}}  {stored.where}"))


@app.command("remove")
def remove_key(name: _Name) -> None:
    """Remove a stored key, wherever it is."""
    with interruptible():
        was_there = _store().remove(name)
    if not was_there:
        say(f"no key is stored as {entry_name(name)}")
        raise typer.Exit(1)
    typer.echo(f"Removed {name}.")


@contextmanager
def interruptible() -> Iterator[None]:
    """Around what waits for a person, at the prompt or in a window of the keyring; Ctrl-C ends it as it ends a call."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def asked_key(name: str) -> Secret:
    """What is typed at a prompt that does not show it, or piped in. Raises ConfigError."""
    return Secret(_piped() if sys.stdin is None or not sys.stdin.isatty() else _typed(name), name=name)


def _store() -> Store:
    return Store(key_store())


def _typed(name: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would show what is typed
            said = getpass.getpass(f"Key for {name} (not shown): ")
    except EOFError:
        raise ConfigError("No key was given.") from None
    except getpass.GetPassWarning:
        raise ConfigError("This terminal cannot hide what is typed; pipe the key in instead.") from None
    except UnicodeDecodeError:
        said = "\x00"  # no key, told below; the decoder's own error would quote it
    return key_in(said.encode("utf-8", "surrogatepass"), "What was typed")


def _piped() -> str:
    if sys.stdin is None:
        raise ConfigError("There is no stdin to read the key from.")
    return key_in(sys.stdin.buffer.read(MAX_KEY_BYTES + 1), "What was piped in")
