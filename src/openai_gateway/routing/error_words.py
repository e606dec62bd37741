"""Reads what an upstream says about its failure, in the several shapes in which upstreams say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self

import attrs

from openai_gateway.routing.calls import Json
from openai_gateway.routing.repair import REPAIRS
from openai_gateway.secret import Redactor
from openai_gateway.wire.strict import JsonError, dumps, loads

MAX_MESSAGE: Final = 2_000
MAX_SUMMARY: Final = 200
MAX_RAW: Final = 16 * 1024
"""Characters of JSON; a larger error object is not passed on. FastAPI's quotes the whole request back."""

# Each can be matched from any place in one go: an upstream that sends only beginnings must not cost quadratic time.
_TAGS: Final = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]*)</title>", re.IGNORECASE)
_PATH: Final = re.compile(r"(?!anthropic_messages: )([a-z_]+(?:\.[A-Za-z0-9_]+)*): ")  # LiteLLM has its route there
_REFUSES: Final = re.compile(
    r"unsupported|not supported|(?:does not|doesn't) support|not permitted|not allowed|unrecognized|unexpected"
    r"|unknown (?:parameter|argument|field)|deprecated|must be verified to stream|cannot both be specified",
    re.IGNORECASE,
)


@attrs.frozen(kw_only=True)
class Words:
    """An error as the upstream put it, redacted.

    `raw` is its error object: None where it sent no such thing, {} where it is too large to be passed on.
    """

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    raw: Mapping[str, Json] | None = None

    @classmethod
    def of_body(cls, body: bytes, redactor: Redactor) -> Self:
        """Of an HTTP answer: an OpenAI error, one of its relatives, or a text or page, of which only a line is kept."""
        try:
            value = loads(body)
        except JsonError:
            return cls(message=_summary(body, redactor))
        if isinstance(value, list) and value:  # Google's OpenAI endpoint wraps its error in a list
            value = value[0]
        return cls.of_json(value, redactor)

    @classmethod
    def of_json(cls, value: Json, redactor: Redactor) -> Self:
        error = error_in(value)
        if error is None:
            return cls(message=cut(redactor.redact(dumps(value).decode())))
        clean = redactor.redact_json(_looked_at(error))
        if isinstance(clean, str):
            return cls(message=cut(clean))
        message = clean.get("message") or clean.get("detail") or clean
        words = message if isinstance(message, str) else redactor.redact(dumps(message).decode())
        is_anthropic = value.get("type") == "error"
        return cls(
            message=cut(words),
            type=_text(clean.get("type")),
            code=_text(clean.get("code")) or (_anthropic_code(clean) if is_anthropic else None),
            param=_text(clean.get("param")) or (_leading_path(words) if is_anthropic else None),
            raw=clean if len(dumps(clean)) <= MAX_RAW else {},
        )

    def say(self, *needles: str) -> bool:
        """Whether the code, the type or the message holds one of the needles (in small letters)."""
        said = f"{self.code} {self.type} {self.message}".lower()
        return any(needle in said for needle in needles)

    def refused_parameter(self) -> str | None:
        """The parameter of the repair table that is refused as such (not merely out of range)."""
        codes = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
        if self.code not in codes and not _REFUSES.search(self.message):
            return None
        if self.param is not None:
            name = re.split(r"[.\s]+", self.param.strip())[-1]
            return name if name in REPAIRS else None
        return next(_mentioned(self.message), None)


_OF_BARE_ERROR: Final = frozenset({"detail", "message", "code", "type", "param", "statusCode"})  # statusCode: Azure


def error_in(value: Json) -> Mapping[str, Any] | str | None:
    """The error that a JSON body is, or holds; None for an answer.

    Known shapes: {"error": {…}}, {"error": "…"}, {"object": "error", …} (older vLLM), {"detail": …} (FastAPI),
    {"type": "error", "error": {…}} (Anthropic), {"choices": [{"error": {…}, …}]} (OpenRouter, once the model began),
    {"type": "error", "message": …} and {"type": "response.failed", "response": {"error": {…}}} (the Responses API).
    """
    if not isinstance(value, dict):
        return None
    response = value.get("response")
    of_response = response.get("error") if isinstance(response, dict) else None
    choices = value.get("choices")
    of_choices = [one.get("error") for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    for error in (value.get("error"), of_response, *of_choices):
        if error and isinstance(error, dict | str):
            return error
    is_error = "error" in (value.get("object"), value.get("type")) or value.keys() <= _OF_BARE_ERROR
    return value if is_error and (value.get("message") or value.get("detail")) else None


def _anthropic_code(error: Mapping[str, Any]) -> str | None:
    """The stable code behind a type: Anthropic has it one floor down (the `anthropic` package's APIStatusError)."""
    details = error.get("details")
    return _text(details.get("error_code")) if isinstance(details, Mapping) else None


def _leading_path(message: str) -> str | None:
    """The parameter that an error of Anthropic's is about: "max_tokens: …", "messages.0.content: …"."""
    match = _PATH.match(message)
    return match[1] if match else None


def _looked_at(error: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
    """The error; of one far too large to be passed on only its own words, and of each no more than is looked at.

    An event may have 16 MiB, an answer 64. To look through all of that for keys would take seconds, in which no other
    call gets a turn.
    """
    if len(dumps(error)) <= 4 * MAX_RAW:
        return error
    if isinstance(error, str):
        return error[:MAX_RAW]
    said = ((name, error.get(name)) for name in ("message", "detail", "type", "code", "param"))
    return {name: value[:MAX_RAW] if isinstance(value, str) else value for name, value in said if _is_plain(value)}


def _is_plain(value: Json) -> bool:
    return isinstance(value, str | int)


def _mentioned(message: str) -> Iterator[str]:
    for name in REPAIRS:
        word = "stream(?:ing)?" if name == "stream" else name
        if re.search(rf"(?<![A-Za-z0-9_]){word}(?![A-Za-z0-9_])", message, re.IGNORECASE):
            yield name


def _summary(body: bytes, redactor: Redactor) -> str:
    text = redactor.redact(body.decode("utf-8", "replace"))
    title = _TITLE.search(text)
    shown = _TAGS.sub(" ", title.group(1) if title else text)
    line = " ".join("".join(character if character.isprintable() else " " for character in shown).split())
    # Once more: a key in <b> behind the word Bearer has the shape of one only without its tags.
    return cut(redactor.redact(line), MAX_SUMMARY)


def cut(text: str, limit: int = MAX_MESSAGE) -> str:
    """At most `limit` characters of the text, and a mark where that is not all."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def _text(value: Json) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return cut(str(value), MAX_SUMMARY)
