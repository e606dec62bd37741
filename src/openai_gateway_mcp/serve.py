"""Serving MCP on stdio: where the settings, the two layers and the wire are put together."""

from __future__ import annotations

import functools
import gc
import logging
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from openai_gateway.errors import ConfigError
from openai_gateway.log import harmless, set_up
from openai_gateway.secret import Redactor
from openai_gateway_mcp.config import Relay, Settings
from openai_gateway_mcp.features.application import Application, describe
from openai_gateway_mcp.features.door import Door, open_door
from openai_gateway_mcp.features.kept import Kept
from openai_gateway_mcp.features.settings import Settings as FeatureSettings
from openai_gateway_mcp.features.tasks import Tasks
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Level, Remark
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.protocol.rounds import Seal
from openai_gateway_mcp.reload import Reloading
from openai_gateway_mcp.transports import stdio
from openai_gateway_mcp.transports.descriptors import Kind, Wire
from openai_gateway_mcp.transports.session import run_session
from openai_gateway_mcp.transports.signals import Hangup
from openai_gateway_mcp.transports.streams import Stream

if TYPE_CHECKING:
    from openai_gateway_mcp.features.state import State
    from openai_gateway_mcp.relay import Remote

INTERRUPTED: Final = 130  # what a shell reports for a process that SIGINT ended

_LOG: Final = logging.getLogger("openai_gateway_mcp")  # trio imports logging anyway, so it costs a start nothing
_LEVELS: Final[Mapping[Level, int]] = {
    Level.DEBUG: logging.DEBUG,
    Level.WARNING: logging.WARNING,
}


def serve(settings: Settings, wire: Wire, reread: Callable[[], Settings], hangup: Hangup) -> int:
    """Serve one client over the claimed descriptors until it leaves; the exit code.

    `reread` reads the settings again, for a reload; `hangup` knows whether one was asked for already.
    """
    redactor = Redactor(settings.features.gateway.secrets)
    set_up(settings.log_level, redactor)
    for warning in settings.warnings:
        _LOG.warning("%s", warning)
    if wire.receive.kind is Kind.TERMINAL:
        say("waiting for an MCP client's messages on this terminal, which echoes nothing; --help tells of the rest")
    if settings.relay is not None:
        return stdio.run(wire, functools.partial(_relay, settings=settings, remote=_remote(settings.relay)), say=say)
    converse = functools.partial(
        _converse, settings=settings, redactor=redactor, wire=wire, reread=reread, hangup=hangup
    )
    return stdio.run(wire, converse, say=say)


def say(text: str) -> None:
    """A line to a person on stderr; where nobody reads that, the server goes on."""
    if sys.stderr is None:  # the process was started with it closed
        return
    try:
        sys.stderr.write(f"{as_said(harmless(text))}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a closed pipe, a closed file
        pass


def as_said(text: str) -> str:
    """With who says it, and as wide as the terminal if it goes to one."""
    said = f"openai-gateway-mcp: {text}"
    if sys.stderr is None or not sys.stderr.isatty():
        return said
    from openai_gateway.terminal import columns_of, folded  # noqa: PLC0415 - no start of an MCP client's needs it

    return folded(said, columns_of(sys.stderr), indent="  ")


async def _converse(
    stream: Stream,
    *,
    settings: Settings,
    redactor: Redactor,
    wire: Wire,
    reread: Callable[[], Settings],
    hangup: Hangup,
) -> None:
    connection = Connection(
        describe(settings.features),
        max_message_bytes=settings.max_message_bytes,
        max_in_flight=settings.max_in_flight,
        seal=Seal(os.urandom(32), now=time.time),
    )
    async with (
        open_door(settings.features.gateway, redactor=redactor) as door,
        open_kept(settings.state, must=False) as (kept, tasks),
        trio.open_nursery() as beside,
    ):
        application = Application(settings.features, door, kept=kept, tasks=tasks)
        changes, offers = trio.open_memory_channel[Server](math.inf)

        def offer(features: FeatureSettings) -> None:
            application.renew(features)
            changes.send_nowait(describe(features))

        reloading = Reloading(settings, reread, door, redactor=redactor, offer=offer)
        beside.start_soon(reloading.on_hangup, hangup)
        if settings.watch:
            beside.start_soon(reloading.on_change)
        await run_session(
            stream,
            connection,
            application.handle,
            remark=log_remark,
            drain=settings.drain,
            finish_all=wire.receive.kind is Kind.FILE,
            after_first_answer=functools.partial(_get_ready, door),
            offers=offers,
        )
        beside.cancel_scope.cancel()


@asynccontextmanager
async def open_kept(path: str | None, *, must: bool) -> AsyncIterator[tuple[Kept, Tasks]]:
    """What is left for later, in the state file of this path if there is one; tasks run until the end of the block.

    Two clients of one person each start a server: the second one goes on without the file, unless it `must` have it;
    then that raises ConfigError.
    """
    async with AsyncExitStack() as stack:
        state: State | None = None
        if path is not None:
            from openai_gateway_mcp.features.state import open_state  # noqa: PLC0415 - SQLite, for --state alone

            try:
                state = await stack.enter_async_context(open_state(path))
            except ConfigError as error:
                if must:
                    raise
                _LOG.warning("%s Tasks and conversations end with this process.", error)
        running = await stack.enter_async_context(trio.open_nursery())
        kept, tasks = Kept(state=state), Tasks(running.start_soon, state)
        if state is not None:
            await kept.load()
            await tasks.load()
        yield kept, tasks
        running.cancel_scope.cancel()


async def _relay(stream: Stream, *, settings: Settings, remote: Remote) -> None:
    from openai_gateway_mcp.relay import relay  # noqa: PLC0415 - for a relay alone

    gc.enable()
    await relay(stream, remote, max_message_bytes=settings.max_message_bytes, say=_LOG.warning, drain=settings.drain)


def _remote(said: Relay) -> Remote:
    """The way to the remote server. Raises ConfigError."""
    from openai_gateway.net.client import Http11Client  # noqa: PLC0415 - a relay alone needs it before a call
    from openai_gateway.net.tls import client_context  # noqa: PLC0415 - as above
    from openai_gateway_mcp.remotes.http import HttpRemote  # noqa: PLC0415 - as above

    tls = client_context(said.ca_bundle) if said.url.startswith(("https:", "wss:")) else None
    if not said.url.startswith("ws"):
        return HttpRemote(said.url, said.key, Http11Client(tls=tls))
    try:
        from openai_gateway_mcp.remotes.websocket import WebSocketRemote  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(f"{said.url} needs the extra: pip install 'openai-gateway-mcp[websocket]'.") from None
    return WebSocketRemote(said.url, said.key, tls=tls)


async def _get_ready(door: Door) -> None:
    await door.warm_up()
    gc.freeze()  # what the imports made stays: no later collection has to look at it
    gc.enable()


def log_remark(remark: Remark) -> None:
    """What the core has to say, into the log."""
    _LOG.log(_LEVELS[remark.level], "%s", remark.text)
