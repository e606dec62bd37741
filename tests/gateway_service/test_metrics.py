"""Metrics: what Prometheus reads of them, that labels come from the configuration alone, and that sums add up."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.accounts import Account, Outcome
from openai_gateway.routing.calls import Usage
from openai_gateway.routing.health import BreakerState
from openai_gateway.routing.plan import ModelRow, RouteTable
from openai_gateway.service.metrics import Metrics, render
from tests.gateway_service.house import ANSWER, CHAT, house, http

TABLE = RouteTable(
    rows=(ModelRow(name="m", provider="a", model="m"), ModelRow(name="x/*", provider="b", model="*")),
)
CALL = Account(
    endpoint="chat/completions", model="m", tenant="key_1", outcome=Outcome.ANSWERED, asked=("a/m",),
    usage=Usage(input=10, output=300), cost=0.25, first_byte=0.3, elapsed=1.0,
)  # fmt: skip


def read(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def shown(*of: Metrics, health: Mapping[str, BreakerState] | None = None) -> dict[Any, float]:
    snapshots = [json.loads(json.dumps(one.snapshot())) for one in of]
    return read(render(snapshots, in_work=3, health=health or {}))


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_a_call_is_counted_under_the_names_of_the_conventions() -> None:
    metrics = Metrics(TABLE)
    metrics.record(CALL)
    found = shown(metrics, health={"a/m": BreakerState.OPEN, "b/n": BreakerState.CLOSED})
    call = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "m"}
    duration = "gen_ai_client_operation_duration_seconds"
    assert found[at(f"{duration}_count", **call, error_type="")] == 1
    assert found[at(f"{duration}_sum", **call, error_type="")] == 1.0
    assert found[at(f"{duration}_bucket", **call, error_type="", le="0.64")] == 0
    assert found[at(f"{duration}_bucket", **call, error_type="", le="1.28")] == 1
    assert found[at("gen_ai_client_operation_time_to_first_chunk_seconds_sum", **call)] == 0.3
    assert found[at("gen_ai_client_token_usage_sum", **call, gen_ai_token_type="output")] == 300
    assert found[at("openai_gateway_attempts_total", target="a/m")] == 1
    assert found[at("openai_gateway_cost_usd_total", gen_ai_request_model="m")] == 0.25
    assert found[at("openai_gateway_in_work")] == 3
    assert found[at("openai_gateway_breaker_open", target="a/m")] == 1
    assert found[at("openai_gateway_breaker_open", target="b/n")] == 0


def test_no_caller_makes_a_label() -> None:
    metrics = Metrics(TABLE)
    for name in ("m", "x/one", "x/two", "unheard", 'evil"}\n'):
        error = GatewayError(kind=Kind.MODEL_NOT_FOUND, message="no")
        metrics.record(
            Account(endpoint="embeddings", model=name, tenant="t", outcome=Outcome.FAILED, error=error, asked=("b/z",))
        )
    metrics.record(Account(endpoint="rerank", model="m", tenant="t", outcome=Outcome.LEFT, cached=True))
    odd = GatewayError(kind=Kind.UPSTREAM, message="no", code="what an upstream calls it", type="odd", status=418)
    metrics.record(Account(endpoint="rerank", model="m", tenant="t", outcome=Outcome.FAILED, error=odd))
    metrics.refused(odd)
    assert "an upstream calls" not in str(shown(metrics))
    assert shown(metrics)[at("openai_gateway_refused_total", status="418", code="upstream_error")] == 1
    labels = {dict(labels).get("gen_ai_request_model") for _, labels in shown(metrics)} - {None}
    assert labels == {"m", "x/*", "other"}
    assert shown(metrics)[at("openai_gateway_attempts_total", target="b/*")] == 5
    assert shown(metrics)[at("openai_gateway_cached_total")] == 1
    assert "key_1" not in str(shown(metrics))


def test_the_label_of_a_name_is_the_row_that_serves_it() -> None:
    metrics = Metrics(
        RouteTable(rows=tuple(ModelRow(name=name, provider="a", model=name) for name in ("a*-and-a-tail", "ab*")))
    )
    metrics.record(attrs.evolve(CALL, model="ab-and-a-tail"))
    labels = {dict(labels).get("gen_ai_request_model") for _, labels in shown(metrics)} - {None}
    assert labels == {"ab*"}, "the wildcard with the longest prefix, however long the whole"


def test_what_workers_counted_adds_up() -> None:
    one, other = Metrics(RouteTable()), Metrics(TABLE)
    one.reload(TABLE)
    for metrics in (one, other, other):
        metrics.record(CALL)
        metrics.refused(GatewayError(kind=Kind.RATE_LIMITED, message="no"))
    assert shown(one, other)[at("openai_gateway_refused_total", status="429", code="rate_limit_exceeded")] == 3
    assert shown(one, other)[at("openai_gateway_cost_usd_total", gen_ai_request_model="m")] == 0.75


async def test_the_service_shows_them(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER)) as here:
        await here.ask("POST", "/v1/chat/completions", key=await here.key(), body=CHAT)
        await here.ask("POST", "/v1/chat/completions", body=CHAT)
        said = await here.ask("GET", "/metrics")
        assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = read(said.body)
        assert found[at("openai_gateway_attempts_total", target="up/m")] == 1
        assert found[at("openai_gateway_refused_total", status="401", code="invalid_api_key")] == 1


async def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"openai-gateway-mcp\[metrics\]"):
        render([], in_work=0, health={})
    async with house(tmp_path) as here:
        said = await here.ask("GET", "/metrics")
        assert (said.status, "[metrics]" in said.error["message"]) == (503, True)
