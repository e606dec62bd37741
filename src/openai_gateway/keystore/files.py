"""Keys in files: read only where nobody else can read them, written so that nobody sees half of one."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Final

import attrs

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.usable import MAX_KEY_BYTES, key_in
from openai_gateway.secret import Secret

_SETTLED: Final = 2 * 10**9
"""Nanoseconds after which a file's time tells two contents apart; FAT's clock has the coarsest ticks in use, 2 s."""

NO_PATH: Final = (RuntimeError, ValueError)  # pathlib's: of a user who is not there (~user), of a NUL

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


@attrs.frozen
class Mark:
    """What a file looks like from outside: another mark, another content."""

    changed: int
    size: int
    inode: int


@attrs.frozen
class Found:
    """A key, and what its file looked like, where it came from one and that is to be trusted."""

    secret: Secret
    mark: Mark | None = None


def read_secret_file(path: str, *, name: str, said_by: str) -> Secret:
    """The key in a file that only its owner can read (mode 0600 or stricter). Raises ConfigError."""
    try:
        with _expanded(path, said_by).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the file that is open: no time between the look and the read
            refuse_if_others_can_read(mode, path, said_by)
            content = file.read(MAX_KEY_BYTES + 1)
    except (OSError, *NO_PATH) as error:
        raise _unreadable(path, said_by, error) from None
    return Secret(key_in(content, f"The file {path!r} of {said_by}"), name=name)


def read_again(path: str, last: Found | None, *, name: str, said_by: str) -> Found:
    """The key as it is now; `last` itself where the file looks as it did then. Raises ConfigError.

    A file that was written a moment ago is read again the next time: another write within the same tick of its clock
    would not show. What is no file (the shell's <(command) gives a pipe) can be read once only.
    """
    try:
        status = _expanded(path, said_by).stat()
    except (OSError, *NO_PATH) as error:
        raise _unreadable(path, said_by, error) from None
    mark = Mark(status.st_mtime_ns, status.st_size, status.st_ino)
    if last is not None and (mark == last.mark or not stat.S_ISREG(status.st_mode)):
        return last
    # The look comes before the read: a file that is replaced in between is read once more, never missed.
    secret = read_secret_file(path, name=name, said_by=said_by)
    return Found(secret, mark if time.time_ns() - mark.changed > _SETTLED else None)


def _expanded(path: str, said_by: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~somebody
        raise ConfigError(f"{said_by} names {path!r}, whose home directory nobody knows.") from None


def _unreadable(path: str, said_by: str, error: Exception) -> ConfigError:
    return ConfigError(f"{said_by} names {path!r}, which cannot be read: {reason(error)}.")


def reason(error: Exception) -> str:
    """Why a file could not be read, in the system's words where they are its."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def refuse_if_others_can_read(mode: int, path: str, said_by: str) -> None:
    """Raises ConfigError unless the file is its owner's alone. Windows keeps its rights elsewhere: there it passes."""
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        others = stat.S_IMODE(mode)
        raise ConfigError(f"{said_by} names {path!r}, which others can read (mode {others:04o}): chmod 600 {path}")


def write_secret_file(path: Path, secret: Secret) -> None:
    """Put the key into a file as `write_private_file` does, in a directory that is its owner's alone."""
    try:
        make_private(path.parent)
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be written: {error.strerror}.") from None
    write_private_file(path, secret.reveal().encode("ascii"))


def write_private_file(path: Path, content: bytes) -> None:
    """Put the content into a file of mode 0600, whole or not at all. Raises ConfigError."""
    write_file(path, content, 0o600)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Put the content into a file of this mode, whole or not at all. Raises ConfigError.

    It is written under another name, made for it and for nothing that was there before, and then takes the place.
    """
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(new, _NEW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if mode != 0o600 and os.name == "posix":
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be written: {error.strerror}.") from None


def make_private(directory: Path) -> None:
    """The directory, made where it is missing, of mode 0700 and nobody else's. Raises ConfigError and OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if stat.S_ISLNK(status.st_mode) or (os.name == "posix" and status.st_uid != os.geteuid()):
        raise ConfigError(f"{str(directory)!r} is a link or belongs to somebody else; keys are not stored in it.")
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(0o700)
