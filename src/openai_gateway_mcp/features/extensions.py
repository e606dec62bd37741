"""The seed's two methods beside MCP's own: models/list, and completion/complete with a prompt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from openai_gateway import Call, GatewayError
from openai_gateway_mcp.features.default_model import choose, with_names
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.failures import seed_fault
from openai_gateway_mcp.features.rate_limit import RateLimit
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.features.tools.list_models import model_entry
from openai_gateway_mcp.features.tools.spec import traceparent
from openai_gateway_mcp.features.transcript import text_of
from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, METHOD_NOT_FOUND, Fault
from openai_gateway_mcp.protocol.events import ExtensionCalled
from openai_gateway_mcp.protocol.model import ExtensionResult

Json = Any
Params = Mapping[str, Json]

_MOST_VALUES = 100  # of a CompleteResult, by the specification

# A caller never chooses the upstream nor its credential; a proxy behind us (LiteLLM's, say) would act on these.
_REFUSED = {
    "stream": "the answer of this method is one message; leave stream out, or use the tool `chat` with a progressToken",
    "api_key": "keys are configured at the server",
    "api_base": "the upstream is configured at the server",
    "base_url": "the upstream is configured at the server",
    "extra_headers": "headers are configured at the server",
}
_ENVELOPE = frozenset({"_meta", "prompt", "model", "maxTokens"})


async def answer_extension(
    asked: ExtensionCalled, door: Door, rate_limit: RateLimit, settings: Settings
) -> ExtensionResult:
    """The result of a seed method. Raises Fault: -32602, or what the seed document's error table says."""
    method = _METHODS.get(asked.call.method)
    if method is None:
        raise Fault(METHOD_NOT_FOUND, f"Method not found: {asked.call.method}")
    try:
        if asked.call.method in _SPENDING:
            rate_limit.admit()
        return ExtensionResult(value=await method(asked, door, settings))
    except GatewayError as error:
        raise seed_fault(error, asked.call.era) from error


async def _list_models(_asked: ExtensionCalled, door: Door, settings: Settings) -> Params:
    return {"models": [model_entry(model) for model in settings.permitted(await door.models())]}


async def _complete_prompt(asked: ExtensionCalled, door: Door, settings: Settings) -> Params:
    body, model = _body(asked.params), _model(asked.params)
    gateway = await door.gateway()
    choice = await choose(door, model, settings)
    try:
        trace = traceparent(asked.call.meta)
        reply = await gateway.call(
            Call(model=choice.model, body=body, traceparent=trace, tenant=settings.tenant, models=settings.models)
        )
    except GatewayError as error:
        raise await with_names(door, error, model, settings) from error
    return _result(reply.json)


_METHODS: dict[str, Callable[[ExtensionCalled, Door, Settings], Awaitable[Params]]] = {
    "models/list": _list_models,
    "completion/complete": _complete_prompt,
}
METHODS = frozenset(_METHODS)
_SPENDING = frozenset({"completion/complete"})


# --- what came ------------------------------------------------------------------------------------------------------


def _body(params: Params) -> dict[str, Json]:
    """The OpenAI request: whatever stands beside the prompt goes along untouched."""
    for name, why in _REFUSED.items():
        # None and False say what is so anyway; some clients write out every default.
        value = params.get(name)
        if value is not None and value is not False:
            raise _invalid(f"{name} is not accepted: {why}")
    body = {name: value for name, value in params.items() if name not in _ENVELOPE and name not in _REFUSED}
    if "maxTokens" in params:
        if "max_completion_tokens" in params:
            raise _invalid("maxTokens and max_completion_tokens are one parameter: give one of them")
        body["max_completion_tokens"] = params["maxTokens"]
    return body | {"messages": _messages(params)}


def _messages(params: Params) -> list[Json]:
    if "messages" in params:
        raise _invalid("messages belong into prompt.messages")
    prompt = params.get("prompt")
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, Mapping):
        raise _invalid("prompt must be a string, or an object with messages")
    if others := sorted(set(prompt) - {"messages"}):
        raise _invalid(f"prompt has only messages; {', '.join(others)} belong beside it")
    messages = prompt.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, Mapping) for one in messages):
        raise _invalid("prompt.messages must be an array of OpenAI messages, not empty")
    return messages


def _model(params: Params) -> str | None:
    model = params.get("model")
    if model is None or (isinstance(model, str) and model):
        return model
    raise _invalid("model must be a string that is not empty")


def _invalid(message: str) -> Fault:
    return Fault(INVALID_PARAMS, f"Invalid params: {message}")


# --- what goes back -------------------------------------------------------------------------------------------------


def _result(response: Params) -> Params:
    """A standard CompleteResult with the answers as its values, and the upstream's body whole beside them."""
    choices = [one for one in _list(response.get("choices")) if isinstance(one, Mapping)]
    messages = [one["message"] for one in choices if isinstance(one.get("message"), Mapping)]
    texts = [text_of(message["content"]) for message in messages if isinstance(message.get("content"), str | list)]
    first = choices[0] if choices else {}
    facts = {
        "message": messages[0] if messages else None,
        "model": response.get("model"),
        "usage": response.get("usage"),
        "finish_reason": first.get("finish_reason"),
    }
    completion = {"values": texts[:_MOST_VALUES], "total": len(texts), "hasMore": len(texts) > _MOST_VALUES}
    known = {name: value for name, value in facts.items() if value is not None}
    return {"completion": completion, **known, "response": response}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
