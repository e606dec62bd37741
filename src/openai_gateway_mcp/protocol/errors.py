"""The errors of the protocol: what a peer is told, and what our own code did wrong."""

from __future__ import annotations

from typing import Any

import attrs

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002  # legacy revisions; the modern one says INVALID_PARAMS
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
OVERLOADED = 1008  # ours, outside JSON-RPC's reserved range as MCP asks; 1001 to 1007 are features/extensions.py's


@attrs.define(eq=False)
class Fault(Exception):
    """A JSON-RPC error to be sent: raised by a handler, or made by the core."""

    code: int
    message: str
    data: Any = None


@attrs.define(eq=False)
class ResourceNotFound(Exception):
    """A handler's word for a URI that is not served; its code differs between the eras, so the core chooses it."""

    uri: str


class LocalProtocolError(Exception):
    """Our own code broke the contract of `Connection` (answered twice, say); never the peer's doing."""
