"""The models that can be asked for: what the providers list, under the names that the table gives them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import trio

from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.router import Router
from openai_gateway.engine.upstream import Exchange
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.calls import Json, Model
from openai_gateway.routing.classify import classify_event, error_in
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable, Target
from openai_gateway.wire.strict import JsonError, loads

TTL: Final = 300.0  # seconds
TTL_OF_PART: Final = 30.0
"""Of a list that lacks what a provider would have listed, had it answered: nobody is to miss its models for long."""

MAX_LIST_BYTES: Final = 8 * 2**20
"""Some ten times what the largest list in use (OpenRouter's) weighs; it is kept in memory and shown to people."""

_LOG: Final = logging.getLogger(__name__)

Entries = tuple[Mapping[str, Json], ...]
"""What one provider lists, each entry an object with an `id`."""


@attrs.define(kw_only=True)
class Catalogue:
    """The merged list, kept for its time. Whoever asks while it is being fetched waits for the same fetch."""

    router: Router
    _models: tuple[Model, ...] | None = attrs.field(default=None, init=False)
    _fresh_until: float = attrs.field(default=0.0, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _fetches: int = attrs.field(default=0, init=False)
    _error: GatewayError | None = attrs.field(default=None, init=False)

    def known(self) -> tuple[Model, ...] | None:
        """The last list, without any network; None before the first."""
        return self._models

    async def models(self) -> tuple[Model, ...]:
        """The list, at most 300 s old. Raises GatewayError if no provider answered."""
        seen = self._fetches
        # A lock and no shared task: where the one who fetches is cancelled, the next of those who wait takes over.
        async with self._lock:
            if self._models is not None and trio.current_time() < self._fresh_until:
                return self._models
            if self._fetches != seen and self._error is not None:  # the fetch that we waited for failed
                raise attrs.evolve(self._error)
            return await self._fetch()

    async def _fetch(self) -> tuple[Model, ...]:
        try:
            listed, is_whole = await _listed(self.router)
            self._models = merge(self.router.settings.table, listed)
            self._error = None
        except GatewayError as error:
            self._error = error
            raise
        finally:
            self._fetches += 1
        self._fresh_until = trio.current_time() + (TTL if is_whole else TTL_OF_PART)
        return self._models


async def _listed(router: Router) -> tuple[dict[str, Entries], bool]:
    """What each provider that has a row lists, by the provider's name, and whether asking again soon is no use.

    Raises GatewayError if none answered.
    """
    table = router.settings.table
    providers = [table.providers[name] for name in dict.fromkeys(row.provider for row in table.rows)]
    if not providers:
        raise GatewayError(kind=Kind.CONFIGURATION, message=table.missing or "No provider is configured.")
    found: dict[str, Entries] = {}
    errors: list[GatewayError] = []
    is_whole = True

    async def ask(provider: Provider) -> None:
        nonlocal is_whole
        try:
            found[provider.name] = await _list_of(router, provider)
        except GatewayError as error:
            _LOG.warning("The provider %s did not list its models: %s", provider.name, error)
            errors.append(error)
            # What it lacks in the configuration, it lacks for as long as this snapshot lives; a key may be mended.
            is_whole &= error.kind is Kind.CONFIGURATION and provider.key_source is None

    async with trio.open_nursery() as nursery:
        for provider in providers:
            nursery.start_soon(ask, provider)
    if not found:
        raise errors[0]
    return found, is_whole


async def _list_of(router: Router, provider: Provider) -> Entries:
    """One provider's list, asked once. Raises GatewayError."""
    if provider.missing:
        raise GatewayError(kind=Kind.CONFIGURATION, message=provider.missing)
    try:
        dialect = dialect_of(provider.kind)
        provider = await router.keys.with_key(provider)
    except ConfigError as error:
        raise GatewayError(kind=Kind.CONFIGURATION, message=str(error)) from None
    if dialect.models is None:
        return ()  # the rows' own names are all that can be told of it
    target = Target(
        provider=provider, model="models", row=ModelRow(name="models", provider=provider.name, model="models")
    )
    clocks = router.clocks(target, trio.current_time() + router.settings.timeouts.total)
    try:
        exchange = await router.upstream.open(provider, dialect.models(provider), clocks, respond=dialect.respond)
        try:
            entries = await _entries(router, target, exchange)
            return tuple(dialect.listed(entry) for entry in entries)
        finally:
            await exchange.aclose()
    except Broke as broke:
        failure = router.failed(target, broke)
    raise failure.error


async def _entries(router: Router, target: Target, exchange: Exchange) -> Entries:
    """Raises Broke, and GatewayError where the provider refused."""
    if not 200 <= exchange.status < 300:
        raise (await router.refusal(target, exchange)).error
    exchange.content_came()
    try:
        json = loads(await exchange.read_all(MAX_LIST_BYTES))
    except JsonError as error:
        raise Broke(Cause.MALFORMED, str(error)) from None
    if error_in(json) is not None:
        raise classify_event(json, target=target, redactor=router.redactor).error
    data = _data_of(json)
    if not isinstance(data, list):
        raise Broke(Cause.MALFORMED, "it is no list of models")
    entries = (entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str))
    return tuple(router.redactor.strike_known_json(entry) for entry in entries)


def _data_of(json: Json) -> Json:
    """The list in an answer; Together sends it bare, and Ollama without any model sends null for it."""
    if isinstance(json, dict):
        return [] if json.get("data", ...) is None else json.get("data")
    return json if isinstance(json, list) and json and isinstance(json[0], dict) else None


def merge(table: RouteTable, listed: Mapping[str, Entries]) -> tuple[Model, ...]:
    """The rows' own names first, then what the wildcards stand for; each name once."""
    exact = [row for row in table.rows if "*" not in row.name]
    wildcards = [row for row in table.rows if "*" in row.name]
    models: dict[str, Model] = {}
    by_id = {name: {entry["id"]: entry for entry in reversed(entries)} for name, entries in listed.items()}
    for row in exact:
        entry = by_id.get(row.provider, {}).get(row.model, {})
        models.setdefault(row.name, _model(row.name, entry, row.provider))
    for row in wildcards:
        for name, entry in _filled(row, listed.get(row.provider, ())):
            models.setdefault(name, _model(name, entry, row.provider))
    return tuple(models.values())


def _filled(row: ModelRow, entries: Sequence[Mapping[str, Json]]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Each entry that the row's upstream name fits, under the row's name with the same in the place of its `*`."""
    head, star, tail = row.model.partition("*")
    if not star:
        return  # every name goes to one model: there is no list of such names
    for entry in entries:
        model = entry["id"]
        if len(model) >= len(head) + len(tail) and model.startswith(head) and model.endswith(tail):
            yield row.name.replace("*", model[len(head) : len(model) - len(tail)]), entry


def _model(name: str, entry: Mapping[str, Json], provider: str) -> Model:
    owner, created = entry.get("owned_by"), entry.get("created")
    owned_by = owner if isinstance(owner, str) else provider
    made = created if isinstance(created, int) and not isinstance(created, bool) else 0
    raw = {"object": "model", "created": made, "owned_by": owned_by, **entry, "id": name}
    return Model(id=name, owned_by=owned_by, created=made, raw=raw)
