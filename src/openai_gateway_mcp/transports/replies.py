"""What a POST is answered with: one JSON object, a stream of events, or an error in JSON-RPC's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from openai_gateway.net.listener import Exchange, Request
from openai_gateway.wire.sse import encode, encode_comment
from openai_gateway_mcp.protocol import over_http
from openai_gateway_mcp.protocol.connection import Outgoing
from openai_gateway_mcp.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR, Fault
from openai_gateway_mcp.protocol.events import Era
from openai_gateway_mcp.protocol.jsonrpc import error_bytes

Fields = Sequence[tuple[str, str]]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
_STREAM_FIELDS: Final = (
    ("content-type", EVENTS),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # nginx passes each event on at once
)
JSON_FIELDS: Final = (("content-type", JSON), ("cache-control", "no-store"))


class Reply:
    """The answer to one POST: a JSON object where all is said at once, and a stream of events where it is not."""

    def __init__(self, exchange: Exchange, accepts: Accepts, era: Era, fields: Fields) -> None:
        self._exchange = exchange
        self._accepts = accepts
        self._era = era
        self._fields = fields
        self._held: list[Outgoing] = []  # for a client that takes no events

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Some of it, and more will come."""
        if not messages:
            return
        if not self._accepts.events:
            self._held += (message for message in messages if message.is_response)
            return
        await self._begin()
        await self._exchange.send(b"".join(map(_event, messages)))

    async def beat(self) -> None:
        """A sign of life."""
        if self._accepts.events:
            await self._begin()
            await self._exchange.send(encode_comment())

    async def end(self, messages: Sequence[Outgoing]) -> None:
        """The last of it."""
        if self._exchange.begun or (messages and not self._fits_json(messages)):
            await self._begin()
            await self._exchange.send(b"".join(map(_event, messages)))
            await self._exchange.finish()
            return
        responses = [message for message in (*self._held, *messages) if message.is_response]
        if not responses:  # there was nothing to answer, or what there was is cancelled
            await self._exchange.answer(202)
            return
        last = responses[-1]
        status = 200 if last.code is None else over_http.status_of(last.code, self._era)
        await self._exchange.answer(status, (*JSON_FIELDS, *self._fields), last.data)

    def _fits_json(self, messages: Sequence[Outgoing]) -> bool:
        if not self._accepts.events:
            return True
        return self._accepts.json and all(message.is_response for message in messages)

    async def _begin(self) -> None:
        if not self._exchange.begun:
            await self._exchange.begin(200, (*_STREAM_FIELDS, *self._fields))


@attrs.frozen
class Accepts:
    """What the client takes for an answer. One that names neither, or says nothing, gets JSON."""

    json: bool
    events: bool

    @classmethod
    def of(cls, request: Request) -> Accepts:
        """Raises Refused (406) for a client that takes neither."""
        fields = request.headers.all("accept")
        if not fields:
            return cls(json=True, events=False)
        ranges = {part.partition(";")[0].strip().lower() for field in fields for part in field.split(",")}
        accepts = cls(json=bool(ranges & {JSON, "application/*", "*/*"}), events=EVENTS in ranges)
        if not (accepts.json or accepts.events):
            words = f"Accept must allow {JSON} or {EVENTS}; a client of MCP names both"
            raise over_http.refusal(406, Fault(INVALID_REQUEST, words))
        return accepts


def _event(message: Outgoing) -> bytes:
    return encode(message.data, name="message")


async def answer_document(exchange: Exchange, status: int, document: bytes) -> None:
    """A JSON document that is for reading only."""
    if exchange.request.method not in {"GET", "HEAD"}:
        await answer_error(exchange, 405, "This is for reading only.", [("allow", "GET, HEAD")])
        return
    await exchange.answer(status, JSON_FIELDS, document)


async def answer_error(
    exchange: Exchange,
    status: int,
    words: str,
    fields: Sequence[tuple[str, str]] = (),
    *,
    code: int = INVALID_REQUEST,
) -> None:
    await exchange.answer(status, (*JSON_FIELDS, *fields), error_bytes(None, code, words))


def refuse(status: int, words: str) -> tuple[Fields, bytes]:
    """The answers that the listener gives by itself, in JSON-RPC's form."""
    # A body that is too long is what a line that is too long is on stdio.
    code = INTERNAL_ERROR if status >= 500 else PARSE_ERROR if status == 413 else INVALID_REQUEST
    return JSON_FIELDS, error_bytes(None, code, words)
