"""MCP over Streamable HTTP: one POST a message, answered by a JSON object or a stream of events, in both eras.

https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http

No state is kept between two requests but who is in flight, so that a legacy client's cancellation finds its call.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import trio

from openai_gateway.errors import GatewayError
from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import Exchange, Request
from openai_gateway_mcp.protocol import over_http
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import INVALID_REQUEST, OVERLOADED, Fault
from openai_gateway_mcp.protocol.events import Era, Remark, TasksWatched, Work
from openai_gateway_mcp.protocol.jsonrpc import Batch, Id, Notification, read_id
from openai_gateway_mcp.protocol.jsonrpc import Request as RpcRequest
from openai_gateway_mcp.protocol.model import Result, Server
from openai_gateway_mcp.protocol.over_http import Posted, Refused
from openai_gateway_mcp.protocol.rounds import Seal
from openai_gateway_mcp.transports.callers import Caller, Unauthorized, Verifier
from openai_gateway_mcp.transports.calls import Handler, Reporter
from openai_gateway_mcp.transports.posts import Post
from openai_gateway_mcp.transports.replies import (
    EVENTS,
    JSON,
    JSON_FIELDS,
    Accepts,
    Reply,
    answer_document,
    answer_error,
)

PATH: Final = "/mcp"
HEALTH: Final = "/health"
_OLD_TRANSPORT: Final = "HTTP+SSE of 2024-11-05 is not served; use Streamable HTTP (2025-03-26 and later)"
_OLD_PATHS: Final = ("/sse", "/messages", "/message")

MAX_WAITING: Final = 4_096  # calls that wait for their turn; the stdio server parks as many
MAX_LISTENS: Final = 1_024
KEEP_ALIVE: Final = 15.0  # seconds of silence after which a stream says that it lives

_SESSION: Final = re.compile(r"[\x21-\x7e]{1,256}")

Key = tuple[str, str, Id]
"""By what a legacy cancellation finds its call: the caller's identity, the session's id, the request's id."""


class Application(Protocol):
    """What is served, to whom."""

    def server_for(self, caller: Caller) -> Server:
        """All that this caller is shown; the same object for as long as it is the same."""
        ...

    def handler_for(self, caller: Caller) -> Handler:
        """What answers this caller's calls."""
        ...

    def missing_scope(self, caller: Caller, tool: str) -> str | None:
        """The scope that this caller lacks for a tool that there is; None where it lacks none."""
        ...


class Endpoint:
    """The handler of a listener that serves MCP at `path`, and its health beside it.

    `max_in_flight`: calls that run at once, of all callers together; more wait, in order. `keep_alive`, `grace`:
    seconds of silence in a stream until a sign of life, and for the calls of a WebSocket once the server drains.
    """

    def __init__(
        self,
        application: Application,
        *,
        verify: Verifier,
        admission: Admission,
        remark: Callable[[Remark], None],
        max_message_bytes: int = 16 * 2**20,
        max_in_flight: int = 256,
        path: str = PATH,
        keep_alive: float = KEEP_ALIVE,
        grace: float = 30.0,
        documents: Mapping[str, bytes] | None = None,
        metadata_url: str = "",
        seal: Seal | None = None,
    ) -> None:
        """`documents`: path → a JSON document for anybody, such as RFC 9728's, whose address is `metadata_url`.

        `seal`: see Connection; without one it is made for this process alone.
        """
        self._application = application
        self._verify = verify
        self._admission = admission
        self._remark = remark
        self._max_message_bytes = max_message_bytes
        self._turns = trio.Semaphore(max_in_flight)
        self._path = path
        self._keep_alive = keep_alive
        self._documents = documents or {}
        self._metadata_url = metadata_url
        self._seal = seal or Seal(os.urandom(32), now=time.time)
        self._in_flight: dict[Key, Post] = {}
        self._listening: dict[Post, Caller] = {}
        self._sessions: dict[trio.MemorySendChannel[Server], Caller] = {}  # those of WebSockets
        self._draining = trio.Event()
        self._max_in_flight = max_in_flight
        self._grace = grace

    async def handle(self, exchange: Exchange) -> None:
        """One request of HTTP, answered."""
        try:
            self._admission.check(exchange.request)
            await self._route(exchange)
        except GatewayError as error:
            await answer_error(exchange, 403, error.message)
        except Unauthorized as error:
            exchange.close_after()  # its body was not read, and is nothing to spend time on
            fields = [("www-authenticate", error.challenge)] if error.challenge else [("retry-after", "5")]
            await answer_error(exchange, error.status, error.words, fields)
        except Refused as refused:
            await exchange.answer(refused.status, JSON_FIELDS, refused.body)

    def drain(self) -> None:
        """Take no new message, and end the listens, each with its result."""
        self._draining.set()
        for run in self._listening:
            run.end()

    def offer(self) -> None:
        """What is served has changed: whoever listens is told."""
        for run, caller in self._listening.items():
            run.connection.offer(self._application.server_for(caller))
            run.flush()
        for changes, caller in self._sessions.items():
            changes.send_nowait(self._application.server_for(caller))

    # --- what is asked ----------------------------------------------------------------------------------------------

    async def _route(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.path == self._path:
            await self._answer_mcp(exchange)
        elif request.path == HEALTH:
            await self._answer_health(exchange)
        elif (document := self._documents.get(request.path)) is not None:
            await answer_document(exchange, 200, document)
        elif request.path in _OLD_PATHS:
            await answer_error(exchange, 404, f"{_OLD_TRANSPORT}: POST {self._path}.")
        else:
            await answer_error(exchange, 404, f"There is nothing here; MCP is at {self._path}.")

    async def _answer_health(self, exchange: Exchange) -> None:
        is_draining = self._draining.is_set()
        status = "draining" if is_draining else "ok"
        await answer_document(exchange, 503 if is_draining else 200, b'{"status":"%b"}' % status.encode())

    async def _answer_mcp(self, exchange: Exchange) -> None:
        caller = await self._verify(exchange.request)
        if self._draining.is_set():
            await answer_error(exchange, 503, "The server is stopping.", [("retry-after", "1")], code=OVERLOADED)
        elif _wants_websocket(exchange.request):
            await self._converse(exchange, caller)
        elif exchange.request.method != "POST":
            words = (
                "Streams that a client opens by itself (GET), and sessions that it ends (DELETE), are not served: "
                f"each message is a POST. {_OLD_TRANSPORT}."
            )
            await answer_error(exchange, 405, words, [("allow", "POST")])
        else:
            await self._answer_post(exchange, caller)

    async def _answer_post(self, exchange: Exchange, caller: Caller) -> None:
        request = exchange.request
        _check_content_type(request)
        accepts = Accepts.of(request)
        body = await exchange.body(self._max_message_bytes)
        posted = over_http.read_post(body, _fields(request), self._application.server_for(caller))
        message = posted.message
        if isinstance(message, Notification):
            self._take_notification(message, caller, request)
            await exchange.answer(202)
        elif isinstance(message, RpcRequest | Batch):
            self._check_scope(message, caller)
            await self._serve(exchange, caller, message, posted, accepts=accepts, size=len(body))
        else:  # an answer to a request that we never made
            await exchange.answer(202)

    def _check_scope(self, message: RpcRequest | Batch, caller: Caller) -> None:
        if isinstance(message, Batch) or message.method != "tools/call" or caller.tools is None:
            return
        name = message.params.get("name")
        scope = self._application.missing_scope(caller, name) if isinstance(name, str) else None
        if scope is not None:
            words = "The token does not cover this tool."
            where = f', resource_metadata="{self._metadata_url}"' if self._metadata_url else ""
            raise Unauthorized(403, f'Bearer error="insufficient_scope", scope="{scope}"{where}', words)

    def _take_notification(self, message: Notification, caller: Caller, request: Request) -> None:
        """Only a cancellation does anything, and only to the same caller's call of the same session."""
        session = _session(request)
        id_ = read_id(message.params.get("requestId"))
        if message.method != "notifications/cancelled" or session is None or id_ is None:
            return
        run = self._in_flight.get((caller.identity, session, id_))
        if run is not None:
            run.receive(message, 0)

    async def _converse(self, exchange: Exchange, caller: Caller) -> None:
        try:
            from openai_gateway_mcp.transports.websocket import serve_websocket  # noqa: PLC0415 - an extra
        except ImportError:
            words = "WebSockets need the extra: pip install 'openai-gateway-mcp[websocket]'."
            await answer_error(exchange, 501, words)
            return
        connection = Connection(
            self._application.server_for(caller),
            max_message_bytes=self._max_message_bytes,
            max_in_flight=self._max_in_flight,
            seal=self._seal,
            principal=caller.identity,
        )
        changes, offers = trio.open_memory_channel[Server](math.inf)
        self._sessions[changes] = caller
        try:
            await serve_websocket(
                exchange,
                connection,
                self._in_turn(self._application.handler_for(caller)),
                remark=self._remark,
                drain=self._draining,
                grace=self._grace,
                offers=offers,
            )
        finally:
            del self._sessions[changes]

    # --- one message in work ----------------------------------------------------------------------------------------

    async def _serve(
        self,
        exchange: Exchange,
        caller: Caller,
        message: RpcRequest | Batch,
        posted: Posted,
        *,
        accepts: Accepts,
        size: int,
    ) -> None:
        is_listen = isinstance(message, RpcRequest) and message.method == "subscriptions/listen"
        if is_listen:
            self._check_listen(accepts)
        connection = Connection(
            self._application.server_for(caller),
            max_message_bytes=self._max_message_bytes,
            legacy=posted.legacy,
            says_cancelled=False,
            seal=self._seal,
            principal=caller.identity,
        )
        handler = self._in_turn(self._application.handler_for(caller))
        keys = self._free_keys(message, caller, exchange.request)
        async with trio.open_nursery() as calls:
            run = Post(connection, handler, calls, self._remark)
            self._in_flight.update(dict.fromkeys(keys, run))
            if is_listen:
                self._listening[run] = caller
            try:
                run.receive(message, size)
                reply = Reply(exchange, accepts, posted.era, _new_session(message, posted))
                await self._relay(run, reply)
            finally:
                self._listening.pop(run, None)
                for key in keys:
                    del self._in_flight[key]

    def _check_listen(self, accepts: Accepts) -> None:
        if not accepts.events:
            raise over_http.refusal(406, Fault(INVALID_REQUEST, f"Accept must allow {EVENTS} for a subscription"))
        if self._draining.is_set():  # it was not when the head came, and nobody would end it now
            raise over_http.refusal(503, Fault(OVERLOADED, "The server is stopping."))
        if len(self._listening) >= MAX_LISTENS:
            raise over_http.refusal(503, Fault(OVERLOADED, f"At most {MAX_LISTENS} subscriptions may be open"))

    def _in_turn(self, handler: Handler) -> Handler:
        async def in_turn(work: Work, reporter: Reporter) -> Result:
            if isinstance(work, TasksWatched):
                return await handler(work, reporter)  # as long as its subscription, which has a limit of its own
            if self._turns.statistics().tasks_waiting >= MAX_WAITING:
                raise Fault(OVERLOADED, "Too many calls are waiting; try again when some are answered")
            async with self._turns:
                return await handler(work, reporter)

        return in_turn

    def _free_keys(self, message: RpcRequest | Batch, caller: Caller, request: Request) -> Sequence[Key]:
        """By which a cancellation will find it. Raises Refused where another request with its id is in flight."""
        session = _session(request)
        if session is None:
            return ()
        ids = _ids(message)
        keys = list(dict.fromkeys((caller.identity, session, id_) for id_ in ids))
        if any(key in self._in_flight for key in keys):
            fault = Fault(INVALID_REQUEST, "Invalid Request: this id is in flight already")
            raise over_http.refusal(400, fault, ids[0] if len(ids) == 1 else None)
        return keys

    async def _relay(self, run: Post, reply: Reply) -> None:
        """From the connection to the client, until all is answered."""
        while True:
            messages = run.take()
            if run.connection.is_settled:
                await reply.end(messages)
                return
            await reply.send(messages)
            with trio.move_on_after(self._keep_alive) as silence:
                await run.news.wait()
            if silence.cancelled_caught:
                await reply.beat()


def _wants_websocket(request: Request) -> bool:
    upgrades = {part.strip().lower() for field in request.headers.all("upgrade") for part in field.split(",")}
    return request.method == "GET" and "websocket" in upgrades


def _check_content_type(request: Request) -> None:
    values = request.headers.all("content-type")
    kind, _, parameter = (values[0] if len(values) == 1 else "").partition(";")
    charset = parameter.strip().lower().replace('"', "")
    if kind.strip().lower() != JSON or charset not in {"", "charset=utf-8"}:
        raise over_http.refusal(415, Fault(INVALID_REQUEST, f"Content-Type must be {JSON}, in UTF-8"))


def _fields(request: Request) -> over_http.Fields:
    found: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        if name.startswith("mcp-"):
            found.setdefault(name, []).append(value)
    return found


def _session(request: Request) -> str | None:
    values = request.headers.all(over_http.SESSION)
    return values[0] if len(values) == 1 and _SESSION.fullmatch(values[0]) else None


def _new_session(message: RpcRequest | Batch, posted: Posted) -> Sequence[tuple[str, str]]:
    """A legacy `initialize` is given a session's id. Nothing is stored for it: it only tells two clients apart."""
    is_opening = isinstance(message, RpcRequest) and message.method == "initialize" and posted.era is Era.LEGACY
    return [(over_http.SESSION, secrets.token_urlsafe(24))] if is_opening else ()


def _ids(message: RpcRequest | Batch) -> Sequence[Id]:
    if isinstance(message, RpcRequest):
        return [message.id]
    ids = (read_id(entry.get("id")) for entry in message.entries if isinstance(entry, dict))
    return [id_ for id_ in ids if id_ is not None]
