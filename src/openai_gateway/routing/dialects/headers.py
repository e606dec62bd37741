"""What each request carries, whatever the kind of provider: a credential, a trace, the operator's own headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from openai_gateway.routing.calls import Call
from openai_gateway.routing.dialects.dialect import Headers
from openai_gateway.routing.forms import Form
from openai_gateway.routing.plan import Provider

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def headers_with(own: Mapping[str, str], provider: Provider, call: Call | None = None) -> Headers:
    """The dialect's `own` headers (names in small letters) among the others; the provider's configured ones win."""
    headers = {"accept-encoding": "identity", **own}
    if call is not None:
        headers |= _of_caller(call)
    headers |= {name.lower(): value for name, value in provider.headers.items()}
    return tuple(headers.items())


def _of_caller(call: Call) -> dict[str, str]:
    """The two headers that a caller may set, each only in its own form: nothing else may ride along."""
    trace = call.traceparent
    said = {
        "traceparent": trace if trace is not None and _TRACEPARENT.fullmatch(trace) else None,
        "idempotency-key": call.sent_idempotency_key,
    }
    return {name: value for name, value in said.items() if value is not None}


def posting(own: Headers, *, stream: bool) -> Headers:
    """`own`, and what a request with a JSON body says of it and of the answer it wants, unless `own` says it."""
    accept = "text/event-stream" if stream else "application/json"
    return _unless_said(own, (("content-type", "application/json"), ("accept", accept)))


def sending(own: Headers, form: Form, *, stream: bool) -> Headers:
    """The same for a form, which alone knows its type: it has a boundary."""
    mine = tuple(row for row in own if row[0] != "content-type")
    accept = "text/event-stream" if stream else "*/*"
    return (*_unless_said(mine, (("accept", accept),)), ("content-type", form.content_type))


def passing(own: Headers) -> Headers:
    """The same for a request without a body, whose answer may be anything."""
    return _unless_said(own, (("accept", "*/*"),))


def listing(own: Headers) -> Headers:
    """`own`, and what a request for a list says, unless `own` says it."""
    return _unless_said(own, (("accept", "application/json"),))


def _unless_said(own: Headers, more: Headers) -> Headers:
    said = {name for name, _ in own}
    return (*own, *(row for row in more if row[0] not in said))
