"""A relay's memory: whose request is which on the other side, so that every one is answered once, under its own id."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import attrs

from openai_gateway.wire.strict import dumps
from openai_gateway_mcp.protocol import jsonrpc, params
from openai_gateway_mcp.protocol.dress import SUBSCRIPTION_ID
from openai_gateway_mcp.protocol.errors import INVALID_REQUEST
from openai_gateway_mcp.protocol.jsonrpc import Id

Json = Any
Message = dict[str, Json]


@attrs.frozen(kw_only=True, eq=False)
class Asked:
    """A request that the other side has. `number` is its id there; `message` is as it was sent there."""

    number: int
    id: Id
    message: Message

    @property
    def method(self) -> str:
        return str(self.message["method"])

    @property
    def is_modern(self) -> bool:
        """Whether it is of the era in which each request says its revision."""
        return params.VERSION in meta_of(self.message)


def meta_of(message: Mapping[str, Json]) -> Mapping[str, Json]:
    """The `_meta` of a message's params."""
    members = message.get("params")
    meta = members.get("_meta") if isinstance(members, dict) else None
    return meta if isinstance(meta, dict) else {}


class Switchboard:
    """Ids on the other side are numbers of our own, in the order of asking: a client's that comes back is another's."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, Asked] = {}
        self._number_of: dict[Id, int] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, id_: Id, message: Message) -> Asked | bytes:
        """A client's request as it goes on; or the answer to one whose id is in flight."""
        if id_ in self._number_of:
            return jsonrpc.error_bytes(id_, INVALID_REQUEST, "Invalid Request: this id is in flight already")
        number = next(self._numbers)
        asked = Asked(number=number, id=id_, message={**message, "id": number})
        self._asked[number] = asked
        self._number_of[id_] = number
        return asked

    def tell(self, message: Message) -> tuple[Message | None, Asked | None]:
        """A client's notification as it goes on, and the request that it withdraws. Nothing more is heard of that."""
        if message.get("method") != "notifications/cancelled":
            return message, None
        members = message.get("params")
        id_ = jsonrpc.read_id(members.get("requestId")) if isinstance(members, dict) else None
        number = None if id_ is None else self._number_of.get(id_)
        if number is None or not isinstance(
            members, dict
        ):  # answered already, or never asked: there the number would be somebody else's
            return None, None
        return {**message, "params": {**members, "requestId": number}}, self._forget(number)

    def hear(self, message: Message) -> bytes | None:
        """What the other side says, as the client is to read it; None for what concerns nobody any more."""
        if "method" not in message:
            return self._answer(message)
        tag = meta_of(message).get(SUBSCRIPTION_ID)
        if tag is None:
            return dumps(message)
        asked = self._asked.get(tag) if isinstance(tag, int) else None
        if asked is None:
            return None
        members = {**message["params"], "_meta": {**meta_of(message), SUBSCRIPTION_ID: asked.id}}
        if "requestId" in members:  # the end of a subscription, by the other side
            members["requestId"] = asked.id
        return dumps({**message, "params": members})

    def _answer(self, message: Message) -> bytes | None:
        number = message.get("id")
        if not isinstance(number, int) or number not in self._asked:
            return None
        asked = self._forget(number)
        result = message.get("result")
        if isinstance(result, dict) and isinstance(meta := result.get("_meta"), dict) and SUBSCRIPTION_ID in meta:
            message = {**message, "result": {**result, "_meta": {**meta, SUBSCRIPTION_ID: asked.id}}}
        return dumps({**message, "id": asked.id})

    def fail(self, asked: Asked, code: int, words: str) -> bytes | None:
        """An error of our own for a request that will not be answered; None if it has been, or is withdrawn."""
        if asked.number not in self._asked:
            return None
        return jsonrpc.error_bytes(self._forget(asked.number).id, code, words)

    def fail_all(self, code: int, words: str) -> list[bytes]:
        """The same for all that the other side had."""
        return [jsonrpc.error_bytes(self._forget(number).id, code, words) for number in list(self._asked)]

    def _forget(self, number: int) -> Asked:
        asked = self._asked.pop(number)
        del self._number_of[asked.id]
        return asked
