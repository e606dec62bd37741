"""A client in memory: the other end of a Stream, with a wire that holds as many bytes as a test says."""

from __future__ import annotations

import json
import math
from typing import Any

import trio

Json = Any


class MemoryStream:
    """The server's end. `capacity`: bytes that fit into the wire while nobody reads."""

    def __init__(self, *, capacity: float = math.inf) -> None:
        self._capacity = capacity
        self._to_server, self._incoming = trio.open_memory_channel[bytes](math.inf)
        self._outgoing = bytearray()
        self._read = b""
        self._change = trio.lowlevel.ParkingLot()
        self._hang_up = trio.Event()
        self.read_error: OSError | None = None
        self.write_error: Exception | None = None
        self.reads = 0
        self.writes = 0

    # --- the Stream ---

    async def receive_some(self) -> bytes:
        self.reads += 1
        if self.read_error is not None:
            await trio.lowlevel.checkpoint()
            raise self.read_error
        async for data in self._incoming:
            return data
        return b""

    async def hung_up(self) -> None:
        await self._hang_up.wait()

    def send_now(self, data: bytes | memoryview) -> int:
        if self.write_error is not None:
            raise self.write_error
        sent = int(min(len(data), self._capacity - len(self._outgoing)))
        if sent:
            self.writes += 1
            self._outgoing += data[:sent]
            self._change.unpark_all()
        return sent

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            data = data[self.send_now(data) :]
            if not data:
                return
            await self._change.park()

    # --- the client ---

    def send(self, *messages: Json) -> None:
        """Have the server read these in one read."""
        self._to_server.send_nowait(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def close(self) -> None:
        """Close the client's side: the server reads what there is, and then the end."""
        self._to_server.close()
        self._hang_up.set()

    def fail_writing(self, error: Exception) -> None:
        """From now on writing raises this, also where the server waits to write."""
        self.write_error = error
        self._change.unpark_all()

    async def receive(self) -> Json:
        """The next message from the server; the client has read all that was on the wire."""
        await trio.lowlevel.checkpoint()
        while b"\n" not in self._read:
            if not self._outgoing:
                await self._change.park()
            self._read += self.take()
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def take(self) -> bytes:
        """All bytes that are on the wire."""
        taken = bytes(self._outgoing)
        self._outgoing.clear()
        self._change.unpark_all()
        return taken

    def unread(self) -> list[Json]:
        """Every message that the server has sent and `receive` has not returned; the wire stays as it is."""
        return [json.loads(line) for line in (self._read + self._outgoing).splitlines()]
