"""The gateway's face: calls, streams and the list of models, each over the configuration snapshot it began with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING

import attrs
import trio

from openai_gateway.engine.beats import Beats, with_beats
from openai_gateway.engine.cached import call_or_recall
from openai_gateway.engine.catalogue import Catalogue
from openai_gateway.engine.download import Download, open_download
from openai_gateway.engine.keys import Keys
from openai_gateway.engine.parts import Parts
from openai_gateway.engine.router import Record, Router, forget
from openai_gateway.engine.store import Store
from openai_gateway.engine.store.memory import MemoryStore
from openai_gateway.engine.upstream import Upstream, open_upstream
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.calls import Call, Model, Reply
from openai_gateway.routing.health import BreakerState
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import Redactor, Secret

if TYPE_CHECKING:
    from openai_gateway.engine.httpx_client import Transport


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    *,
    transport: Transport | None = None,
    random: Callable[[], float] | None = None,
    redactor: Redactor | None = None,
    record: Record = forget,
    store: Store | None = None,
    strangers: bool = False,
) -> AsyncIterator[Gateway]:
    """A gateway for these settings; its connections are closed at the end.

    `transport` stands in for every provider's network, `random` gives numbers in [0, 1) for weights and jitter. Give
    the `redactor` of your log: it learns every key before it is used, so that no line shows one that came later.
    `record` gets the Account of each call once, at its end. `store` is where limits are kept, and a service's ledger;
    without one they are this process's own. It stays its owner's to close.
    `strangers` says that the callers do not trust each other (`open_upstream`).
    """
    async with open_upstream(transport, strangers=strangers) as upstream:
        draws = SystemRandom().random if random is None else random
        yield Gateway(settings, upstream, draws, redactor=redactor, record=record, store=store)


@attrs.define(eq=False, kw_only=True)
class _Snapshot:
    """What one configuration makes, model list and refused credentials included; `calls` run on it."""

    router: Router
    catalogue: Catalogue
    calls: int = 0


@attrs.define(eq=False)
class _InUse:
    """A snapshot with one call more on it for as long as the block runs. A class, as each call has one of these, and a
    generator's block takes three times as long."""

    _snapshot: _Snapshot
    _is_left: Callable[[_Snapshot], bool]
    _close_unused: Callable[[], Awaitable[None]]

    async def __aenter__(self) -> _Snapshot:
        self._snapshot.calls += 1
        return self._snapshot

    async def __aexit__(self, *_: object) -> None:
        self._snapshot.calls -= 1
        if self._is_left(self._snapshot):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._close_unused()


class Gateway:
    """Made by `open_gateway`. Every method may be used by many tasks at once."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        random: Callable[[], float],
        *,
        redactor: Redactor | None = None,
        record: Record = forget,
        store: Store | None = None,
    ) -> None:
        # What outlives a reload is held here, and handed to each new Router in _snapshot_of(): what is in use of the
        # limits goes on counting, and a key that was replaced may still be quoted by a call in flight.
        self._upstream = upstream
        self._random = random
        self._redactor = Redactor() if redactor is None else redactor
        self._record = record
        self._store: Store = MemoryStore() if store is None else store
        self._current = self._snapshot_of(settings)
        self._leaving: list[_Snapshot] = []
        """Snapshots that were replaced while calls ran on them."""

    @property
    def settings(self) -> Settings:
        """What a call that begins now is served by."""
        return self._current.router.settings

    async def reload(self, settings: Settings) -> None:
        """Serve the calls that begin from now on by `settings`; those in flight finish on what they began with.

        The swap is done before anything is awaited. Refused credentials, keys that were read, breakers, learnt repairs,
        the cache and the model list belong to the old snapshot. Connections are kept where neither their address nor
        the way there changed; those that nobody needs any more are closed, at the latest with the last call that uses
        them.
        """
        if self._current.calls:
            self._leaving.append(self._current)
        self._current = self._snapshot_of(settings)
        await self._close_unused()

    async def call(self, call: Call) -> Reply:
        """The whole answer; the upstream is asked without `stream`. Raises GatewayError."""
        async with self._in_use() as snapshot:
            return await call_or_recall(snapshot.router, call)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Parts]:
        """The answer as it comes: Chunk…, for a call with `whole` also Restarted, and last Finished.

        Leaving the block closes the connection to the upstream at once. GatewayError is raised from the iteration, and
        from nothing else.
        """
        async with self._in_use() as snapshot:
            parts = Parts(snapshot.router, call)
            try:
                yield parts
            finally:
                await parts.aclose()

    @asynccontextmanager
    async def stream_with_beats(self, call: Call, *, every: float = 15.0) -> AsyncIterator[Beats]:
        """As `stream`, with a Beat after each `every` seconds in which nothing came."""
        async with self.stream(call) as parts, with_beats(parts, every) as beats:
            yield beats

    @asynccontextmanager
    async def download(self, call: Call) -> AsyncIterator[Download]:
        """The answer as it is, piece by piece and whatever its size. Raises GatewayError, from its `pieces` as well.

        Leaving the block closes the connection to the upstream at once.
        """
        async with self._in_use() as snapshot, open_download(snapshot.router, call) as download:
            yield download

    async def models(self) -> tuple[Model, ...]:
        """All models that can be asked for, at most 300 s old. Raises GatewayError if no provider answered."""
        async with self._in_use() as snapshot:
            return await snapshot.catalogue.models()

    async def key_of(self, provider: str) -> Secret | None:
        """The key that a call to this provider carries now, read where its source is; None if it has none.

        Raises GatewayError where it cannot be read, and KeyError for a name that is not in the table.
        """
        router = self._current.router
        try:
            return (await router.keys.with_key(router.settings.table.providers[provider])).api_key
        except ConfigError as error:
            message = self._redactor.redact(str(error))
        raise GatewayError(kind=Kind.CONFIGURATION, message=message)

    def known_models(self) -> tuple[Model, ...] | None:
        """The list as last fetched, without any network; None before the first."""
        return self._current.catalogue.known()

    def _snapshot_of(self, settings: Settings) -> _Snapshot:
        for secret in _secrets(settings):
            self._redactor.learn(secret)
        router = Router(
            settings=settings,
            upstream=self._upstream,
            redactor=self._redactor,
            keys=Keys(self._redactor),
            random=self._random,
            record=self._record,
            store=self._store,
        )
        return _Snapshot(router=router, catalogue=Catalogue(router=router))

    def _in_use(self) -> _InUse:
        """The current snapshot, whose connections stay open for as long as the block runs."""
        return _InUse(self._current, self._is_left, self._close_unused)

    def _is_left(self, snapshot: _Snapshot) -> bool:
        """Whether it was replaced, and its last call is over; then it is forgotten."""
        if snapshot.calls or snapshot not in self._leaving:
            return False
        self._leaving.remove(snapshot)
        return True

    async def _close_unused(self) -> None:
        tables = [snapshot.router.settings.table for snapshot in (self._current, *self._leaving)]
        await self._upstream.keep_only(provider for table in tables for provider in table.providers.values())

    def health(self) -> Mapping[str, BreakerState]:
        """What is thought of each target that a row names, by the target's name; wildcard rows name none."""
        names = (f"{row.provider}/{row.model}" for row in self.settings.table.rows if "*" not in row.model)
        return self._current.router.health.states(names, trio.current_time())


def _secrets(settings: Settings) -> tuple[Secret, ...]:
    """Those that the configuration named, and each provider's key, should the settings have been made by hand."""
    keys = (provider.api_key for provider in settings.table.providers.values())
    return (*settings.secrets, *(key for key in keys if key is not None))
