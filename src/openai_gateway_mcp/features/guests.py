"""Many callers through one door: what each of them is shown, and what answers it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import attrs

from openai_gateway.routing.globs import is_allowed
from openai_gateway_mcp.features.application import Application, describe
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.kept import Kept
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.features.tasks import Tasks
from openai_gateway_mcp.protocol.events import Work
from openai_gateway_mcp.protocol.model import CacheScope, Result, Server
from openai_gateway_mcp.transports.callers import ANYBODY, Caller
from openai_gateway_mcp.transports.calls import Handler, Reporter

_REMEMBERED: Final = 4_096
"""Callers whose use of the last minute is known, and ways to see the server."""


class Guests:
    """The application of each caller. RATE_LIMIT is each caller's own.

    `is_private`: callers must say who they are, so nobody on the way may give one's lists to another.
    """

    def __init__(
        self,
        settings: Settings,
        door: Door,
        *,
        is_private: bool,
        kept: Kept | None = None,
        tasks: Tasks | None = None,
    ) -> None:
        self._settings = settings
        self._door = door
        self._scope = CacheScope.PRIVATE if is_private else CacheScope.PUBLIC
        self._servers: OrderedDict[tuple[str, ...], Server] = OrderedDict()
        self._kept = kept or Kept()
        self._tasks = tasks or Tasks(door.start_soon)
        self._applications: OrderedDict[str, tuple[Caller, Application]] = OrderedDict()

    def server_for(self, caller: Caller) -> Server:
        tools = self._tools(caller)
        if tools not in self._servers:
            shown = describe(attrs.evolve(self._settings, tools=tools))
            self._servers[tools] = attrs.evolve(shown, cache_scope=self._scope)
            _forget_oldest(self._servers)
        return self._servers[tools]

    def handler_for(self, caller: Caller) -> Handler:
        """It answers each call by the settings that hold then: a WebSocket's session outlives a reload."""

        async def handle(work: Work, reporter: Reporter) -> Result:
            return await self._application(caller).handle(work, reporter)

        return handle

    def renew(self, settings: Settings) -> None:
        """Answer what comes from now on under other settings; what each caller used of its limit stays used."""
        self._settings = settings
        self._servers.clear()
        for identity, (caller, application) in list(self._applications.items()):
            self._applications[identity] = caller, application.with_settings(self._settings_for(caller))

    def _application(self, caller: Caller) -> Application:
        known = self._applications.get(caller.identity)
        if known is None:
            application = Application(self._settings_for(caller), self._door, kept=self._kept, tasks=self._tasks)
        elif known[0] == caller:
            application = known[1]
        else:  # the same caller with other rights; what it used of its limit stays used
            application = known[1].with_settings(self._settings_for(caller))
        self._applications[caller.identity] = caller, application
        self._applications.move_to_end(caller.identity)
        _forget_oldest(self._applications)
        return application

    def missing_scope(self, caller: Caller, tool: str) -> str | None:
        is_there = tool in self._settings.tools
        return f"tools:{tool}" if is_there and not is_allowed(tool, caller.tools) else None

    def _tools(self, caller: Caller) -> tuple[str, ...]:
        return tuple(name for name in self._settings.tools if is_allowed(name, caller.tools))

    def _settings_for(self, caller: Caller) -> Settings:
        tenant = "anybody" if caller == ANYBODY else f"caller {caller.identity}"
        return attrs.evolve(self._settings, tools=self._tools(caller), tenant=tenant, models=caller.models)


def _forget_oldest(known: OrderedDict[Any, Any]) -> None:
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
