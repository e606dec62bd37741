"""Which targets a call may go to, in which order; a pure choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call
from openai_gateway.routing.globs import is_allowed
from openai_gateway.secret import Secret

if TYPE_CHECKING:  # values of theirs are made later, if at all; a start is to load none of them
    from openai_gateway.routing.health import Health
    from openai_gateway.routing.key_source import KeySource
    from openai_gateway.routing.prefill import Prefill

TRANSPORTS: Final = ("native", "httpx")
"""Our own, and httpx's, which alone goes through proxies and speaks HTTP/2."""

SYSTEM_STORE: Final = "system"
"""As a `ca_bundle`: the authorities that the operating system trusts."""


@attrs.frozen(kw_only=True)
class Provider:
    """Where calls go, and the credential they carry.

    `base_url` is normalised: no trailing slash, it ends before /chat/completions. `missing` says what to set before
    this provider can be called (its key, its address). `url_set_by` and `key_set_by` are what a person changes for
    another address or key (GATEWAY_URL, or base_url of openai); empty where there is no such thing. `api_version` is
    Azure's: None for the surface that needs none.
    `transport` is one of TRANSPORTS; None for the one that can do what is asked. `ca_bundle` may be SYSTEM_STORE.
    `api_key` is the key as far as it is known; `key_source` says where it is read (again) when a call needs it.
    `certificates` says which version of the files `ca_bundle` and `client_cert` was there when the configuration was
    read: another one wants new connections.
    """

    name: str
    kind: str
    base_url: str = ""
    api_key: Secret | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)  # they may hold secrets
    organization: str | None = None
    project: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)  # it may hold a password
    ca_bundle: str | None = None
    client_cert: str | None = None
    certificates: str = ""
    allow_insecure: bool = False
    transport: str | None = None
    http2: bool = False
    api_version: str | None = None
    missing: str = ""
    url_set_by: str = ""
    key_set_by: str = ""
    key_source: KeySource | None = None


@attrs.frozen(kw_only=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None


@attrs.frozen(kw_only=True)
class ModelRow:
    """One `[[models]]` entry. `name` may hold one `*`; then `model` may too, filled with what the first stands for."""

    name: str
    provider: str
    model: str
    weight: float = 1
    order: int = 1
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    prefill: Prefill | None = None
    max_output_tokens: int | None = None
    first_byte: float | None = None
    fallbacks: tuple[str, ...] = ()
    context_fallbacks: tuple[str, ...] = ()
    price: Price | None = None


@attrs.frozen(kw_only=True)
class Target:
    """One place to send a call: a provider and its own name for the model."""

    provider: Provider
    model: str
    row: ModelRow
    name: str = attrs.field(init=False, eq=False, repr=False)
    """`provider/model`, for logs, warnings and `_meta`; it shows no key. Made once: a call asks for it nine times."""

    @name.default
    def _name_of_both(self) -> str:
        return f"{self.provider.name}/{self.model}" if self.model else self.provider.name


@attrs.frozen(kw_only=True)
class RouteTable:
    """All rows, in the order of the configuration. `missing` says what to set when there is no row at all."""

    providers: Mapping[str, Provider] = attrs.field(factory=dict)
    rows: tuple[ModelRow, ...] = ()
    missing: str = ""
    _exact: Mapping[str, tuple[ModelRow, ...]] = attrs.field(init=False, eq=False, repr=False)

    @_exact.default
    def _by_their_names(self) -> Mapping[str, tuple[ModelRow, ...]]:
        found: dict[str, list[ModelRow]] = {}
        for row in self.rows:
            if "*" not in row.name:
                found.setdefault(row.name, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    def rows_of(self, name: str) -> Sequence[ModelRow]:
        """Those of exactly this name, else those of the wildcard with the longest prefix; none for an unknown name."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        matching = [row for row in self.rows if matches(row.name, name) is not None]
        best = max((_precision(row.name) for row in matching), default=None)
        return [row for row in matching if _precision(row.name) == best]


def _precision(pattern: str) -> tuple[int, int]:
    prefix, _, suffix = pattern.partition("*")
    return len(prefix), len(suffix)


def matches(pattern: str, name: str) -> str | None:
    """What the `*` of a row's name stands for in `name`; "" where the row has none and is `name`; None for no match.

    A `*` stands for at least one character.
    """
    prefix, star, suffix = pattern.partition("*")
    if not star:
        return "" if pattern == name else None
    stem = name[len(prefix) : len(name) - len(suffix)]
    return stem if stem and name == prefix + stem + suffix else None


def plan(call: Call, table: RouteTable, health: Health, now: float, random: Callable[[], float]) -> tuple[Target, ...]:
    """The targets of a call in the order in which they are to be tried, each once, never none.

    First the rows of the call's model: those of exactly its name, else those of the wildcard with the longest prefix (a
    wildcard never stands in for an exact row that fails: that is what fallbacks are for). Lower `order` first; the same
    order shares by weight, as `random` (numbers in [0, 1)) falls. Then the rows' fallbacks and theirs, depth first.
    Targets that `health` does not allow at `now` go to the end. A call that names its provider goes there and nowhere
    else. Raises GatewayError: CONFIGURATION where the table is empty, or has no such provider, PERMISSION where the
    caller may not use the model, MODEL_NOT_FOUND.
    """
    if call.provider is not None:
        return (_pinned(call.provider, table),)
    if not table.rows:
        raise GatewayError(kind=Kind.CONFIGURATION, message=table.missing or "No model is configured.")
    if not is_allowed(call.model, call.models):  # before it is looked for: what is served is no business of theirs
        raise _not_allowed(call.model)
    if not table.rows_of(call.model):
        raise _unknown_model(call.model, table, call.models)
    return _healthy_first(_with_fallbacks(call, table, random), health, now)


def _pinned(name: str, table: RouteTable) -> Target:
    """A provider without a model. What it is asked for lies there, so no other will do."""
    if name not in table.providers:
        message = f"The provider {name!r}, which has this, is no longer configured."
        raise GatewayError(kind=Kind.CONFIGURATION, message=message)
    return Target(provider=table.providers[name], model="", row=ModelRow(name="", provider=name, model=""))


def context_fallbacks(
    targets: Iterable[Target],
    table: RouteTable,
    health: Health,
    now: float,
    random: Callable[[], float],
    *,
    models: tuple[str, ...] | None = None,
) -> Mapping[str, tuple[Target, ...]]:
    """Where a prompt too long for a target goes, by that target's name; also for the targets found on the way.

    `models` are the globs of those that the caller may use.
    """
    larger: dict[str, tuple[Target, ...]] = {}
    waiting = list(targets)
    while waiting:
        target = waiting.pop()
        if target.name in larger or not target.row.context_fallbacks:
            continue
        names = (name for name in target.row.context_fallbacks if is_allowed(name, models))
        found = (other for name in names for other in _group(name, table, random))
        larger[target.name] = _healthy_first((other for other in found if other.name != target.name), health, now)
        waiting += larger[target.name]
    return larger


def _group(name: str, table: RouteTable, random: Callable[[], float]) -> Iterator[Target]:
    """The targets of one model name, shared out, without fallbacks; none for an unknown name."""
    rows = table.rows_of(name)
    for row in rows if len(rows) == 1 else _shared_out(rows, random):
        model = row.model.replace("*", matches(row.name, name) or "", 1) if "*" in row.name else row.model
        yield Target(provider=table.providers[row.provider], model=model, row=row)


def _shared_out(rows: Sequence[ModelRow], random: Callable[[], float]) -> Iterator[ModelRow]:
    for order in sorted({row.order for row in rows}):
        yield from _shuffled([row for row in rows if row.order == order], random)


def _shuffled(rows: Sequence[ModelRow], random: Callable[[], float]) -> Iterator[ModelRow]:
    """One after the other, each drawn with a chance in proportion to its weight; a weight of 0 comes last."""
    left = list(rows)
    while len(left) > 1:
        mark = random() * sum(row.weight for row in left)
        sums = enumerate(accumulate(row.weight for row in left))
        yield left.pop(next((index for index, up_to in sums if mark < up_to), 0))
    yield from left


def _with_fallbacks(call: Call, table: RouteTable, random: Callable[[], float]) -> Iterator[Target]:
    """Those of the call's model, then those of each fallback that its caller may use."""
    seen: set[str] = set()

    def group_and_fallbacks(name: str) -> Iterator[Target]:
        seen.add(name)
        group = tuple(_group(name, table, random))
        yield from group
        for target in group:
            for fallback in target.row.fallbacks:
                if fallback not in seen and is_allowed(fallback, call.models):
                    yield from group_and_fallbacks(fallback)

    return group_and_fallbacks(call.model)


def _healthy_first(targets: Iterable[Target], health: Health, now: float) -> tuple[Target, ...]:
    once: dict[str, Target] = {}
    for target in targets:
        once.setdefault(target.name, target)
    return tuple(sorted(once.values(), key=lambda target: not health.allows(target.name, now)))


_LONGEST_SHOWN: Final = 200  # characters of a name; a caller may send one of 32 MiB


def _not_allowed(name: str) -> GatewayError:
    return GatewayError(
        kind=Kind.PERMISSION,
        message=f"This key may not use the model {name[:_LONGEST_SHOWN]!r}.",
        hint="Ask for one of those that the list of models names.",
        param="model",
    )


def _unknown_model(name: str, table: RouteTable, models: tuple[str, ...] | None) -> GatewayError:
    from openai_gateway.wire.nearest import did_you_mean  # noqa: PLC0415 - difflib is not for the path of a start

    served = list(dict.fromkeys(row.name for row in table.rows if is_allowed(row.name, models)))
    return GatewayError(
        kind=Kind.MODEL_NOT_FOUND,
        message=f"The model {name[:_LONGEST_SHOWN]!r} is not served here.",
        hint=did_you_mean(name, served) or f"Served are: {', '.join(served[:10])}{', …' if len(served) > 10 else ''}.",
        param="model",
    )
