"""A Line whose server is a function of what it is told."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from openai_gateway_mcp.fuzz.conversation import Ended, Heard

Json = Any
Says = Callable[[dict[str, Json]], Iterable[Heard]]


class Scripted:
    """`says` is asked for each message that is an object."""

    keeps_order = True

    def __init__(self, says: Says, *, last: Iterable[Heard] = ()) -> None:
        """`last`: what is said once the input is at its end."""
        self._says = says
        self._last = last
        self._queue: deque[Heard] = deque()
        self.is_finished = False

    def say(self, data: bytes) -> None:
        for line in data.splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                self._queue.extend(self._says(message))

    def hear(self, seconds: float) -> Heard | None:
        if not self._queue and self.is_finished:
            raise Ended(0)
        return self._queue.popleft() if self._queue else None

    def finish(self, seconds: float) -> bool:
        self.is_finished = True
        self._queue.extend(self._last)
        return True


def result_of(message: dict[str, Json], result: dict[str, Json]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()


def error_of(message: dict[str, Json], code: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "no"}}).encode()
