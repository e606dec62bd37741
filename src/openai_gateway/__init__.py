"""An OpenAI-compatible gateway: it holds the credentials and routes each call to a provider.

    from openai_gateway import Call, open_gateway
    async with open_gateway(settings) as gateway:
        reply = await gateway.call(Call.chat(model="gpt-5", messages=[{"role": "user", "content": "Hello!"}]))

trio only. Importing this package loads no HTTP client: that happens when `open_gateway` is first touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import (
    Call,
    Chunk,
    Finished,
    Model,
    Part,
    Reply,
    Restarted,
    Served,
    Usage,
)
from openai_gateway.routing.default import DefaultModel, default_model
from openai_gateway.routing.settings import Settings

if TYPE_CHECKING:
    from openai_gateway.engine.gateway import Gateway, open_gateway
    from openai_gateway.routing.accounts import Account, Beat, Outcome
    from openai_gateway.routing.forms import Content, FilePart, Upload

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Beat",
    "Call",
    "Chunk",
    "Content",
    "DefaultModel",
    "FilePart",
    "Finished",
    "Gateway",
    "GatewayError",
    "Kind",
    "Model",
    "Outcome",
    "Part",
    "Reply",
    "Restarted",
    "Served",
    "Settings",
    "Upload",
    "Usage",
    "default_model",
    "open_gateway",
]


_LATE = {
    **dict.fromkeys(("Gateway", "open_gateway"), "openai_gateway.engine.gateway"),
    **dict.fromkeys(("Account", "Beat", "Outcome"), "openai_gateway.routing.accounts"),
    **dict.fromkeys(("Content", "FilePart", "Upload"), "openai_gateway.routing.forms"),
}


def __getattr__(name: str) -> Any:
    # PEP 562: the engine costs a third of a cold start, and an MCP client waits for none of it.
    if name in _LATE:
        import importlib  # noqa: PLC0415 - the point of this function is to import late

        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
