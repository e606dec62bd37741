"""What is told of a call beside its answer: its record, and that it is still alive. No start needs to load it."""

from __future__ import annotations

import enum

import attrs

from openai_gateway.errors import GatewayError
from openai_gateway.routing.calls import Usage


@attrs.frozen(kw_only=True)
class Beat:
    """Nothing came for a while, and all is well: a sign of life for whoever waits at the other end."""


class Outcome(enum.Enum):
    """How a call ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    LEFT = "left"  # the caller went away


@attrs.frozen(kw_only=True)
class Account:
    """The record of one call: every call has exactly one, whatever became of it. It holds neither prompt nor answer.

    `asked` names the targets in the order in which they were asked, one entry an attempt. `usage` is all that was
    spent (US dollars in `cost`), broken attempts included; None where nothing was. `error` is that of a failed call.
    Times are in seconds from the start of the call.
    """

    endpoint: str
    model: str
    tenant: str | None
    outcome: Outcome
    asked: tuple[str, ...] = ()
    usage: Usage | None = None
    cost: float | None = None
    error: GatewayError | None = None
    cached: bool = False
    first_byte: float | None = None
    elapsed: float = 0.0
