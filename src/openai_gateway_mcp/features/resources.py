"""What can be read: the model list, and each model of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import trio

from openai_gateway import GatewayError
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.failures import standard_fault
from openai_gateway_mcp.features.kept import RESULTS_URI, Kept
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.features.tools.list_models import model_entry
from openai_gateway_mcp.protocol.errors import ResourceNotFound
from openai_gateway_mcp.protocol.model import Resource, ResourceResult, ResourceTemplate, ResourceText

Json = Any

MODELS_URI = "openai://models"
MODEL_TEMPLATE = "openai://models/{id}"
_JSON = "application/json"
_TTL_MS = 300_000  # as long as the gateway itself keeps the list

RESOURCES = (
    Resource(
        uri=MODELS_URI,
        name="models",
        title="Models",
        description="Every model that can be asked, as the gateway lists it.",
        mime_type=_JSON,
    ),
)
USAGE_URI = "openai://usage"
USAGE = Resource(
    uri=USAGE_URI,
    name="usage",
    title="Usage",
    description="What your calls have used since this server started, by model: calls, tokens, US dollars if known.",
    mime_type=_JSON,
)
"""Of an embedded gateway: a remote one keeps its own books."""

TEMPLATES = (
    ResourceTemplate(
        uri_template=MODEL_TEMPLATE,
        name="model",
        title="A model",
        description="One model, as the gateway describes it.",
        mime_type=_JSON,
    ),
)


async def read_resource(uri: str, door: Door, settings: Settings, kept: Kept) -> ResourceResult:
    """What is behind `uri`. Raises ResourceNotFound, or Fault when the gateway cannot say."""
    if uri.startswith(RESULTS_URI):
        await trio.lowlevel.checkpoint()
        if (parked := kept.read(settings.tenant, uri)) is None:
            raise ResourceNotFound(uri)
        return parked
    if uri == USAGE_URI and settings.embedded:
        await trio.lowlevel.checkpoint()
        contents = ResourceText(uri=uri, text=json.dumps(door.usage.shown(settings.tenant)), mime_type=_JSON)
        return ResourceResult(contents=(contents,))
    is_list = uri == MODELS_URI
    if not is_list and not uri.startswith(MODELS_URI + "/"):
        raise ResourceNotFound(uri)
    try:
        entries = [model_entry(model) for model in settings.permitted(await door.models())]
    except GatewayError as error:
        raise standard_fault(error) from error
    if is_list:
        return _result(uri, {"models": entries})
    # An id may hold slashes (openai/gpt-5): a client that fills in the template encodes them, one that types does not.
    wanted = unquote(uri.removeprefix(MODELS_URI + "/"))
    entry = next((entry for entry in entries if entry["id"] == wanted), None)
    if entry is None:
        raise ResourceNotFound(uri)
    return _result(uri, entry)


def _result(uri: str, value: Json) -> ResourceResult:
    return ResourceResult(contents=(ResourceText(uri=uri, text=json.dumps(value), mime_type=_JSON),), ttl_ms=_TTL_MS)
