"""What goes back over HTTP: errors in OpenAI's shape, and the header fields that say how a call was served."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Json, Served
from openai_gateway.routing.limits import Left, Measure
from openai_gateway.secret import Redactor
from openai_gateway.wire.strict import dumps

Fields = list[tuple[str, str]]

JSON: Final = ("content-type", "application/json")
_MOST_WARNINGS: Final = 1000  # characters of a header field; who wants them all reads the log
_WORDS: Final = {Measure.RPM: "requests", Measure.TPM: "tokens"}
_KINDS: Final = {
    400: Kind.INVALID_REQUEST,
    408: Kind.INVALID_REQUEST,
    413: Kind.TOO_LARGE,
    431: Kind.TOO_LARGE,
    501: Kind.INVALID_REQUEST,
}


def error_reply(error: GatewayError, redactor: Redactor) -> tuple[int, Fields, bytes]:
    """Status, header fields and body of a failed request."""
    headers: Fields = [JSON]
    if error.status in {429, 503} or error.retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after or 1)))))
    if error.attempts:
        headers.append(("x-should-retry", "false"))
    if error.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return error.status, headers, error_body(error, redactor)


def error_body(error: GatewayError, redactor: Redactor) -> bytes:
    """The error as JSON, struck through for secrets; what its hint says belongs to the message."""
    shape = error.to_openai()
    return dumps({"error": redactor.redact_json({**shape, "message": str(error) if error.hint else shape["message"]})})


def refuse(status: int, words: str) -> tuple[Fields, bytes]:
    """What the listener answers by itself, in the same shape."""
    kind = _KINDS.get(status)
    if kind is None:
        shape = {"message": words, "type": "server_error", "param": None, "code": None}
    else:
        shape = {"message": words, "type": kind.type, "param": None, "code": kind.code}
    headers: Fields = [JSON]
    if status == 503:
        headers.append(("retry-after", "1"))
    return headers, dumps({"error": shape})


def json_body(value: Json) -> bytes:
    return dumps(value)


def limit_fields(left: Sequence[Left]) -> Fields:
    """`x-ratelimit-…`, of the caller's own limits; a caller who has none is told the upstream's."""
    fields: Fields = []
    for one in left:
        if (word := _WORDS.get(one.measure)) is not None:
            fields += (
                (f"x-ratelimit-limit-{word}", str(one.most)),
                (f"x-ratelimit-remaining-{word}", str(one.left)),
                (f"x-ratelimit-reset-{word}", f"{one.seconds}s"),
            )
    return fields


def served_fields(served: Served) -> Fields:
    """Who served a whole answer, and what it took."""
    fields = underway_fields(target=served.target, attempts=served.attempts, overhead=served.overhead)
    fields.append(("x-gateway-model", plain(served.model)))
    if served.cached:
        fields.append(("x-gateway-cached", "true"))
    if served.warnings:
        fields.append(("x-gateway-warnings", plain("; ".join(served.warnings))[:_MOST_WARNINGS]))
    return fields + (limit_fields(served.left) or list(served.limits))


def underway_fields(*, target: str, attempts: int, overhead: float) -> Fields:
    """The same, as far as it is known when a stream begins; `overhead` in seconds."""
    return [
        ("x-gateway-target", plain(target)),
        ("x-gateway-attempts", str(attempts)),
        ("x-gateway-overhead-ms", f"{overhead * 1000:.1f}"),
    ]


def plain(text: str) -> str:
    """As a header can carry it: the upstream's own words may hold anything."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if " " <= character <= "~" else "?" for character in text)
