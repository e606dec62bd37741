"""A bare gateway with the usual library: h11 on trio sockets, both sides, and nothing read, checked or kept.

`passthrough.py PORT NAME=UPSTREAM...`: a request to /NAME/… goes to 127.0.0.1:UPSTREAM, with its own path after that.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from functools import partial

import h11
import trio

_OWN = {b"host", b"connection", b"transfer-encoding", b"content-length"}


class Upstream:
    """Connections to one address, kept when an answer is over."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[trio.SocketStream, h11.Connection]] = []

    async def ask(self, target: bytes, asked: h11.Request, body: bytes) -> tuple[h11.Response, bytes]:
        """The answer, whole."""
        stream, http = self._idle.pop() if self._idle else await self._connect()
        headers = [field for field in asked.headers if field[0] not in _OWN]
        headers += [(b"host", b"127.0.0.1"), (b"content-length", b"%d" % len(body))]
        request = h11.Request(method=asked.method, target=target, headers=headers)
        await stream.send_all(_joined(http, request, h11.Data(data=body), h11.EndOfMessage()))
        answer, pieces = await _received(stream, http)
        http.start_next_cycle()
        self._idle.append((stream, http))
        if not isinstance(answer, h11.Response):
            raise ConnectionError("the upstream sent no answer")
        return answer, pieces

    async def _connect(self) -> tuple[trio.SocketStream, h11.Connection]:
        return await trio.open_tcp_stream("127.0.0.1", self._port), h11.Connection(h11.CLIENT)


async def serve(upstreams: Mapping[bytes, Upstream], stream: trio.SocketStream) -> None:
    """Pass on one client's requests, until it goes."""
    with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):  # it went in the middle
        await _serve(upstreams, stream)


async def _serve(upstreams: Mapping[bytes, Upstream], stream: trio.SocketStream) -> None:
    http = h11.Connection(h11.SERVER)
    while http.our_state is not h11.MUST_CLOSE:
        asked, body = await _received(stream, http)
        if not isinstance(asked, h11.Request):
            return
        name, _, rest = asked.target[1:].partition(b"/")
        if name not in upstreams:
            response, content = h11.Response(status_code=404, headers=[(b"content-length", b"0")]), b""
        else:
            answer, content = await upstreams[name].ask(b"/" + rest, asked, body)
            headers = [field for field in answer.headers if field[0] not in _OWN]
            headers.append((b"content-length", b"%d" % len(content)))
            response = h11.Response(status_code=answer.status_code, headers=headers)
        await stream.send_all(_joined(http, response, h11.Data(data=content), h11.EndOfMessage()))
        if http.our_state is h11.DONE:
            http.start_next_cycle()


async def _received(stream: trio.SocketStream, http: h11.Connection) -> tuple[h11.Event | None, bytes]:
    """A message's head and its body; None for a connection that is over."""
    head, body = None, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.Request | h11.Response):
            head = event
        else:
            return head, bytes(body)


def _joined(http: h11.Connection, *events: h11.Event) -> bytes:
    return b"".join(http.send(event) or b"" for event in events)


async def main(port: int, upstreams: Mapping[bytes, Upstream]) -> None:
    """Serve on a port of this machine."""
    await trio.serve_tcp(partial(serve, upstreams), port, host="127.0.0.1")


if __name__ == "__main__":
    pairs = (said.partition("=") for said in sys.argv[2:])
    trio.run(main, int(sys.argv[1]), {name.encode(): Upstream(int(upstream)) for name, _, upstream in pairs})
