"""What a dialect is: how one kind of provider is asked and how its answers become OpenAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

from openai_gateway.routing.calls import Call, Json
from openai_gateway.routing.forms import Form
from openai_gateway.routing.plan import Provider, Target
from openai_gateway.routing.repair import Repair
from openai_gateway.wire.sse import Event

Headers = tuple[tuple[str, str], ...]


@attrs.frozen(kw_only=True)
class UpstreamRequest:
    """One HTTP request, ready to be sent. Its repr shows neither the headers (a credential) nor the body (a prompt).

    The names of `headers` are in small letters. Where there is a `form` it is sent, and no `body`. `warnings` names
    what of the call it does not carry, for `Served.warnings`.
    """

    method: str
    url: str
    headers: Headers = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    form: Form | None = attrs.field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Of what is sent, in bytes."""
        return len(self.body) if self.form is None else self.form.size


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


def same(entry: Mapping[str, Json]) -> Mapping[str, Json]:
    """The entry of a kind that lists its models as OpenAI does."""
    return entry


@attrs.frozen(kw_only=True)
class Dialect:
    """One row of the table of kinds.

    `encode` raises GatewayError (INVALID_REQUEST) where the kind cannot do what the call asks. `models` is the request
    for its list, None where the kind lists nothing that could be asked; `listed` turns an entry of it into OpenAI's.
    `answer` turns a whole answer's body into OpenAI's; `events` makes a fresh decoder for one stream. Where `respond`
    is not None the kind needs no network: it is asked instead.
    """

    kind: str
    encode: Encode
    models: Callable[[Provider], UpstreamRequest] | None
    answer: Callable[[bytes], bytes]
    events: Callable[[], EventDecoder]
    listed: Callable[[Mapping[str, Json]], Mapping[str, Json]] = same
    respond: Callable[[UpstreamRequest], LocalAnswer] | None = None
