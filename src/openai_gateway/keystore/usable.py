"""What is a key at all: the bare key, on one line of plain ASCII."""

from __future__ import annotations

import re
from typing import Final

from openai_gateway.errors import ConfigError

MAX_KEY_BYTES: Final = 64 * 1024  # the longest keys in use are JSON Web Tokens of a few kilobytes

_HEADER_AROUND: Final = re.compile(r"(?:authorization\s*:\s*)?bearer(?:\s|$)", re.IGNORECASE)


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


def key_in(content: bytes, said_by: str) -> str:
    """The key that a file, a program or a pipe gave, without the white space around it. Raises ConfigError."""
    if len(content) > MAX_KEY_BYTES:
        raise ConfigError(f"{said_by} is too large for a key (over {MAX_KEY_BYTES} bytes).")
    try:
        value = content.decode("ascii").strip()
    except UnicodeDecodeError:
        value = "\x00"  # no key, told below; the decoder's own error would quote the content
    if not value:
        raise ConfigError(f"{said_by} is empty.")
    return usable_key(value, said_by)


def is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()
