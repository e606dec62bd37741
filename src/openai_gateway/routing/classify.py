"""From what came back to why it failed: a pure reading of an upstream's status, headers and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.attempts import Cause, Failure
from openai_gateway.routing.calls import Json
from openai_gateway.routing.error_words import MAX_MESSAGE, MAX_SUMMARY, Words, cut, error_in
from openai_gateway.routing.plan import Target
from openai_gateway.routing.retry_after import retry_after, should_retry
from openai_gateway.secret import Redactor

__all__ = ["classify_event", "classify_response", "error_in", "failure_of"]


def classify_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    target: Target,
    redactor: Redactor,
    wall: float,
) -> Failure:
    """The failure that an HTTP answer other than 2xx is.

    `headers` have lower-case names, `wall` is the time of day (seconds of the epoch, for Retry-After as a date), `body`
    as much of the body as was read. Nothing of it goes into the error unredacted.
    """
    words = Words.of_body(body, redactor)
    cause = _cause(status, words)
    seconds = retry_after(headers, wall)
    return Failure(
        cause=cause,
        error=attrs.evolve(_error(cause, status, words, target), retry_after=seconds),
        retry_after=seconds,
        should_retry=should_retry(headers),
        repair=words.refused_parameter() if cause is Cause.REPAIRABLE else None,
    )


def classify_event(json: Json, *, target: Target, redactor: Redactor) -> Failure:
    """The failure that an in-band error is: in a stream, or in an answer that came with status 200."""
    words = Words.of_json(json, redactor)
    status = _status_in_band(words)
    cause = _cause(status, words)
    return Failure(
        cause=cause,
        error=_error(cause, status, words, target),
        repair=words.refused_parameter() if cause is Cause.REPAIRABLE else None,
    )


def failure_of(cause: Cause, *, target: Target, redactor: Redactor, detail: str = "") -> Failure:
    """The failure of an attempt that has no answer of the upstream's to be read.

    `cause` is one of the rows of `_WITHOUT_ANSWER`; `detail` goes behind the colon: an exception's text, a clock's
    seconds, or what to set first.
    """
    kind, message, hint = _WITHOUT_ANSWER[cause]
    said = message.format(target=target.name)
    # Cut last: half a key would not be known as one any more.
    # What to set first are our own words, and what to do stands at their end.
    limit = MAX_MESSAGE if cause is Cause.NOT_CONFIGURED else MAX_SUMMARY
    words = f": {cut(redactor.redact(detail), limit)}" if detail else "."
    error = GatewayError(kind=kind, message=redactor.redact(said) + words, hint=_about(target, hint))
    return Failure(cause=cause, error=error)


def _about(target: Target, hint: str) -> str:
    """The hint, with what a person can set in the place of {url}, and what is to be found there in that of {api}."""
    provider = target.provider
    api = _APIS.get(provider.kind, "an OpenAI-compatible API")
    return hint.format(url=provider.url_set_by or f"the address of {provider.name}", api=api)


_APIS: Final = {"azure": "an Azure OpenAI resource", "anthropic": "Anthropic's Messages API"}
_WAIT_LONGER: Final = "Raise TIMEOUT, or first_byte in the model's row, if this model thinks long."
_CHECK_ADDRESS: Final = "Check {url}: it has to lead to {api}."
_CHECK_NETWORK: Final = "Check {url}, the network and the proxy."

_WITHOUT_ANSWER: Final[Mapping[Cause, tuple[Kind, str, str]]] = {
    Cause.CONNECT: (Kind.NETWORK, "No connection to {target}", _CHECK_NETWORK),
    Cause.RESET: (Kind.NETWORK, "The connection to {target} broke", ""),
    Cause.CUT: (Kind.UPSTREAM, "The answer of {target} broke off before its end", ""),
    Cause.MALFORMED: (Kind.UPSTREAM, "{target} sent no OpenAI answer", _CHECK_ADDRESS),
    Cause.TOO_LARGE: (Kind.UPSTREAM, "The answer of {target} is too large", ""),
    Cause.NOT_CONFIGURED: (Kind.CONFIGURATION, "{target} cannot be called", ""),
    Cause.CONNECT_CLOCK: (Kind.CONNECT_TIMEOUT, "No connection to {target} in time", _CHECK_NETWORK),
    Cause.FIRST_BYTE_CLOCK: (Kind.FIRST_BYTE_TIMEOUT, "{target} did not begin to answer in time", _WAIT_LONGER),
    Cause.IDLE_CLOCK: (Kind.IDLE_TIMEOUT, "{target} stopped in the middle of its answer", _WAIT_LONGER),
    Cause.TOTAL_CLOCK: (Kind.TOTAL_TIMEOUT, "The time for this call is up; {target} was being asked", ""),
}


_TOO_LONG: Final = (
    "context_length_exceeded", "exceed_context_size", "maximum context length", "context window", "context length",
    "prompt is too long", "exceeds the available context size", "exceed context limit",
)  # fmt: skip
_POLICY: Final = (
    "content_filter", "content_policy", "content policy", "content filtering policy", "responsibleaipolicyviolation",
    "moderation",
)  # fmt: skip
_NO_MODEL: Final = (
    "model_not_found", "invalid model name", "no such model", "model not found", "deploymentnotfound",
)  # fmt: skip
_NO_ACCESS: Final = ("model_access_denied", "not allowed to access model")  # LiteLLM, of its virtual keys and teams
_NO_MONEY: Final = (  # LiteLLM, LiteLLM, and Anthropic: no credit, a limit that the customer set or the contract has
    "budget_exceeded", "budget has been exceeded", "credit balance", "specified api usage limits",
    "spend_limit_reached",
)  # fmt: skip
_NO_KEY: Final = ("no_db_connection", "no connected db")  # LiteLLM without a database, of any key but its master key
_NO_QUOTA: Final = ("insufficient_quota", "billing_hard_limit", "exceeded your current quota", "credit")

_BY_WORDS: Final[tuple[tuple[frozenset[int], Cause, Callable[[Words], bool]], ...]] = (
    (frozenset({429}), Cause.QUOTA, lambda words: words.say(*_NO_QUOTA)),
    (frozenset({400, 429}), Cause.QUOTA, lambda words: words.say(*_NO_MONEY)),
    (frozenset({401, 403}), Cause.MODEL_NOT_ALLOWED, lambda words: words.say(*_NO_ACCESS)),
    (frozenset({400, 413, 422, 500}), Cause.CONTEXT_LENGTH, lambda words: words.say(*_TOO_LONG)),
    # Before the policy: the name of a model that is not there may hold its words ("omni-moderation").
    (frozenset({400, 403, 404, 422}), Cause.MODEL_NOT_FOUND, lambda words: words.say(*_NO_MODEL)),
    (frozenset({400, 403, 422}), Cause.CONTENT_POLICY, lambda words: words.say(*_POLICY)),
    (frozenset({400}), Cause.CREDENTIALS, lambda words: words.say(*_NO_KEY)),
    (frozenset({404}), Cause.MODEL_NOT_FOUND, lambda words: words.raw is not None and words.say("model")),
    (frozenset({400, 422}), Cause.REPAIRABLE, lambda words: words.refused_parameter() is not None),
)
"""Looked at first, in this order: some statuses mean several things, and only the words tell which."""

_BY_STATUS: Final[Mapping[int, Cause]] = {
    **dict.fromkeys((401, 402, 403), Cause.CREDENTIALS),
    **dict.fromkeys((408, 409), Cause.SERVER_ERROR),
    429: Cause.RATE_LIMITED,
}

_IN_BAND_STATUS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (429, ("rate_limit", "insufficient_quota", "too many requests")),
    (529, ("overloaded",)),
    (401, ("authentication_error", "invalid_api_key")),
    (402, ("billing_error",)),
    (403, ("permission_error",)),
    (404, ("not_found",)),
    (413, ("request_too_large",)),
    (400, ("invalid_request", "badrequest", "bad_request", "context_length", "content_filter", "content_policy")),
)


def _cause(status: int, words: Words) -> Cause:
    for statuses, cause, applies in _BY_WORDS:
        if status in statuses and applies(words):
            return cause
    if status < 400:  # a redirect, which is never followed: the host would be the upstream's choice and not ours
        return Cause.MALFORMED
    return _BY_STATUS.get(status, Cause.SERVER_ERROR if status >= 500 else Cause.REFUSED)


def _status_in_band(words: Words) -> int:
    """A status for an error that came without one: OpenRouter and llama.cpp write it into `code`; else by its words."""
    if words.code is not None and words.code.isdecimal() and 400 <= int(words.code) <= 599:
        return int(words.code)
    return next((status for status, needles in _IN_BAND_STATUS if words.say(*needles)), 500)


_KINDS: Final[Mapping[Cause, Kind]] = {
    Cause.RATE_LIMITED: Kind.RATE_LIMITED,
    Cause.QUOTA: Kind.QUOTA,
    Cause.MODEL_NOT_FOUND: Kind.MODEL_NOT_FOUND,
    Cause.CONTEXT_LENGTH: Kind.INVALID_REQUEST,
    Cause.CONTENT_POLICY: Kind.INVALID_REQUEST,
    Cause.REPAIRABLE: Kind.INVALID_REQUEST,
    Cause.REFUSED: Kind.INVALID_REQUEST,
}


def _error(cause: Cause, status: int, words: Words, target: Target) -> GatewayError:
    if cause is Cause.CREDENTIALS:
        return _credentials_rejected(status, words, target)
    if cause is Cause.MODEL_NOT_ALLOWED:  # with our 403, for some say 401
        return GatewayError(kind=Kind.PERMISSION, message=words.message, param=words.param, body=words.raw)
    if cause is Cause.MALFORMED:
        message = f"{target.name} answered {status}, a redirect; it is not followed."
        return GatewayError(kind=Kind.UPSTREAM, message=message, hint=_about(target, _CHECK_ADDRESS))
    kind = Kind.TOO_LARGE if status == 413 else _KINDS.get(cause, Kind.UPSTREAM)
    if words.raw is None:
        said = f": {words.message}" if words.message else "."
        own: dict[str, Any] = {"status": status} if status < 500 else {}
        return GatewayError(kind=kind, message=f"{target.name} answered {status}{said}", **own)
    # A 404 that is not about the model is about the path: a wrong base URL, or an api_version that Azure does not have.
    hint = _about(target, _CHECK_ADDRESS) if status == 404 and cause is Cause.REFUSED else ""
    return GatewayError(
        kind=kind,
        message=words.message,
        hint=hint,
        status=status,
        type=words.type or kind.type,
        code=words.code or kind.code,
        param=words.param,
        body=words.raw,
    )


def _credentials_rejected(status: int, words: Words, target: Target) -> GatewayError:
    """Never the upstream's 401: the caller would take it for a word about its own key."""
    provider = target.provider
    key = provider.api_key or provider.key_source
    said = f": {words.message}" if words.message else "."
    return GatewayError(
        kind=Kind.CREDENTIALS_REJECTED,
        message=f"{target.name} refused our credential ({status}){said}",
        hint=f"Check {key.name}." if key else f"Set {provider.key_set_by or f'an API key for {provider.name}'}.",
        body=words.raw,
    )
