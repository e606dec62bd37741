"""`api_key = { … }` of the configuration file: which source it names, checked in shape; nothing is started or asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from openai_gateway.config import environment
from openai_gateway.config.toml import Table
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import read_secret_file
from openai_gateway.routing.key_source import (
    COMMAND_TIMEOUT,
    TTL,
    KeyCommand,
    KeyFile,
    KeySource,
    StoredKey,
    entry_name,
)
from openai_gateway.secret import Redactor, Secret

_MOST_PATIENT: Final = 600.0  # seconds: nobody waits longer for an answer either, where nothing else is said


@attrs.frozen(kw_only=True)
class Credential:
    """What is known of a key when the configuration is read, where it is read later, or what is missing."""

    key: Secret | None = None
    source: KeySource | None = None
    missing: str = ""


def read_key_source(table: Table, environ: Mapping[str, str], provider: str) -> Credential:
    """The source that the table of `api_key` names. Raises ConfigError with its line."""
    named = [kind for kind in table.content if kind in _SOURCES]
    if len(named) == 1:
        read, options = _SOURCES[named[0]]
        table.only((named[0], *options))
        return read(table, environ, provider)
    table.only(_SOURCES)
    raise table.document.fault(
        table.path,
        f'api_key of the provider {provider!r} names one source, such as {{ env = "OPENAI_API_KEY" }}.',
    )


def _env(table: Table, environ: Mapping[str, str], provider: str) -> Credential:
    variable = table.required("env")
    key = environment.read_secret(environ, variable)
    missing = "" if key else f"{variable} is not set: the provider {provider!r} takes its key from it."
    return Credential(key=key, source=environment.key_file(environ, variable), missing=missing)


def _file(table: Table, _environ: Mapping[str, str], provider: str) -> Credential:
    """Read at once, too: a wrong path or mode is told at the start and not by the first call."""
    set_by, path = f"api_key of {provider}", table.required("file")
    key = read_secret_file(path, name=set_by, said_by=set_by)
    return Credential(key=key, source=KeyFile(path=path, name=set_by, set_by=set_by))


def _command(table: Table, _environ: Mapping[str, str], provider: str) -> Credential:
    argv = table.texts("command")
    if not argv:
        raise table.wrong("command", 'a list of texts, the program first, such as ["op", "read", "op://vault/openai"]')
    if any("\0" in word for word in argv):
        raise table.fault("command", f"command in {table.title} holds a NUL, which no argument can.")
    if any(" " not in word and Redactor().redact(word) != word for word in argv):
        raise table.fault(
            "command", f"an argument of command in {table.title} looks like a key; any process can read arguments."
        )
    timeout = table.number("timeout", above=True, most=_MOST_PATIENT)
    return Credential(
        source=KeyCommand(
            argv=argv,
            set_by=f"api_key of {provider}",
            timeout=COMMAND_TIMEOUT if timeout is None else timeout,
            ttl=_ttl(table),
        )
    )


def _keyring(table: Table, environ: Mapping[str, str], provider: str) -> Credential:
    try:
        entry = entry_name(table.required("keyring"))
    except ConfigError as error:
        raise table.fault("keyring", str(error)) from None
    directory = environment.key_directory(environ)
    return Credential(
        source=StoredKey(entry=entry, directory=directory, set_by=f"api_key of {provider}", ttl=_ttl(table))
    )


def _ttl(table: Table) -> float:
    ttl = table.number("ttl", above=True, most=environment.MAX_SECONDS)
    return TTL if ttl is None else ttl


_Read = Callable[[Table, Mapping[str, str], str], Credential]

_SOURCES: Final[Mapping[str, tuple[_Read, tuple[str, ...]]]] = {
    "env": (_env, ()),
    "file": (_file, ()),
    "command": (_command, ("timeout", "ttl")),
    "keyring": (_keyring, ("ttl",)),
}
"""Each kind of source: its reader, and what may be said beside it."""
