"""How each kind of key source is read: in a thread where it may wait, with a patience of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

import trio

from openai_gateway.engine.key_command import key_of_command
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import Found, read_again
from openai_gateway.keystore.store import Store
from openai_gateway.routing.key_source import KeyCommand, KeyFile, KeySource, StoredKey

_FILE_PATIENCE: Final = 10.0
_PERSON_PATIENCE: Final = 60.0  # a keyring may show a person a window and wait for a password

_FILES: Final = 4  # threads; what hangs on a dead network drive must not take those that look up names
_STORES: Final = 1  # one question at a time: each may be a window

T = TypeVar("T")


class Read(Protocol):
    """Reads a source. `last` is what came of it before; a reader that sees no change may give it back.

    Raises ConfigError with a sentence that says what to mend, and shows no key.
    """

    async def __call__(self, source: KeySource, last: Found | None) -> Found: ...


class Readers:
    """The readers of this process's files, programs and stores, with the threads that they may take."""

    def __init__(self) -> None:
        self._files = trio.CapacityLimiter(_FILES)
        self._stores = trio.CapacityLimiter(_STORES)

    async def __call__(self, source: KeySource, last: Found | None) -> Found:
        if isinstance(source, KeyFile):
            return await self._file(source, last)
        if isinstance(source, KeyCommand):
            return Found(await key_of_command(source))
        return await self._stored(source)

    async def _file(self, source: KeyFile, last: Found | None) -> Found:
        def read() -> Found:
            return read_again(source.path, last, name=source.name, said_by=source.set_by)

        silence = f"{source.set_by} names {source.path!r}, which cannot be read: nothing came within"
        return await _in_thread(read, self._files, _FILE_PATIENCE, silence)

    async def _stored(self, source: StoredKey) -> Found:
        def read() -> Found:
            return Found(Store(Path(source.directory)).read(source.entry, name=source.name))

        silence = f"{source.name} cannot be read: unlock the OS keyring, which did not answer within"
        return await _in_thread(read, self._stores, _PERSON_PATIENCE, silence)


async def _in_thread(read: Callable[[], T], limiter: trio.CapacityLimiter, patience: float, silence: str) -> T:
    """A thread that hangs is left alone: it can be of no harm, and nobody could end it."""
    with trio.move_on_after(patience):
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=limiter)
    raise ConfigError(f"{silence} {patience:g} s.")
