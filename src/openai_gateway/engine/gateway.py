"""The gateway's face: calls, streams and the list of models, over one configuration snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import SystemRandom

import trio

from openai_gateway.engine.beats import Beats, with_beats
from openai_gateway.engine.cached import call_or_recall
from openai_gateway.engine.catalogue import Catalogue
from openai_gateway.engine.keys import Keys
from openai_gateway.engine.parts import Parts
from openai_gateway.engine.router import Record, Router, forget
from openai_gateway.engine.upstream import Transport, Upstream, open_upstream
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.calls import Call, Model, Reply
from openai_gateway.routing.health import BreakerState
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import Redactor, Secret


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    *,
    transport: Transport | None = None,
    random: Callable[[], float] | None = None,
    redactor: Redactor | None = None,
    record: Record = forget,
) -> AsyncIterator[Gateway]:
    """A gateway for these settings; its connections are closed at the end.

    `transport` stands in for every provider's network, `random` gives numbers in [0, 1) for weights and jitter. Give
    the `redactor` of your log: it learns every key before it is used, so that no line shows one that came later.
    `record` gets the Account of each call once, at its end.
    """
    async with open_upstream(transport) as upstream:
        yield Gateway(settings, upstream, SystemRandom().random if random is None else random, redactor, record)


class Gateway:
    """Made by `open_gateway`. Every method may be used by many tasks at once."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        random: Callable[[], float],
        redactor: Redactor | None = None,
        record: Record = forget,
    ) -> None:
        if redactor is None:
            redactor = Redactor(_secrets(settings))
        for secret in _secrets(settings):
            redactor.learn(secret)
        self.settings = settings
        self._keys = Keys(redactor)
        self._router = Router(
            settings=settings,
            upstream=upstream,
            redactor=redactor,
            keys=self._keys,
            random=random,
            record=record,
        )
        self._catalogue = Catalogue(router=self._router)

    async def call(self, call: Call) -> Reply:
        """The whole answer; the upstream is asked without `stream`. Raises GatewayError."""
        return await call_or_recall(self._router, call)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Parts]:
        """The answer as it comes: Chunk…, for a call with `whole` also Restarted, and last Finished.

        Leaving the block closes the connection to the upstream at once. GatewayError is raised from the iteration, and
        from nothing else.
        """
        parts = Parts(self._router, call)
        try:
            yield parts
        finally:
            await parts.aclose()

    @asynccontextmanager
    async def stream_with_beats(self, call: Call, *, every: float = 15.0) -> AsyncIterator[Beats]:
        """As `stream`, with a Beat after each `every` seconds in which nothing came."""
        async with self.stream(call) as parts, with_beats(parts, every) as beats:
            yield beats

    async def models(self) -> tuple[Model, ...]:
        """All models that can be asked for, at most 300 s old. Raises GatewayError if no provider answered."""
        return await self._catalogue.models()

    async def key_of(self, provider: str) -> Secret | None:
        """The key that a call to this provider carries now, read where its source is; None if it has none.

        Raises GatewayError where it cannot be read, and KeyError for a name that is not in the table.
        """
        try:
            return (await self._keys.with_key(self.settings.table.providers[provider])).api_key
        except ConfigError as error:
            message = self._router.redactor.redact(str(error))
        raise GatewayError(kind=Kind.CONFIGURATION, message=message)

    def known_models(self) -> tuple[Model, ...] | None:
        """The list as last fetched, without any network; None before the first."""
        return self._catalogue.known()

    def health(self) -> Mapping[str, BreakerState]:
        """What is thought of each target that a row names, by the target's name; wildcard rows name none."""
        names = (f"{row.provider}/{row.model}" for row in self.settings.table.rows if "*" not in row.model)
        return self._router.health.states(names, trio.current_time())


def _secrets(settings: Settings) -> tuple[Secret, ...]:
    """Those that the configuration named, and each provider's key, should the settings have been made by hand."""
    keys = (provider.api_key for provider in settings.table.providers.values())
    return (*settings.secrets, *(key for key in keys if key is not None))
