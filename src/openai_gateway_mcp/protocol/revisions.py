"""The revisions of MCP, a row each: what may be asked in it, and what may appear in its messages."""

from __future__ import annotations

from typing import Final

import attrs

from openai_gateway_mcp.protocol.events import Era


@attrs.frozen(kw_only=True, eq=False)
class Revision:
    """One revision. `methods` are the requests a client may make in it.

    The flags tell which fields it knows; what it does not know is left out of every message in it.
    """

    name: str
    era: Era
    methods: frozenset[str]
    batches: bool = False  # JSON arrays of messages
    hints: bool = True  # tool annotations, audio, progress `message`, the completions capability
    titles: bool = True  # title, outputSchema, structuredContent, resource_link, _meta on tools


_LISTS: Final = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list"})
_CALLS: Final = frozenset({"tools/call", "prompts/get", "resources/read", "completion/complete"})
_LEGACY: Final = (
    _LISTS | _CALLS | {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
)
_MODERN: Final = _LISTS | _CALLS | {"server/discover", "subscriptions/listen"}
TASKS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""Those of the extension, which are there where the server offers tasks."""

REVISIONS: Final = {
    row.name: row
    for row in (
        Revision(name="2024-11-05", era=Era.LEGACY, methods=_LEGACY, hints=False, titles=False),
        Revision(name="2025-03-26", era=Era.LEGACY, methods=_LEGACY, batches=True, titles=False),
        Revision(name="2025-06-18", era=Era.LEGACY, methods=_LEGACY),
        Revision(name="2025-11-25", era=Era.LEGACY, methods=_LEGACY),
        Revision(name="2026-07-28", era=Era.MODERN, methods=_MODERN | TASKS),
    )
}

LEGACY: Final = tuple(name for name, row in REVISIONS.items() if row.era is Era.LEGACY)
MODERN: Final = tuple(name for name, row in REVISIONS.items() if row.era is Era.MODERN)
NEWEST_LEGACY: Final = REVISIONS[LEGACY[-1]]
BEFORE_HEADERS: Final = REVISIONS["2025-03-26"]
"""What is spoken over HTTP where no header says a version: the revision before there was that header."""

# Requests that exist in the modern era alone: without modern `_meta` they lack their required fields, which is not the
# same as being unknown (a client probes with server/discover and reads the code).
MODERN_ONLY: Final = _MODERN - _LEGACY


def negotiate(requested: str) -> Revision:
    """The revision an `initialize` gets: the one it asks for, else our newest of that era."""
    row = REVISIONS.get(requested)
    return row if row is not None and row.era is Era.LEGACY else NEWEST_LEGACY
