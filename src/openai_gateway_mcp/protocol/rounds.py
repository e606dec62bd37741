"""Multi round-trip requests: what a client may be asked for, and the state that travels through its hands.

https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from openai_gateway_mcp.protocol.errors import MISSING_CAPABILITY, Fault, LocalProtocolError
from openai_gateway_mcp.protocol.model import InputRequest, InputRequired
from openai_gateway_mcp.protocol.params import Params, invalid, mapping, shown, string

METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""The requests that may be answered with InputRequired."""

TTL: Final = 900.0
"""Seconds that a state is good for: long enough for a person to answer, no longer."""

_PER_ROUND: Final = frozenset({"_meta", "inputResponses", "requestState"})
"""Members of the params that differ from round to round; the others must stay what they were."""

# what may be asked → the capability that a client declares for it
_CAPABILITIES: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class Seal:
    """Makes states that nobody else can make. `key`: secret bytes, the same in all processes that serve one client.

    `now` is Unix time in seconds. A state is bound to who asked (`principal`) and to what was asked, and expires.
    """

    def __init__(self, key: bytes, *, now: Callable[[], float], ttl: float = TTL) -> None:
        self._key = key
        self._now = now
        self._ttl = ttl

    def close(self, state: str, principal: str, method: str, params: Params) -> str:
        """The state as it goes to the client."""
        content = json.dumps([int(self._now() + self._ttl), state]).encode()
        return f"{_text(content)}.{_text(self._signature(content, principal, method, params))}"

    def open(self, sealed: str, principal: str, method: str, params: Params) -> str:
        """The state that was closed for this request. Raises Fault."""
        content, _, signature = sealed.partition(".")
        try:
            said, signed = _bytes(content), _bytes(signature)
        except ValueError:
            raise _not_ours() from None
        import hmac  # noqa: PLC0415 - no start needs it: OpenSSL comes with it

        if not hmac.compare_digest(signed, self._signature(said, principal, method, params)):
            raise _not_ours()
        until, state = json.loads(said)  # it is what `close` wrote
        if self._now() > until:
            raise invalid("requestState has expired; make the request anew")
        return str(state)

    def _signature(self, content: bytes, principal: str, method: str, params: Params) -> bytes:
        import hashlib  # noqa: PLC0415 - as above
        import hmac  # noqa: PLC0415 - as above

        asked = {name: value for name, value in params.items() if name not in _PER_ROUND}
        context = json.dumps([principal, method, asked], sort_keys=True).encode()
        return hmac.digest(self._key, hashlib.sha256(context).digest() + content, "sha256")


def _not_ours() -> Fault:
    return invalid("requestState is not what this server sent with this request")


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """What `_text` wrote; ValueError for every other way to write it."""
    content = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    if _text(content) != text:
        raise ValueError("another way to write it")
    return content


def input_responses(params: Params) -> Mapping[str, Mapping[str, Any]]:
    """The client's answers by name. Raises Fault; whether they answer what was asked is the handler's to see."""
    responses = mapping(params, "inputResponses")
    for name, response in responses.items():
        if not isinstance(response, dict):
            raise invalid(f"inputResponses[{shown(name)}] must be an object")
    return responses


def request_state(params: Params, seal: Seal | None, principal: str, method: str) -> str | None:
    """The state that the client brings back. Raises Fault for one that is not ours."""
    if params.get("requestState") is None:
        return None
    sealed = string(params, "requestState")
    if seal is None:
        raise _not_ours()
    return seal.open(sealed, principal, method, params)


def check(required: InputRequired, method: str, capabilities: Mapping[str, Any], *, is_modern: bool) -> None:
    """Raises Fault where the client cannot be asked, LocalProtocolError where the handler must not ask this."""
    if method not in METHODS:
        raise LocalProtocolError(f"{method} cannot be answered with a question")
    if not required.requests and required.state is None:
        raise LocalProtocolError("a question needs requests, or at least a state")
    missing: dict[str, Any] = {}
    for request in required.requests.values():
        name = _CAPABILITIES[request.method]
        declared = capabilities.get(name)
        if not isinstance(declared, dict) or _needs(request).keys() - declared.keys():
            missing[name] = _needs(request)
    if missing or not is_modern:
        words = "This needs a client of MCP 2026-07-28 that can be asked for it"
        raise Fault(MISSING_CAPABILITY, words, {"requiredCapabilities": missing})


def _needs(request: InputRequest) -> dict[str, Any]:
    """What of the capability; a plain form is in all of them."""
    return {"url": {}} if request.method == "elicitation/create" and request.params.get("mode") == "url" else {}


def shape(required: InputRequired, state: str | None) -> dict[str, Any]:
    """The result's own members."""
    result: dict[str, Any] = {}
    if required.requests:
        result["inputRequests"] = {
            name: {"method": request.method, "params": dict(request.params)}
            for name, request in required.requests.items()
        }
    if state is not None:
        result["requestState"] = state
    return result
