"""The environment's values, read strictly: an error says the variable, what came (no secret) and what is allowed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.usable import is_header_value, usable_key
from openai_gateway.secret import Secret

if TYPE_CHECKING:
    from openai_gateway.routing.key_source import KeyFile

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
        from openai_gateway.keystore.files import read_secret_file  # noqa: PLC0415 - a start without a file needs none

        return read_secret_file(file, name=name, said_by=file_name)
    return None if value is None else Secret(usable_key(value, name), name=name)


def key_file(environ: Mapping[str, str], name: str) -> KeyFile | None:
    """The file of NAME_FILE, for the engine to read again when it changes; None where the variable is unset."""
    path = text(environ, f"{name}_FILE")
    if path is None:
        return None
    from openai_gateway.routing.key_source import KeyFile  # noqa: PLC0415 - as above

    return KeyFile(path=path, name=name, set_by=f"{name}_FILE")


def key_directory(environ: Mapping[str, str], *, platform: str = os.name) -> str:
    """Where keys are stored that no OS keyring takes: below %APPDATA% on Windows, elsewhere below XDG_CONFIG_HOME.

    A relative XDG_CONFIG_HOME is to be ignored (XDG Base Directory Specification, "Basics").
    """
    said = text(environ, "APPDATA" if platform == "nt" else "XDG_CONFIG_HOME")
    if said is None or not Path(said).is_absolute():
        said = f"{_home(environ)}/.config"
    return str(Path(said, "openai-gateway", "keys"))


def _home(environ: Mapping[str, str]) -> str:
    try:
        return text(environ, "HOME") or str(Path.home())
    except RuntimeError:
        raise ConfigError("There is no home directory to keep keys in: set XDG_CONFIG_HOME to a whole path.") from None


def usable_header(value: str, said_by: str) -> str:
    """The value, if an HTTP header can carry it. Raises ConfigError."""
    if not is_header_value(value):
        raise ConfigError(f"{said_by} holds a character that no header can carry.")
    return value
