"""Where a credential is read when a call needs it: a file, a command, the key store. Values; nothing is read here."""

from __future__ import annotations

import re
from typing import Final

import attrs

from openai_gateway.errors import ConfigError

TTL: Final = 300.0
"""Seconds for which a command's or the store's key is used before it is asked again, where nothing else is said."""

COMMAND_TIMEOUT: Final = 10.0  # seconds; Kubernetes' exec plugins and git's credential helpers have none and hang

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_RESERVED: Final = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # devices on Windows, whatever the directory


@attrs.frozen(kw_only=True)
class KeyFile:
    """A file that holds the key alone, read again when it changes. `set_by` is the setting that names it."""

    path: str
    name: str
    set_by: str


@attrs.frozen(kw_only=True)
class KeyCommand:
    """A program that prints the key, run without a shell. `timeout` and `ttl` are seconds."""

    argv: tuple[str, ...]
    set_by: str
    timeout: float = COMMAND_TIMEOUT
    ttl: float = TTL

    @property
    def name(self) -> str:
        """What may be shown of it: the program, and who names it; its arguments are the operator's affair."""
        return f"the command {self.argv[0]!r} ({self.set_by})"


@attrs.frozen(kw_only=True)
class StoredKey:
    """What `keys set ENTRY` stored: a file in `directory` if there is one of that name, else in the OS keyring."""

    entry: str
    directory: str
    set_by: str
    ttl: float = TTL

    @property
    def name(self) -> str:
        """What may be shown of it."""
        return f"the stored key {self.entry!r} ({self.set_by})"


KeySource = KeyFile | KeyCommand | StoredKey


def entry_name(raw: str) -> str:
    """The name of a stored key, if it is one; it becomes a file's name. Raises ConfigError.

    Small letters only: two names that differ in case would be one file on some systems and two on others.
    """
    if not is_entry_name(raw):
        raise ConfigError(
            "This is no name for a stored key (it is not shown: it might be one); allowed are small letters, digits,"
            " - and _, at most 64 of them, such as openai."
        )
    return raw


def is_entry_name(raw: str) -> bool:
    return _NAME.fullmatch(raw) is not None and _RESERVED.fullmatch(raw) is None
