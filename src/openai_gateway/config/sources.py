"""The files that a configuration is made of, and whether they are still what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from openai_gateway.config.environment import text

_CERTIFICATES: Final = ("ca_bundle", "client_cert")
_OF_ENVIRONMENT: Final = "_API_KEY_FILE"  # how each variable ends that names the file of a provider's or gateway's key


def marks(paths: Iterable[str]) -> dict[str, str | None]:
    """Each path with a mark of the file there, which changes when it is written or replaced; None for no file.

    Links are followed: Kubernetes renews a mounted secret by changing a link above it. To be taken before the file is
    read, so that what is written meanwhile counts as a change.
    """
    return {path: _mark(path) for path in dict.fromkeys(paths)}


def _mark(path: str) -> str | None:
    try:
        found = os.stat(_expanded(path))  # noqa: PTH116 - as in _expanded
    except (OSError, ValueError):  # ValueError: a path with a NUL in it
        return None
    # The rights too: a key that others could read is refused, until somebody mends that.
    return f"{found.st_dev}-{found.st_ino}-{found.st_mode:o}-{found.st_size}-{found.st_mtime_ns}"


def _expanded(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - it leaves a user who is not there as it is; pathlib's raises


def files_of_environment(environ: Mapping[str, str]) -> Iterator[str]:
    """The key files and the certificates that variables name."""
    for name in environ:
        path = text(environ, name) if name.endswith(_OF_ENVIRONMENT) or name == "SSL_CERT_FILE" else None
        if path is not None:
            yield _expanded(path)


def files_of_content(content: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """The files that the parsed configuration names; it is not checked yet, so anything may be of any type."""
    providers = content.get("providers")
    for provider in providers.values() if isinstance(providers, dict) else ():
        if isinstance(provider, dict):
            named = [provider.get(key) for key in _CERTIFICATES] + _key_files(provider.get("api_key"), environ)
            yield from (_expanded(path) for path in named if isinstance(path, str))


def _key_files(source: Any, environ: Mapping[str, str]) -> list[Any]:
    if not isinstance(source, dict):
        return []
    return [source.get("file"), text(environ, f"{source.get('env')}_FILE")]
