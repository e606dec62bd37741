"""The tokens of callers: a file that holds their SHA-256, and what each of them may do."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import write_private_file
from openai_gateway.wire.strict import JsonError, loads
from openai_gateway.wire.structure import StructureError, structure

PREFIX: Final = "ogm_"
_BYTES: Final = 32
"""256 bit, which nobody guesses: so a plain SHA-256 is enough to know a token again, and costs a request nothing."""

_MAX_FILE_BYTES: Final = 16 * 2**20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Token:
    """One token. `digest` is its SHA-256 in hexadecimal; `created` and `expires` are seconds of Unix time.

    `tools` and `models` are patterns (`*` for any characters) of what it may use, None for all there is.
    """

    id: str
    digest: str = attrs.field(repr=False)
    name: str = ""
    created: int = 0
    expires: int | None = None
    tools: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


def new_token(
    *,
    name: str,
    now: int,
    expires: int | None = None,
    tools: Iterable[str] | None = None,
    models: Iterable[str] | None = None,
) -> tuple[Token, str]:
    """A token, and what its caller has to show, which nobody stores."""
    shown = PREFIX + secrets.token_urlsafe(_BYTES)
    token = Token(
        id=f"token_{secrets.token_hex(6)}",
        digest=digest_of(shown),
        name=name,
        created=now,
        expires=expires,
        tools=None if tools is None else tuple(tools),
        models=None if models is None else tuple(models),
    )
    return token, shown


def digest_of(shown: str) -> str:
    """By what a token is known again: all that is ever stored of it."""
    return hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()


def read_tokens(path: str) -> Mapping[str, Token]:
    """Digest → token. Raises ConfigError; a file that is not there has no tokens."""
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"The file of tokens {path!r} cannot be read: {error}.") from None
    try:
        return {token.digest: token for token in _tokens(loads(content))}
    except (JsonError, StructureError, ValueError) as error:
        raise ConfigError(f"The file of tokens {path!r} is not what `tokens create` writes: {error}.") from None


def write_tokens(path: str, tokens: Iterable[Token]) -> None:
    """Put these tokens into the file, whole or not at all. Raises ConfigError."""
    content = json.dumps({"tokens": [attrs.asdict(token) for token in tokens]}, indent=2) + "\n"
    write_private_file(Path(path).expanduser(), content.encode())


@attrs.frozen(kw_only=True)
class _File:
    tokens: tuple[Token, ...] = ()


def _tokens(value: Any) -> tuple[Token, ...]:
    tokens = structure(value, _File).tokens
    for token in tokens:
        if _DIGEST.fullmatch(token.digest) is None:
            raise ValueError(f"the digest of {token.id} is no SHA-256 in hexadecimal")
    return tokens
