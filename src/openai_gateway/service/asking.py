"""From the bytes of a request to the call that it asks for."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.net.listener import Request
from openai_gateway.routing.calls import Call, Json
from openai_gateway.routing.forms import Upload
from openai_gateway.routing.virtual_keys import VirtualKey
from openai_gateway.wire.strict import JsonError, loads

STEERING: Final = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "aws_access_key_id",
        "aws_secret_access_key",
        "base_url",
        "custom_llm_provider",
        "extra_body",
        "extra_headers",
        "extra_query",
        "organization",
    }
)
"""What clients and gateways of others read as another address or credential: nobody but the operator chooses those."""

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SWITCH: Final = {"true": True, "false": False}


def request_id(request: Request) -> str:
    """The caller's own id where it is sane, else a new one."""
    given = request.headers.get("x-request-id") or ""
    return given if _SANE_ID.fullmatch(given) else f"req_{next(_NEW_IDS)}"


def _new_ids() -> Iterator[str]:
    """Each 12 bytes that nobody can guess. Drawn 256 at a time: a draw lets another thread have the interpreter."""
    while True:
        drawn = secrets.token_hex(12 * 256)
        yield from (drawn[start : start + 24] for start in range(0, len(drawn), 24))


_NEW_IDS: Final = _new_ids()


def refuse_other_types(request: Request) -> None:
    """Raises GatewayError (415) for anything but JSON: a page of another origin may send forms and text unasked."""
    given = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if given != "application/json":
        raise _unsupported("The body must be JSON: send it with `Content-Type: application/json`.")
    if (request.headers.get("content-encoding") or "identity").lower() != "identity":
        raise _unsupported("The body may not be compressed.")


def refuse_query(request: Request, allowed: frozenset[str] = frozenset()) -> None:
    """Raises GatewayError for a parameter that the route does not have: it might be meant to steer, or hold a key."""
    names = {part.partition("=")[0] for part in request.query.split("&") if part}
    if names - allowed:
        raise GatewayError(kind=Kind.INVALID_REQUEST, message="This path takes no such query parameters.")


def query_of(request: Request, allowed: frozenset[str]) -> Mapping[str, str]:
    """The query's parameters. Raises GatewayError for one that the route does not have, or that is there twice."""
    refuse_query(request, allowed)
    pairs = parse_qsl(request.query, keep_blank_values=True, errors="replace")
    if len(dict(pairs)) != len(pairs):
        raise GatewayError(kind=Kind.INVALID_REQUEST, message="A query parameter is there twice.")
    return dict(pairs)


def number_of(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of the query. Raises GatewayError."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise _wrong(name, "must be a whole number")
    return int(text)


def json_object(body: bytes) -> Mapping[str, Json]:
    """The body as a JSON object. Raises GatewayError."""
    try:
        value = loads(body)
    except JsonError as error:
        message = f"The body is no JSON: {error}."
    else:
        if isinstance(value, dict):
            return value
        message = "The body must be a JSON object."
    raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)


def refuse_steering(body: Mapping[str, Json]) -> None:
    """Raises GatewayError for a member that others read as an address or a credential."""
    for name in sorted(STEERING & body.keys()):
        raise _wrong(name, "may not stand in a request: the gateway alone chooses whom it asks, and with which key")


def typed(fields: Mapping[str, Json]) -> Mapping[str, Json]:
    """The fields of a form, in which all is text, with the types of those that the gateway reads itself."""
    found = dict(fields)
    stream, count = found.get("stream"), found.get("n")
    if stream in _SWITCH:
        found["stream"] = _SWITCH[stream]
    if isinstance(count, str) and count.isascii() and count.isdecimal() and len(count) < 10:
        found["n"] = int(count)
    return found


def call_of(
    request: Request,
    body: Mapping[str, Json],
    *,
    endpoint: str,
    key: VirtualKey,
    id: str,  # noqa: A002 - the field's name
    repair: bool,
    upload: Upload | None = None,
) -> Call:
    """The call that the body asks for, on its key's account. Raises GatewayError."""
    refuse_steering(body)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "must be the name of a model")
    if not isinstance(body.get("stream", False), bool | None):
        raise _wrong("stream", "must be true or false")
    return Call(
        endpoint=endpoint,
        model=model,
        body=body,
        upload=upload,
        repair=repair,
        traceparent=request.headers.get("traceparent"),
        idempotency_key=request.headers.get("idempotency-key"),
        tenant=key.id,
        cache=_SWITCH.get((request.headers.get("x-gateway-cache") or "").lower()),
        limits=key.limits,
        models=key.models,
        id=id,
    )


def _wrong(name: str, what: str) -> GatewayError:
    return GatewayError(kind=Kind.INVALID_REQUEST, message=f"`{name}` {what}.", param=name)


def _unsupported(message: str) -> GatewayError:
    return GatewayError(kind=Kind.INVALID_REQUEST, message=message, status=415, code="unsupported_media_type")
