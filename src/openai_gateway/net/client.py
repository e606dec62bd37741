"""Requests to any origin, over the connections of its pool; the answers are read as they come."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

import trio

from openai_gateway.net.connection import Connection, Content, NetError, Unsendable, Watch
from openai_gateway.net.pool import Limits, Place, Pool
from openai_gateway.net.tls import client_context
from openai_gateway.net.words import innermost
from openai_gateway.wire.http1 import AnswerHead, NotHttp, Sending

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host (a name or an IP address) and a port. Raises OSError."""

Around = Callable[[], AbstractContextManager[None]]
"""What stands around each wait for the peer."""

_SECONDS_TO_PROBE: Final = 60


class Origin(NamedTuple):
    """`scheme` is http or https; `host` a name in ASCII or an IP address, without brackets."""

    scheme: str
    host: str
    port: int


class Unreachable(NetError):
    """There is no connection: refused, unknown, or TLS does not trust it. The words name the address."""


async def open_tcp(host: str, port: int) -> trio.SocketStream:
    """To the address that answers first (RFC 8305). Probed when silent, so that no NAT forgets a model that thinks."""
    stream = await trio.open_tcp_stream(host, port)
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
    if hasattr(trio.socket, "TCP_KEEPIDLE"):  # not on every system; the default there is two hours
        stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPIDLE, _SECONDS_TO_PROBE)
    return stream


class Http11Client:
    """Sends requests and gives answers, never reading more than one piece ahead.

    `connect` opens the streams, so that a test needs no socket; TLS comes on top of whatever it gives. There is no
    time-out in here: whoever waits has a cancel scope around the wait, and what is cancelled has closed its connection
    before Cancelled goes on. A Watch tells the scope's owner which clock is to run.
    """

    def __init__(
        self, *, connect: OpenStream = open_tcp, tls: ssl.SSLContext | None = None, limits: Limits | None = None
    ) -> None:
        self._connect = connect
        self._tls = tls
        self._limits = Limits() if limits is None else limits
        self._pools: dict[Origin, Pool] = {}

    async def ask(
        self,
        origin: Origin,
        *,
        method: str,
        target: bytes,
        headers: Sequence[tuple[str, str]],
        body: Content,
        watch: Watch,
        fresh: bool = False,
    ) -> Answer:
        """The answer's head; then it is the caller's to close. Raises NetError.

        `headers` are sent as they are, and say Host and the length of the body. `fresh`: on a new connection.
        """
        request = _sending(method, target, headers)
        pool = self.pool(origin)
        place = await pool.take(watch, fresh=fresh)
        try:
            if place.connection is None:
                place.connection = await self._open(origin, watch)
                pool.refuse_if_closed()
            head = await place.connection.ask(request, body, watch)
        except BaseException:
            await place.aclose()
            raise
        return Answer(head, place, place.connection)

    async def aclose(self) -> None:
        """Close all connections, those in use as well."""
        for pool in self._pools.values():
            await pool.aclose()

    def pool(self, origin: Origin) -> Pool:
        """The connections to this origin. There are as many pools as the configuration has addresses."""
        if origin not in self._pools:
            self._pools[origin] = Pool(self._limits)
        return self._pools[origin]

    async def _open(self, origin: Origin, watch: Watch) -> Connection:
        watch.connecting()
        try:
            stream = await self._connect(origin.host, origin.port)
            if origin.scheme == "https":
                stream = await self._secured(stream, origin.host)
        # UnicodeError and ValueError: a name that the resolver or TLS cannot make sense of.
        except (OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            words = f"{origin.host}:{origin.port}: {innermost(error)}"
        else:
            return Connection(stream)
        raise Unreachable(words)

    async def _secured(self, stream: trio.abc.Stream, host: str) -> trio.abc.Stream:
        try:
            if self._tls is None:
                self._tls = client_context()
            secured = trio.SSLStream(stream, self._tls, server_hostname=host.removesuffix("."), https_compatible=True)
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


class Answer:
    """An answer that is being received. For one task at a time."""

    def __init__(self, head: AnswerHead, place: Place, connection: Connection) -> None:
        self._head = head
        self._place = place
        self._connection = connection
        self._over = False

    @property
    def status(self) -> int:
        return self._head.status

    @property
    def reason(self) -> bytes:
        return self._head.reason

    @property
    def http_version(self) -> bytes:
        """`1.1`, or what else the server said."""
        return self._head.version

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """As they came, names in their own letters."""
        return self._head.raw

    @property
    def headers(self) -> dict[str, str]:
        """With names in small letters; of a repeated one the values are joined by a comma."""
        return {name.decode("ascii"): _text(value) for name, value in self._head.fields.items()}

    async def read(self, around: Around) -> bytes:
        """Some of the body, as it comes; b"" after its end, and then the connection is kept. Raises NetError."""
        if self._over:
            return b""
        try:
            piece = await self._connection.piece(around)
        except BaseException:
            await self.aclose()
            raise
        if not piece:
            self._over = True
            await self._place.keep()
        return piece

    async def aclose(self) -> None:
        """Leave the rest, if there is any: then the connection is closed, at once."""
        self._over = True
        await self._place.aclose()


def _sending(method: str, target: bytes, headers: Sequence[tuple[str, str]]) -> Sending:
    try:
        return Sending(method, target, headers)
    except NotHttp as error:
        words = str(error)
    raise Unsendable(words)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
