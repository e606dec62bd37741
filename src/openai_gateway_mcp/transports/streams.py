"""What a transport hands to the session: bytes both ways, and nothing about where they travel."""

from __future__ import annotations

from typing import Protocol


class StreamFailed(Exception):
    """Reading or writing failed, and not because the peer is gone; the text is for people."""


class Stream(Protocol):
    """One task receives and one sends, as in trio; `send_now` is the writer's way around a task switch.

    Sending raises `trio.BrokenResourceError` when the peer is gone. Either direction raises OSError when the wire fails
    in another way: a full disk behind stdout, a directory in the place of stdin.
    """

    async def receive_some(self) -> bytes:
        """What has come, at least one byte; b"" at the end. A peer that vanished is an end like any other."""
        ...

    async def hung_up(self) -> None:
        """Return when the peer has closed its side, whatever is still unread; never, where that cannot be seen."""
        ...

    def send_now(self, data: bytes | memoryview) -> int:
        """How many of the bytes went out without waiting, 0 included. Not to be called while `send_all` runs."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send every byte. Cancelled in the middle it leaves a torn message, so only the end of the session may."""
        ...
