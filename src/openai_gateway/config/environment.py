"""The environment's values, read strictly: an error says the variable, what came (no secret) and what is allowed."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from openai_gateway.errors import ConfigError
from openai_gateway.secret import Secret

LOG_LEVELS: Final = ("debug", "info", "warn", "error")
MAX_RETRIES_ALLOWED: Final = 20
MAX_SECONDS: Final = 86_400.0
_SWITCHES: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_HEADER_AROUND: Final = re.compile(r"(?:authorization\s*:\s*)?bearer(?:\s|$)", re.IGNORECASE)
_MAX_SECRET_BYTES: Final = 64 * 1024  # the longest keys in use are JSON Web Tokens of a few kilobytes


def text(environ: Mapping[str, str], name: str) -> str | None:
    """The variable, None where it is unset or blank: `docker run -e NAME` and compose files leave blanks behind."""
    return environ.get(name, "").strip() or None


def seconds(environ: Mapping[str, str], name: str) -> float | None:
    """A duration in seconds, more than 0 and at most a day."""
    raw = text(environ, name)
    return None if raw is None else checked_seconds(raw, name)


def checked_seconds(raw: str, name: str) -> float:
    try:
        value = float(raw) if raw.isascii() and "_" not in raw else math.nan  # float() would take "1_0"
    except ValueError:
        value = math.nan
    if not 0 < value <= MAX_SECONDS:  # a NaN fails this too
        raise ConfigError(
            f"{name} is {raw!r}; allowed is a number of seconds, more than 0 and at most {MAX_SECONDS:.0f}."
        )
    return value


def retries(environ: Mapping[str, str], name: str) -> int | None:
    """How many attempts after the first, 0 to 20."""
    raw = text(environ, name)
    return None if raw is None else checked_retries(raw, name)


def checked_retries(raw: str, name: str) -> int:
    # isdecimal() alone lets other scripts' digits through, and int() would take "1_0".
    if not (raw.isascii() and raw.isdecimal() and len(raw) <= 2 and int(raw) <= MAX_RETRIES_ALLOWED):
        raise ConfigError(f"{name} is {raw!r}; allowed is a whole number from 0 to {MAX_RETRIES_ALLOWED}.")
    return int(raw)


def switch(environ: Mapping[str, str], name: str) -> bool:
    """A yes or no, False where it is unset."""
    raw = text(environ, name)
    if raw is None:
        return False
    if raw.lower() not in _SWITCHES:
        raise ConfigError(f"{name} is {raw!r}; allowed is one of {', '.join(_SWITCHES)}.")
    return _SWITCHES[raw.lower()]


def log_level(environ: Mapping[str, str]) -> str:
    """LOG_LEVEL, one of debug, info, warn, error; info where it is unset."""
    raw = text(environ, "LOG_LEVEL") or "info"
    if raw.lower() not in LOG_LEVELS:
        raise ConfigError(f"LOG_LEVEL is {raw!r}; allowed is one of {', '.join(LOG_LEVELS)}.")
    return raw.lower()


def read_secret(environ: Mapping[str, str], name: str) -> Secret | None:
    """NAME itself, or what the file that NAME_FILE names holds; None where neither is set.

    Raises ConfigError where both are set, the file cannot be read, others may read it, or it holds no usable key.
    """
    file_name = f"{name}_FILE"
    value, file = text(environ, name), text(environ, file_name)
    if value is not None and file is not None:
        raise ConfigError(f"{name} and {file_name} are both set; set one of them.")
    if file is not None:
        return read_secret_file(file, name=name, said_by=file_name)
    return None if value is None else Secret(usable_key(value, name), name=name)


def read_secret_file(path: str, *, name: str, said_by: str) -> Secret:
    """The key in a file that only its owner can read (mode 0600 or stricter). Raises ConfigError."""
    try:
        with Path(path).expanduser().open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode  # of the file that is open: no time between the look and the read
            refuse_if_others_can_read(mode, path, said_by)
            content = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{said_by} names {path!r}, which cannot be read: {error.strerror}.") from None
    if len(content) > _MAX_SECRET_BYTES:
        raise ConfigError(f"{said_by} names {path!r}, which is too large for a key (over {_MAX_SECRET_BYTES} bytes).")
    try:
        value = content.decode("ascii").strip()
    except UnicodeDecodeError:
        value = "\x00"  # no key, told below; the decoder's own error would quote the file
    if not value:
        raise ConfigError(f"{said_by} names {path!r}, which is empty.")
    return Secret(usable_key(value, f"The file {path!r} of {said_by}"), name=name)


def refuse_if_others_can_read(mode: int, path: str, said_by: str) -> None:
    """Raises ConfigError unless the file is its owner's alone. Windows keeps its rights elsewhere: there it passes."""
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        others = stat.S_IMODE(mode)
        raise ConfigError(f"{said_by} names {path!r}, which others can read (mode {others:04o}): chmod 600 {path}")


def usable_key(value: str, said_by: str) -> str:
    """The value, if it is the bare key and an HTTP header can carry it. Raises ConfigError.

    A line break or a stray quote mark of a word processor is no key's; and what was pasted with the header around it
    would be refused by every provider, for reasons that nobody can see.
    """
    if _HEADER_AROUND.match(value):
        raise ConfigError(f'{said_by} begins with "Bearer", which is sent before the key anyway; leave only the key.')
    if not is_header_value(value):
        raise ConfigError(
            f"{said_by} holds a character that no key has; copy the key again, on one line of plain ASCII."
        )
    return value


def usable_header(value: str, said_by: str) -> str:
    """The value, if an HTTP header can carry it. Raises ConfigError."""
    if not is_header_value(value):
        raise ConfigError(f"{said_by} holds a character that no header can carry.")
    return value


def is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()
