"""Completing what a person types: model names, wherever one is asked for."""

from __future__ import annotations

from openai_gateway import GatewayError
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.failures import standard_fault
from openai_gateway_mcp.features.model_names import ranked
from openai_gateway_mcp.features.prompts import MODEL
from openai_gateway_mcp.features.resources import TEMPLATES
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, Fault
from openai_gateway_mcp.protocol.events import CompletionAsked, RefType
from openai_gateway_mcp.protocol.model import CompletionResult

_MOST = 100  # of one answer, by the specification


def _argument(asked: CompletionAsked, settings: Settings) -> str | None:
    """Which argument of what is completed names a model; None where there is nothing of that name."""
    if asked.ref_type is RefType.PROMPT:
        return MODEL if any(spec.prompt.name == asked.ref for spec in settings.prompts) else None
    return "id" if any(template.uri_template == asked.ref for template in TEMPLATES) else None


async def complete(asked: CompletionAsked, door: Door, settings: Settings) -> CompletionResult:
    """Model names that match, best first; none for an argument that names no model. Raises Fault for an unknown ref."""
    argument = _argument(asked, settings)
    if argument is None:
        raise Fault(INVALID_PARAMS, f"Unknown {asked.ref_type.value}: {asked.ref}")
    if asked.argument != argument:
        return CompletionResult(values=(), total=0, has_more=False)
    try:
        models = settings.permitted(await door.models_at_once())
    except GatewayError as error:
        raise standard_fault(error) from error
    names = [model.id for model in ranked(models, asked.value)]
    return CompletionResult(values=tuple(names[:_MOST]), total=len(names), has_more=len(names) > _MOST)
