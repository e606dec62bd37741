"""What comes over a connection, read ahead of whoever wants it, so that its end is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from openai_gateway.net import promptly

PIECE: Final = 64 * 1024
"""What is read at once, and read ahead at most."""


class Incoming:
    """What came of a connection and was not looked at yet; it knows when the client is gone.

    A task of its own reads, so that a client that leaves is noticed whatever its request is waiting for.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._data = bytearray()
        self._came = trio.Event()
        self._taken = trio.Event()
        self._discards = False
        self.gone = trio.Event()
        self.on_gone: Callable[[], None] | None = None

    async def read(self) -> None:
        """Until the client says no more. An end counts as going away: who half-closes wants no answer (as in nginx)."""
        while True:
            try:
                data = await promptly.receive(self._stream, PIECE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                break
            if self._discards:
                continue
            self._data += data
            self._came.set()
            while len(self._data) >= PIECE and not self._discards:
                self._taken = trio.Event()
                await self._taken.wait()
        self.gone.set()
        self._came.set()
        if self.on_gone is not None:
            self.on_gone()

    async def wait(self) -> bool:
        """Until there is something; False where nothing more will come."""
        if not self._data and not self.gone.is_set():
            self._came = trio.Event()
            await self._came.wait()
        return bool(self._data)

    def take(self) -> bytes:
        """All that there is."""
        data = bytes(self._data)
        self._data.clear()
        self._taken.set()
        return data

    def discard(self) -> None:
        """From now on nobody looks at what comes."""
        self._discards = True
        self.take()
