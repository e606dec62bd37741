"""What Prometheus is told: counters and histograms under the names of OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

import attrs

from openai_gateway.errors import ConfigError, GatewayError
from openai_gateway.routing.accounts import Account, Outcome
from openai_gateway.routing.health import BreakerState
from openai_gateway.routing.plan import RouteTable

Labels = tuple[str, ...]
Counts = defaultdict[str, float]
Snapshot = Iterable[tuple[str, Labels, Mapping[str, float]]]
"""What one process counted, as JSON can carry it."""

SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The buckets that the conventions advise."""


@attrs.frozen(kw_only=True)
class Family:
    """A metric: `buckets` are those of a histogram, empty for a counter."""

    name: str
    help: str
    labels: Labels
    buckets: tuple[float, ...] = ()


_CALL: Final = ("gen_ai_operation_name", "gen_ai_request_model")
DURATION: Final = Family(
    name="gen_ai_client_operation_duration_seconds", help="Seconds of a call.", labels=(*_CALL, "error_type"),
    buckets=SECONDS,
)  # fmt: skip
FIRST: Final = Family(
    name="gen_ai_client_operation_time_to_first_chunk_seconds", help="Seconds until the first content.", labels=_CALL,
    buckets=SECONDS,
)  # fmt: skip
USED: Final = Family(
    name="gen_ai_client_token_usage", help="Tokens of a call.", labels=(*_CALL, "gen_ai_token_type"), buckets=TOKENS
)
ATTEMPTS: Final = Family(name="openai_gateway_attempts", help="Attempts at targets.", labels=("target",))
COST: Final = Family(name="openai_gateway_cost_usd", help="US dollars spent.", labels=("gen_ai_request_model",))
CACHED: Final = Family(name="openai_gateway_cached", help="Calls answered from the cache.", labels=())
REFUSED: Final = Family(name="openai_gateway_refused", help="Requests refused.", labels=("status", "code"))
FAMILIES: Final = (DURATION, FIRST, USED, ATTEMPTS, COST, CACHED, REFUSED)

OPERATIONS: Final = {"chat/completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}
_OTHER: Final = "other"


class Metrics:
    """Counts. Labels come from the configuration alone, so that no caller can make new ones."""

    def __init__(self, table: RouteTable) -> None:
        self.reload(table)
        self._values: defaultdict[tuple[str, Labels], Counts] = defaultdict(_nothing_counted)

    def reload(self, table: RouteTable) -> None:
        """Know the models of another configuration; what was counted stays."""
        self._table = table
        self._targets = frozenset(f"{row.provider}/{row.model}" for row in table.rows)

    def record(self, account: Account) -> None:
        """One call."""
        call = (OPERATIONS.get(account.endpoint, account.endpoint), self._model(account.model))
        error = "" if account.outcome is Outcome.ANSWERED else "left"
        if account.error is not None:
            error = account.error.kind.code or account.error.kind.type  # ours: an upstream's may be anything
        self._observe(DURATION, (*call, error), account.elapsed)
        if account.first_byte is not None:
            self._observe(FIRST, call, account.first_byte)
        if account.usage is not None:
            self._observe(USED, (*call, "input"), account.usage.input)
            self._observe(USED, (*call, "output"), account.usage.output)
        for target in account.asked:
            self._count(ATTEMPTS, (self._target(target),))
        if account.cost:
            self._count(COST, (call[1],), account.cost)
        if account.cached:
            self._count(CACHED, ())

    def refused(self, error: GatewayError) -> None:
        """One request that came to no call, or failed."""
        self._count(REFUSED, (str(error.status), error.kind.code or error.kind.type))

    def snapshot(self) -> list[tuple[str, Labels, dict[str, float]]]:
        """All that was counted, as JSON can carry it."""
        return [(name, labels, dict(counts)) for (name, labels), counts in self._values.items()]

    def _model(self, name: str) -> str:
        """The name of the row that serves it: a wildcard stands for all that it takes."""
        rows = self._table.rows_of(name)
        return rows[0].name if rows else _OTHER

    def _target(self, name: str) -> str:
        return name if name in self._targets else f"{name.partition('/')[0]}/*"

    def _count(self, family: Family, labels: Labels, amount: float = 1) -> None:
        self._values[family.name, labels]["count"] += amount

    def _observe(self, family: Family, labels: Labels, value: float) -> None:
        counter = self._values[family.name, labels]
        counter["count"] += 1
        counter["sum"] += value
        counter[str(bisect_left(family.buckets, value))] += 1


def _nothing_counted() -> Counts:
    return defaultdict(float)


def render(
    snapshots: Iterable[Snapshot],
    *,
    in_work: int,
    health: Mapping[str, BreakerState],
) -> bytes:
    """The text that Prometheus reads: the sum of the snapshots. Raises ConfigError where the extra is not installed."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - an extra, for this alone
        from prometheus_client.registry import Collector  # noqa: PLC0415 - the same
    except ImportError:
        raise ConfigError("Metrics need the extra `metrics`: pip install 'openai-gateway-mcp[metrics]'.") from None
    summed: dict[tuple[str, Labels], Counts] = {}
    for snapshot in snapshots:
        for name, labels, counts in snapshot:
            total = summed.setdefault((name, tuple(labels)), defaultdict(float))
            for what, count in counts.items():
                total[what] += count

    class Ours(Collector):
        def collect(self) -> Iterator[Any]:
            yield from _families(summed)
            yield from _gauges(in_work, health)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ours())
    return generate_latest(registry)


def _families(summed: Mapping[tuple[str, Labels], Mapping[str, float]]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily  # noqa: PLC0415 - as in `render`

    for family in FAMILIES:
        mine = [(labels, counts) for (name, labels), counts in sorted(summed.items()) if name == family.name]
        if not family.buckets:
            counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for labels, counts in mine:
                counter.add_metric(labels, counts["count"])
            yield counter
            continue
        bounds = [*map(str, map(float, family.buckets)), "+Inf"]
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, counts in mine:
            each = [counts.get(str(at), 0) for at in range(len(bounds))]
            histogram.add_metric(labels, list(zip(bounds, accumulate(each), strict=True)), counts["sum"])
        yield histogram


def _gauges(in_work: int, health: Mapping[str, BreakerState]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - as in `render`

    yield GaugeMetricFamily("openai_gateway_in_work", "Requests in work.", value=in_work)
    breakers = GaugeMetricFamily(
        "openai_gateway_breaker_open", "1 for a target that is avoided, 0 for one that is asked.", labels=["target"]
    )
    for target, state in sorted(health.items()):
        breakers.add_metric([target], float(state is not BreakerState.CLOSED))
    yield breakers
