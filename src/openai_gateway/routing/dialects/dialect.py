"""What a dialect is: how one kind of provider is asked and how its answers become OpenAI's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from openai_gateway.routing.calls import Call
from openai_gateway.routing.plan import Provider, Target
from openai_gateway.routing.repair import Repair
from openai_gateway.wire.sse import Event

Headers = tuple[tuple[str, str], ...]


@attrs.frozen(kw_only=True)
class UpstreamRequest:
    """One HTTP request, ready to be sent. Its repr shows neither the headers (a credential) nor the body (a prompt)."""

    method: str
    url: str
    headers: Headers = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen(kw_only=True)
class LocalAnswer:
    """The answer of a kind that lives in this process, as if over HTTP: `pieces` as a socket gives them."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...] = attrs.field(repr=False)


class Encode(Protocol):
    def __call__(
        self, call: Call, target: Target, *, stream: bool, changes: tuple[Repair, ...] = ()
    ) -> UpstreamRequest: ...


EventDecoder = Callable[[Event], Sequence[bytes]]
"""Gives for one event of the provider the `data` of the OpenAI chunks it becomes, `[DONE]` included."""


@attrs.frozen(kw_only=True)
class Dialect:
    """One row of the table of kinds.

    `answer` turns a whole answer's body into OpenAI's; `events` makes a fresh decoder for one stream. Where `respond`
    is not None the kind needs no network: it is asked instead.
    """

    kind: str
    encode: Encode
    models: Callable[[Provider], UpstreamRequest]
    answer: Callable[[bytes], bytes]
    events: Callable[[], EventDecoder]
    respond: Callable[[UpstreamRequest], LocalAnswer] | None = None
