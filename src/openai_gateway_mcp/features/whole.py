"""Asking for something whole: the endpoints whose answers are not the text of a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from openai_gateway import Call, Reply
from openai_gateway_mcp.features.tools import MODEL_VARIABLES
from openai_gateway_mcp.features.tools.spec import Context, WrongArgument, failure, traceparent
from openai_gateway_mcp.protocol.model import ToolResult

if TYPE_CHECKING:
    from openai_gateway.routing.forms import Upload

Json = Any


async def ask_whole(
    context: Context,
    tool: str,
    endpoint: str,
    model: str | None,
    body: Mapping[str, Json],
    *,
    upload: Upload | None = None,
) -> Reply:
    """The whole answer of one model. What `body` has as None was not said. Raises GatewayError and WrongArgument."""
    soft = context.settings.soft_deadline
    model = model or context.settings.tool_models.get(tool)
    if model is None:
        variable = MODEL_VARIABLES[tool]
        raise WrongArgument(
            f"Missing argument `model`: {variable} is not set. Accepted: a name that list_models shows, of a model "
            f"that can {tool.replace('_', ' ')}."
        )
    call = Call(
        endpoint=endpoint,
        model=model,
        body={name: value for name, value in body.items() if value is not None},
        upload=upload,
        deadline=None if soft is None else trio.current_time() + soft,
        repair=True,
        traceparent=traceparent(context.call.meta),
        tenant=context.settings.tenant,
        models=context.settings.models,
    )
    gateway = await context.door.gateway()
    return await gateway.call(call)


def unreadable(reply: Reply, what: str) -> ToolResult:
    """An answer of another shape than the API's. It is the provider's fault, and trying again may help."""
    return failure(
        f"{reply.served.model} answered (HTTP {reply.status}) without {what}. "
        "Try again, or name a model that is made for this; list_models shows the names."
    )
