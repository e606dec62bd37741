"""Putting an entry into a client's file and taking it out: what would change, and then the change."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import write_file
from openai_gateway_mcp.clients.document import Entry, Format, has_entry, with_entries, without_entries
from openai_gateway_mcp.clients.text import Unreadable

BACKUP: Final = ".before-openai-gateway"
_MAX_BYTES: Final = 64 * 2**20
_NEW_MODE: Final = 0o600


@attrs.frozen(kw_only=True)
class Plan:
    """A file as it is and as it would be; None: there is no such file. `backup` is what is written beside it first."""

    path: Path
    before: bytes | None
    after: bytes | None
    backup: bytes | None = None

    @property
    def is_change(self) -> bool:
        return self.before != self.after

    def diff(self) -> str:
        """As `diff -u` shows it."""
        before, after = (_lines(content) for content in (self.before, self.after))
        was, will = (str(self.path) if content is not None else os.devnull for content in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, was, will))

    def carry_out(self) -> None:
        """Whole or not at all. Raises ConfigError, also where the file was changed in the meantime."""
        if _read(self.path) != self.before:
            raise ConfigError(f"{self.path} was changed a moment ago by another program; try again.")
        if self.after is None:
            self.path.unlink()
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = _NEW_MODE if self.before is None else stat.S_IMODE(self.path.stat().st_mode)
        except OSError as error:
            raise ConfigError(f"{str(self.path)!r} cannot be written: {error.strerror}.") from None
        if self.backup is not None:
            write_file(backup_of(self.path), self.backup, mode)
        write_file(self.path, self.after, mode)


def backup_of(path: Path) -> Path:
    return path.with_name(path.name + BACKUP)


def plan_install(path: Path, form: Format, entries: Sequence[Entry]) -> Plan:
    """Raises ConfigError for a file that cannot be read for certain: it is left as it is."""
    path = _real(path)
    before = _read(path)
    try:
        after = with_entries(before or b"", form, entries)
        original = before
        if before is not None and any(has_entry(before, form, entry) for entry in entries):
            # Another entry of ours is replaced: what was there before the first one stays the backup.
            known = _read(backup_of(path))
            bare = without_entries(before, form, entries, known)
            original = known if known is not None and bare == known else before
    except Unreadable as error:
        raise _refused(path, form, error) from None
    return Plan(path=path, before=before, after=after, backup=original if after != before else None)


def plan_uninstall(path: Path, form: Format, entries: Sequence[Entry]) -> Plan:
    """Raises ConfigError as above."""
    path = _real(path)
    before = _read(path)
    if before is None:
        return Plan(path=path, before=None, after=None)
    try:
        if not any(has_entry(before, form, entry) for entry in entries):
            return Plan(path=path, before=before, after=before)
        after = without_entries(before, form, entries, _read(backup_of(path)))
    except Unreadable as error:
        raise _refused(path, form, error) from None
    is_empty = not after and _read(backup_of(path)) is None
    return Plan(path=path, before=before, after=None if is_empty else after)


def _real(path: Path) -> Path:
    """Whoever keeps such a file elsewhere and links to it wants it changed there."""
    return Path(os.path.realpath(path))


def _read(path: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: a pipe would be waited for
            raise ConfigError(f"{path} is no file.")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; it is left as it is.")
    return content


def _refused(path: Path, form: Format, error: Unreadable) -> ConfigError:
    return ConfigError(f"{path} is left as it is: as {form.value}, {error}. Mend it, or write the entry yourself.")


def _lines(content: bytes | None) -> list[str]:
    text = (content or b"").decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
