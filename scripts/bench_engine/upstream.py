"""A provider that costs as little as it can: one process, one epoll, answers that were made beforehand.

Prints its port and serves until its stdin ends, so that it never outlives who started it. A request whose body says
`"stream":true` gets a long stream, an event at a time in the pace that the first argument names (seconds).
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from heapq import heappop, heappush

EVENTS = 400

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_MESSAGE = {"role": "assistant", "content": "A few words, as a model would say them. " * 8}
_USAGE = {"prompt_tokens": 20, "completion_tokens": 80, "total_tokens": 100}


def _whole() -> bytes:
    choice = {"index": 0, "message": _MESSAGE, "finish_reason": "stop"}
    answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": _USAGE}
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\n%b\r\ncontent-length: %d\r\n\r\n%b" % (_headers(b"application/json"), len(body), body)


def _headers(content_type: bytes) -> bytes:
    """About as many as a provider sends."""
    lines = [b"date: Thu, 26 Nov 2026 05:00 GMT", b"content-type: %b" % content_type, b"x-request-id: req_0123456789"]
    lines += [b"x-ratelimit-limit-%d: 10000" % number for number in range(6)]
    return b"\r\n".join([*lines, b"server: bench", b"strict-transport-security: max-age=31536000"])


def _event(delta: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return _framed(b"data: %b\n\n" % json.dumps(chunk).encode())


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\n%b\r\ntransfer-encoding: chunked\r\n\r\n" % _headers(b"text/event-stream")
STREAM = [
    HEAD + _event({"role": "assistant", "content": ""}),
    *(_event({"content": f" {number:04}"}) for number in range(EVENTS)),  # LiteLLM ends one that repeats itself
    _event({}, "stop"),
    _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n",
]
WHOLE = _whole()


class Server:
    """Connections by their sockets, and the streams that are under way by the time of their next event."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, socket.socket, int]] = []
        self._buffers: dict[socket.socket, bytes] = {}

    def run(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        print(listener.getsockname()[1], flush=True)
        while True:
            timeout = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    return
                key.data(key.fileobj)
            self._send_what_is_due()

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffers[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._close(connection)
            return
        buffer = self._buffers[connection] + data
        head, end, body = buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            self._buffers[connection] = buffer
            return
        self._buffers[connection] = b""
        if _STREAM.search(body):
            heappush(self._due, (time.monotonic(), connection.fileno(), connection, 0))
        else:
            connection.sendall(WHOLE)

    def _send_what_is_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            due, number, connection, at = heappop(self._due)
            try:
                connection.sendall(STREAM[at])
            except OSError:  # the client left
                continue
            if at + 1 < len(STREAM):
                heappush(self._due, (due + self._pace, number, connection, at + 1))

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._buffers[connection]
        connection.close()


if __name__ == "__main__":
    Server(float(sys.argv[1])).run()
