"""Serving MCP on stdio: where the settings, the two layers and the wire are put together."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import trio

from openai_gateway.log import harmless, set_up
from openai_gateway.secret import Redactor
from openai_gateway_mcp.config import Settings
from openai_gateway_mcp.features.application import Application, describe
from openai_gateway_mcp.features.door import Door, open_door
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Level, Remark
from openai_gateway_mcp.protocol.rounds import Seal
from openai_gateway_mcp.reload import Reloading
from openai_gateway_mcp.transports import stdio
from openai_gateway_mcp.transports.descriptors import Kind, Wire
from openai_gateway_mcp.transports.session import run_session
from openai_gateway_mcp.transports.signals import Hangup
from openai_gateway_mcp.transports.streams import Stream

INTERRUPTED: Final = 130  # what a shell reports for a process that SIGINT ended

_LOG: Final = logging.getLogger("openai_gateway_mcp")  # trio imports logging anyway, so it costs a start nothing
_LEVELS: Final[Mapping[Level, int]] = {
    Level.DEBUG: logging.DEBUG,
    Level.INFO: logging.INFO,
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
    converse = functools.partial(
        _converse, settings=settings, redactor=redactor, wire=wire, reread=reread, hangup=hangup
    )
    return stdio.run(wire, converse, say=say)


def say(text: str) -> None:
    """A line to a person on stderr; where nobody reads that, the server goes on."""
    if sys.stderr is None:  # the process was started with it closed
        return
    try:
        sys.stderr.write(f"openai-gateway-mcp: {harmless(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a closed pipe, a closed file
        pass


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
    async with open_door(settings.features.gateway, redactor=redactor) as door, trio.open_nursery() as beside:
        reloading = Reloading(settings, reread, door, redactor=redactor)
        beside.start_soon(reloading.on_hangup, hangup)
        if settings.watch:
            beside.start_soon(reloading.on_change)
        await run_session(
            stream,
            connection,
            Application(settings.features, door).handle,
            remark=log_remark,
            drain=settings.drain,
            finish_all=wire.receive.kind is Kind.FILE,
            after_first_answer=functools.partial(_get_ready, door),
        )
        beside.cancel_scope.cancel()


async def _get_ready(door: Door) -> None:
    await door.warm_up()
    gc.freeze()  # what the imports made stays: no later collection has to look at it
    gc.enable()


def log_remark(remark: Remark) -> None:
    """What the core has to say, into the log."""
    _LOG.log(_LEVELS[remark.level], "%s", remark.text)
