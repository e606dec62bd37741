"""The values that travel between a face and the router: what is asked, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

if TYPE_CHECKING:  # no start needs to load them
    from openai_gateway.routing.forms import Upload
    from openai_gateway.routing.limits import Left, Limits

Json = Any
"""A JSON value that is somebody else's and passes untouched."""

_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")  # Stripe's bound, whom all others follow


@attrs.frozen(kw_only=True)
class Call:
    """One request, most often for generation.

    `body` is the OpenAI request body as the caller wrote it (`model` and `stream` in it are ignored: the router writes
    them). `deadline` is on trio's clock (seconds, `trio.current_time()`), None for the configured total alone.
    `whole`: the caller shows nothing before the end, so a stream that breaks in the middle may be started again
    (`Restarted`). `repair`: a parameter the model refuses may be mended (routing/repair.py), with a warning.
    `idempotency_key` is passed on where a header can carry it; with it a request that stores something may be sent
    again. `tenant` is who asks:
    only a call that has one may be answered from the cache, and only with what the same tenant got. `cache` None: where
    the temperature is 0; True and False are the caller's own word.
    `upload` makes it a form, of which `body` are the fields. `provider` is the name of the one to ask where no model
    says so, for files and batches: then `model` is "" and the body passes as it is. `method` is that of HTTP.
    `limits` are the caller's own, beside those of the model rows; `models` the globs of the names that it may use, of
    fallbacks too (None: all). `id` is the request's, for the ledger.
    """

    endpoint: str = "chat/completions"
    model: str
    body: Mapping[str, Json]
    method: str = "POST"
    provider: str | None = None
    upload: Upload | None = None
    deadline: float | None = None
    whole: bool = False
    repair: bool = False
    traceparent: str | None = None
    idempotency_key: str | None = None
    tenant: str | None = None
    cache: bool | None = None
    limits: Limits | None = None
    models: tuple[str, ...] | None = None
    id: str = ""

    @classmethod
    def chat(cls, *, model: str, messages: Sequence[Mapping[str, Json]], **parameters: Json) -> Self:
        """A chat completion with `parameters` as further members of the body."""
        return cls(model=model, body={"messages": list(messages), **parameters})

    @property
    def sent_idempotency_key(self) -> str | None:
        """The key as it is passed on; one that a header cannot carry protects nothing."""
        key = self.idempotency_key
        return key if key is not None and _IDEMPOTENCY_KEY.fullmatch(key) else None

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent once more to an upstream that may have carried it out."""
        from openai_gateway.routing.endpoints import endpoint_of  # noqa: PLC0415 - no start needs the table

        is_safe = self.method == "GET" or endpoint_of(self.endpoint).generates
        return is_safe or self.sent_idempotency_key is not None


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of one call, as the provider counted them, or `estimated` by us where it did not."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    reasoning: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached_input=self.cached_input + other.cached_input,
            reasoning=self.reasoning + other.reasoning,
            estimated=self.estimated or other.estimated,
        )


@attrs.frozen(kw_only=True)
class Served:
    """Who served a call, and what it took. Times are in seconds from the start of the call.

    `usage` is that of the answer, `cost` (US dollars) that of the whole call: attempts that broke off and were thrown
    away are paid for too. `continued`: another target went on with an answer that was cut. `cached`: nobody was asked.
    `left`: how the caller's own limits stood when the call was let in, `limits` what the upstream said of its own, as
    header fields. `overhead`: seconds of `elapsed` in which no
    upstream was waited for.
    """

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
    continued: bool = False
    cached: bool = False
    left: tuple[Left, ...] = ()
    overhead: float = 0.0
    limits: tuple[tuple[str, str], ...] = ()


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer: the upstream's body, untouched (`body` the bytes, `json` the same read).

    Of an answer that is no JSON, such as sound, `json` is empty, and `content_type` says what it is.
    """

    status: int
    body: bytes
    json: Mapping[str, Json]
    served: Served
    content_type: str = "application/json"


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
