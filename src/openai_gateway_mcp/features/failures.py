"""A gateway's error in each dress: the text a model reads, and the codes of the two seed methods."""

from __future__ import annotations

import math
from typing import Any

from openai_gateway import GatewayError, Kind
from openai_gateway_mcp.protocol.errors import INTERNAL_ERROR, INVALID_PARAMS, Fault
from openai_gateway_mcp.protocol.events import Era

Json = Any

# The seed document's own table, for clients built against it. MCP gives -32000 to -32019 to no one any more, so that a
# modern client gets the same rank outside JSON-RPC's reserved range. None: the request itself was wrong.
_RANK: dict[Kind, int | None] = {
    Kind.INVALID_REQUEST: None,
    Kind.TOO_LARGE: None,
    Kind.AUTHENTICATION: 1,
    Kind.PERMISSION: 1,
    Kind.CREDENTIALS_REJECTED: 1,
    Kind.RATE_LIMITED: 2,
    Kind.QUOTA: 2,
    Kind.MODEL_NOT_FOUND: 3,
    Kind.UPSTREAM: 4,
    Kind.NO_TARGET: 4,
    Kind.SHUTTING_DOWN: 4,
    Kind.STORE: 4,
    Kind.CONFIGURATION: 5,
    Kind.NETWORK: 6,
    Kind.CONNECT_TIMEOUT: 7,
    Kind.FIRST_BYTE_TIMEOUT: 7,
    Kind.IDLE_TIMEOUT: 7,
    Kind.TOTAL_TIMEOUT: 7,
}
_FIRST_CODE = {Era.LEGACY: (-32000, -1), Era.MODERN: (1000, 1)}

# What shows the names that are served: to a model, and to a person.
MODELS_TOOL = "`list_models`"
MODELS_COMMAND = "`openai-gateway-mcp models`"

_OTHER_MODEL = "Try again later, or ask another model ({models} shows them)."
_NEXT_STEP: dict[Kind, str] = {
    Kind.INVALID_REQUEST: "Change what the message names and call again.",
    Kind.TOO_LARGE: "Shorten the request, or split it.",
    Kind.AUTHENTICATION: "Set GATEWAY_API_KEY (or the provider's own key) to a valid key and restart the server.",
    Kind.PERMISSION: "Ask another model ({models} shows them), or have the key's rights widened.",
    Kind.CREDENTIALS_REJECTED: "Set a valid key (GATEWAY_API_KEY, or the provider's own) and restart the server.",
    Kind.RATE_LIMITED: _OTHER_MODEL,
    Kind.QUOTA: "The account behind the key is out of credit: top it up, or ask a model of another provider.",
    Kind.MODEL_NOT_FOUND: "{models} shows the names that are served.",
    Kind.UPSTREAM: _OTHER_MODEL,
    Kind.NETWORK: "Check GATEWAY_URL and the network; `openai-gateway-mcp doctor` finds the cause.",
    Kind.CONFIGURATION: "`openai-gateway-mcp doctor` shows what is missing.",
    Kind.NO_TARGET: _OTHER_MODEL,
    Kind.SHUTTING_DOWN: "Try again in a moment.",
    Kind.STORE: "Try again in a moment; if it stays so, tell whoever runs the gateway.",
    Kind.CONNECT_TIMEOUT: "Check GATEWAY_URL and the network; `openai-gateway-mcp doctor` finds the cause.",
    Kind.FIRST_BYTE_TIMEOUT: "Try again, ask another model, or raise TIMEOUT for models that think long.",
    Kind.IDLE_TIMEOUT: "Try again, or raise TIMEOUT.",
    Kind.TOTAL_TIMEOUT: "Ask for less, or raise the total timeout of the configuration.",
}


def explain(error: GatewayError, *, asked: str, models: str = MODELS_TOOL) -> str:
    """What failed, why, and what to do next, in the order a reader needs it.

    `asked` is the model or list asked for, `models` what shows the reader the models that there are.
    """
    theirs = None if error.is_own else error.retry_after
    wait = "" if theirs is None else f" The provider asks to wait {math.ceil(theirs)} s."
    return f"{asked} failed: {_sentence(error.message)}{wait} {next_step(error, models=models)}"


def next_step(error: GatewayError, *, models: str = MODELS_TOOL) -> str:
    """What to do about it: the gateway's own advice, else what its kind calls for."""
    return error.hint or _NEXT_STEP[error.kind].format(models=models)


def error_meta(error: GatewayError) -> dict[str, Json]:
    return {"error": error.to_openai() | {"status": error.status}}


def seed_fault(error: GatewayError, era: Era) -> Fault:
    """The error of a seed method, with the (redacted) OpenAI error object as its data."""
    rank = _RANK[error.kind]
    base, step = _FIRST_CODE[era]
    code = INVALID_PARAMS if rank is None else base + step * rank
    return Fault(code, _message(error), error.to_openai())


def standard_fault(error: GatewayError) -> Fault:
    """The error of a method that MCP defines: it knows no code for what a gateway can meet but the general one."""
    return Fault(INTERNAL_ERROR, _message(error), error.to_openai())


def _message(error: GatewayError) -> str:
    return f"{_sentence(error.message)} {error.hint}".rstrip()


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
