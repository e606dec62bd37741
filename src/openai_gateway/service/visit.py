"""One request on its way through the service."""

from __future__ import annotations

from openai_gateway.net.listener import Exchange
from openai_gateway.routing.calls import Reply
from openai_gateway.routing.virtual_keys import VirtualKey
from openai_gateway.service.asking import request_id
from openai_gateway.service.guard import ANYBODY
from openai_gateway.service.replies import JSON, Fields, json_body, plain, served_fields
from openai_gateway.service.routes import Match, Route


class Visit:
    """Whose request it is, which row it matched, and what every answer to it says."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.id = request_id(exchange.request)
        self.fields: Fields = [("x-request-id", self.id)]
        self.key: VirtualKey = ANYBODY
        self.match: Match | None = None

    @property
    def route(self) -> Route:
        """The row, for a handler: whoever gets here has matched one."""
        assert self.match is not None  # noqa: S101 - as said
        return self.match.route

    @property
    def target(self) -> str:
        """What stands for the `{id}` of the row."""
        return "" if self.match is None else self.match.id

    async def answer_json(self, value: object, status: int = 200) -> None:
        await self.exchange.answer(status, [JSON, *self.fields], json_body(value))

    async def pass_on(self, reply: Reply) -> None:
        """The provider's answer, untouched."""
        headers = [("content-type", plain(reply.content_type)), *self.fields, *served_fields(reply.served)]
        await self.exchange.answer(reply.status, headers, reply.body)
