"""What clients are told of the authorization server: RFC 9728's document, and the challenge that leads to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from openai_gateway_mcp.http_config import OAuth

_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


def metadata(oauth: OAuth, tools: Sequence[str]) -> dict[str, bytes]:
    """The document, by the paths it is looked for at."""
    document = {
        "resource": oauth.resource,
        "authorization_servers": [oauth.issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": _scopes(tools),
        "resource_name": "openai-gateway-mcp",
    }
    path = urlsplit(oauth.resource).path.rstrip("/")
    return dict.fromkeys((_WELL_KNOWN, f"{_WELL_KNOWN}{path}"), json.dumps(document).encode())


def metadata_url(resource: str) -> str:
    """Where the document is, for whoever knows the server by this URL."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{_WELL_KNOWN}{parts.path.rstrip('/')}"


def challenge(resource: str, tools: Sequence[str]) -> str:
    """What of WWW-Authenticate says where to get a token, and for what."""
    return f'resource_metadata="{metadata_url(resource)}", scope="{" ".join(_scopes(tools))}"'


def _scopes(tools: Sequence[str]) -> list[str]:
    return [f"tools:{name}" for name in tools]
