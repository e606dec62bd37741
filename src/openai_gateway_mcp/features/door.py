"""The one door between the layers: the gateway, opened when it is first needed and held by a task of its own."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from openai_gateway import Model
from openai_gateway import Settings as GatewaySettings
from openai_gateway.secret import Redactor

if TYPE_CHECKING:
    from openai_gateway import Account, Gateway
    from openai_gateway_mcp.features.usage import UsageBook

Opener = Callable[..., AbstractAsyncContextManager["Gateway"]]
"""`openai_gateway.open_gateway`, or the same over another transport than the network: settings, and `record`."""

_LOG: Final = logging.getLogger(__name__)

_ENGINE = ("openai_gateway.engine.gateway", "openai_gateway.wire.structure")
"""What a first call needs and the opening handshake does not: together they cost more than all the rest of a start."""


class Door:
    """The way to the gateway. Opening it asks nothing of the network; nobody waits for it who does not call."""

    def __init__(self, settings: GatewaySettings, nursery: trio.Nursery, *, opener: Opener | None = None) -> None:
        """`nursery` owns the task that holds the gateway open."""
        self.settings = settings  # what a call that begins now is served by; reload() puts others in their place
        self._nursery = nursery
        self._open = opener or _open_gateway
        self._opening: trio.Event | None = None
        self._gateway: Gateway | None = None
        self._failure: Exception | None = None

    @functools.cached_property
    def usage(self) -> UsageBook:
        """What the calls through this door used."""
        from openai_gateway_mcp.features.usage import UsageBook  # noqa: PLC0415 - not before a call

        return UsageBook()

    async def gateway(self) -> Gateway:
        """The gateway, opened by the first caller; a caller that is cancelled meanwhile spoils it for no other."""
        if self._opening is None:
            self._opening = trio.Event()
            self._nursery.start_soon(self._hold, self._opening)
        await self._opening.wait()
        if self._gateway is None or self._failure is not None:
            raise RuntimeError("the gateway is not open") from self._failure
        return self._gateway

    async def reload(self, settings: GatewaySettings) -> None:
        """Serve the calls that begin from now on by `settings`; those in flight finish on what they began with."""
        self.settings = settings
        if self._gateway is not None:
            await self._gateway.reload(settings)

    def start_soon(self, act: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run something beside the calls, which ends when the door is closed."""
        self._nursery.start_soon(act, *args)

    async def warm_up(self) -> None:
        """Load what the first call needs, in a thread, so that no message waits for it. Harmless to call twice."""
        if any(name not in sys.modules for name in _ENGINE):
            await trio.to_thread.run_sync(_load_engine, abandon_on_cancel=True)

    async def models(self) -> tuple[Model, ...]:
        """The model list; asks the network only when none is known or the known one is old. Raises GatewayError."""
        return await (await self.gateway()).models()

    async def models_at_once(self) -> tuple[Model, ...]:
        """The known list even when it is old, renewed behind the caller's back; the network only when none is known."""
        known = (await self.gateway()).known_models()
        if known is None:
            return await self.models()
        self._nursery.start_soon(self._renew_models)
        return known

    async def _renew_models(self) -> None:
        try:
            await self.models()
        except Exception as error:  # noqa: BLE001 - the top of a task nobody waits for: it must not end the server
            # The old list serves on; whoever asks for the list itself is told.
            _LOG.info("The model list could not be renewed: %r", error)

    async def _hold(self, opened: trio.Event) -> None:
        try:
            await self.warm_up()
            settings = self.settings
            async with self._open(settings, record=self.usage.note) as gateway:
                while settings is not self.settings:  # they were replaced while it opened
                    settings = self.settings
                    await gateway.reload(settings)
                self._gateway = gateway
                opened.set()
                await trio.sleep_forever()
        except Exception as error:  # noqa: BLE001 - the top of a task: its callers are told, the server goes on
            self._failure = error
            opened.set()


@asynccontextmanager
async def open_door(
    settings: GatewaySettings, *, opener: Opener | None = None, redactor: Redactor | None = None
) -> AsyncIterator[Door]:
    """A door with a nursery of its own, closed (and the gateway with it) at the end of the block.

    `redactor` is the log's: the gateway tells it the keys that it reads later. An `opener` brings its own.
    """
    async with trio.open_nursery() as nursery:
        yield Door(settings, nursery, opener=opener or functools.partial(_open_gateway, redactor=redactor))
        nursery.cancel_scope.cancel()


def _open_gateway(
    settings: GatewaySettings, *, record: Callable[[Account], None], redactor: Redactor | None = None
) -> AbstractAsyncContextManager[Gateway]:
    from openai_gateway import open_gateway  # noqa: PLC0415 - loads the engine, so not before a call

    return open_gateway(settings, record=record, redactor=redactor)


def _load_engine() -> None:
    import importlib  # noqa: PLC0415 - only this thread needs it

    for name in _ENGINE:
        importlib.import_module(name)
