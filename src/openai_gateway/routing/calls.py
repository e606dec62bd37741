"""The values that travel between a face and the router: what is asked, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import attrs

Json = Any
"""A JSON value that is somebody else's and passes untouched."""


@attrs.frozen(kw_only=True)
class Call:
    """One request for generation.

    `body` is the OpenAI request body as the caller wrote it (`model` and `stream` in it are ignored: the router writes
    them). `deadline` is on trio's clock (seconds, `trio.current_time()`), None for the configured total alone.
    `whole`: the caller shows nothing before the end, so a stream that breaks in the middle may be started again
    (`Restarted`). `repair`: a parameter the model refuses may be mended (routing/repair.py), with a warning.
    """

    endpoint: str = "chat/completions"
    model: str
    body: Mapping[str, Json]
    deadline: float | None = None
    whole: bool = False
    repair: bool = False
    traceparent: str | None = None

    @classmethod
    def chat(cls, *, model: str, messages: Sequence[Mapping[str, Json]], **parameters: Json) -> Self:
        """A chat completion with `parameters` as further members of the body."""
        return cls(model=model, body={"messages": list(messages), **parameters})


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of one call, as the provider counted them."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    reasoning: int = 0


@attrs.frozen(kw_only=True)
class Served:
    """Who served a call, and what it took. Times are in seconds from the start of the call."""

    model: str
    target: str
    attempts: int
    warnings: tuple[str, ...] = ()
    usage: Usage | None = None
    request_id: str | None = None
    finish_reason: str | None = None
    first_byte: float | None = None
    elapsed: float = 0.0
    cost: float | None = None


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer: the upstream's body, untouched (`body` the bytes, `json` the same read)."""

    status: int
    body: bytes
    json: Mapping[str, Json]
    served: Served


@attrs.frozen(kw_only=True)
class Chunk:
    """One event of a stream: its `data` as the upstream wrote it, and the same read."""

    data: bytes
    json: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class Restarted:
    """All parts so far are void: the stream broke and begins again elsewhere (only for a call with `whole`)."""

    reason: str


@attrs.frozen(kw_only=True)
class Finished:
    """The last part of every stream that ended well."""

    served: Served


Part = Chunk | Restarted | Finished


@attrs.frozen(kw_only=True)
class Model:
    """One entry of the model list, `raw` as the provider gave it, under the name that a caller uses."""

    id: str
    owned_by: str
    created: int
    raw: Mapping[str, Json]
