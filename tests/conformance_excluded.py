"""The scenarios of the official conformance suite that our own server for it does not pass, each with its reason.

A scenario that stands here and passes fails the test, so that the list stays as short as it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ASKS: Final = (
    "its tool asks the client for something by a request of the server's; we make none, so in the legacy era no tool "
    "can ask"
)
_LOGS: Final = "its tool logs to the client; logging is deprecated, and never sent here"

EXCLUDED: Final[Mapping[str, Mapping[str, str]]] = {
    "2025-11-25": {
        "tools-call-with-logging": _LOGS,
        "tools-call-sampling": _ASKS,
        "tools-call-elicitation": _ASKS,
        "elicitation-sep1034-defaults": _ASKS,
        "elicitation-sep1330-enums": _ASKS,
    },
    "2026-07-28": {},
}

UNSCORED: Final[Mapping[str, Mapping[str, str]]] = {"2025-11-25": {}, "2026-07-28": {}}
"""Those that the suite runs and does not score; they are looked at all the same."""

WITHOUT_TEST_TOOLS: Final[Mapping[str, frozenset[str]]] = {
    "2025-11-25": frozenset(
        {
            "server-initialize",
            "logging-set-level",
            "ping",
            "tools-list",
            "server-sse-multiple-streams",
            "server-sse-polling",
            "resources-list",
            "resources-subscribe",
            "resources-unsubscribe",
            "prompts-list",
            "dns-rebinding-protection",
            "server-session-lifecycle",
        }
    ),
    "2026-07-28": frozenset(
        {
            "tools-list",
            "server-sse-multiple-streams",
            "resources-list",
            "sep-2164-resource-not-found",
            "prompts-list",
            "dns-rebinding-protection",
            "caching",
            "http-header-validation",
        }
    ),
}
"""Those that apply to any server: `openai-gateway-mcp http` passes them as it is. The others call tools of their own.

Of `server-stateless` the checks that need no such tool pass too; the suite gives it one verdict for all.
"""
