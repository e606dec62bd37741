"""Providers that live in this process, behind the interface of all the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from openai_gateway.net.client import Around
from openai_gateway.routing.dialects.dialect import LocalAnswer


class Local:
    """The answer of one, as if it were being received."""

    def __init__(self, answer: LocalAnswer) -> None:
        self.status: Final = answer.status
        self.headers: Final[Mapping[str, str]] = {name.lower(): value for name, value in answer.headers}
        self._pieces = iter(answer.pieces)

    async def read(self, around: Around) -> bytes:
        with around():
            await trio.lowlevel.checkpoint()  # as a socket would, so that a cancelled call ends here too
            return next((piece for piece in self._pieces if piece), b"")

    async def aclose(self) -> None:
        """There is nothing to close."""
        self._pieces = iter(())
        await trio.lowlevel.checkpoint()
