"""The store behind `keys set`: the OS keyring where there is a good one, else a file of mode 0600."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import make_private, read_secret_file, write_secret_file
from openai_gateway.keystore.ring import NoRing, Ring, open_ring
from openai_gateway.keystore.usable import usable_key
from openai_gateway.routing.key_source import entry_name, is_entry_name
from openai_gateway.secret import Secret

_IN_RING: Final = ".keyring"
"""The ending of an empty file that says "in the keyring", which itself tells nobody the names that it holds."""


@attrs.frozen(kw_only=True)
class Stored:
    """Where a key is, in words for people, and why it is not in the keyring, where it is not."""

    where: str
    why_no_ring: str = ""


@attrs.frozen
class Store:
    """The names and their keys. The file comes first: it was written when there was no keyring, or later than that.

    Each method may wait for a person whom the keyring asks. Each raises ConfigError, also for what is no name.
    """

    directory: Path

    def read(self, entry: str, *, name: str) -> Secret:
        """The key; `name` is what may be shown of it."""
        path = self._file(entry)
        with _mapped():
            is_file = path.exists()
        if is_file:
            return read_secret_file(str(path), name=name, said_by=name)
        try:
            value, why = open_ring().get(entry), "the OS keyring has none of this name"
        except NoRing as error:
            value, why = None, f"the OS keyring cannot be asked: {error}"
        if value is None:
            raise ConfigError(
                f"{name} is not there: there is no file {str(path)!r}, and {why}."
                f" `openai-gateway-mcp keys set {entry}` stores one."
            )
        return Secret(usable_key(value, name), name=name)

    def set(self, entry: str, secret: Secret, *, in_file: bool = False) -> Stored:
        """Keep it, and leave no older one in the place that would be asked first."""
        path = self._file(entry)
        try:
            ring = _no_ring() if in_file else open_ring()
        except NoRing as error:
            write_secret_file(path, secret)
            return Stored(where=f"{str(path)!r}, a file of mode 0600", why_no_ring=str(error))
        ring.set(entry, secret)
        with _mapped():
            make_private(self.directory)
            self._mark(entry).touch(mode=0o600)
            path.unlink(missing_ok=True)
        return Stored(where=ring.title)

    def list(self) -> dict[str, Stored]:
        """Each name that is known here, in the order of the alphabet, and where its key is. The keyring is asked."""
        with _mapped():
            found = {path.name for path in self.directory.iterdir()} if self.directory.is_dir() else set()
        names = sorted(filter(is_entry_name, {name.removesuffix(_IN_RING) for name in found}))
        return {name: self._where(name, is_file=name in found) for name in names}

    def remove(self, entry: str) -> bool:
        """Whether there was anything to remove; it is gone from file and keyring."""
        path, mark = self._file(entry), self._mark(entry)
        with _mapped():
            was_file, was_marked = path.exists(), mark.exists()
        try:
            was_in_ring = open_ring().remove(entry)
        except NoRing as error:
            if was_marked:  # and the file stays too: without it the older key would come to light again
                raise ConfigError(f"The OS keyring has a key {entry!r} and cannot be asked: {error}.") from None
            was_in_ring = False
        with _mapped():
            path.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)
        return was_file or was_in_ring

    def _where(self, entry: str, *, is_file: bool) -> Stored:
        if is_file:
            return Stored(where=f"{str(self._file(entry))!r}")
        try:
            ring = open_ring()
            has = ring.get(entry) is not None
        except NoRing as error:
            return Stored(where=f"the OS keyring, which cannot be asked: {error}")
        return Stored(where=ring.title if has else f"nowhere: {ring.title} has lost it")

    def _file(self, entry: str) -> Path:
        return self.directory / entry_name(entry)

    def _mark(self, entry: str) -> Path:
        return self.directory / (entry_name(entry) + _IN_RING)


def _no_ring() -> Ring:
    raise NoRing("a file was asked for")


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename!r} cannot be used to store keys: {error.strerror}.") from None
