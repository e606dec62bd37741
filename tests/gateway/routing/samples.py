"""Providers, rows and tables for the tests of routing, in one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.attempts import Cause, Failure
from openai_gateway.routing.calls import Call
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable, Target
from openai_gateway.routing.prefill import Prefill
from openai_gateway.secret import Redactor, Secret

KEY = "canary-0123456789-abcdefghij"
REDACTOR = Redactor([Secret(KEY, name="A_KEY")])


def provider(name: str = "a", **fields: Any) -> Provider:
    given = {
        "kind": "openai",
        "base_url": f"https://{name}.example.com/v1",
        "api_key": Secret(f"key-of-{name}", name=name),
    }
    return Provider(name=name, **{**given, **fields})


def row(name: str = "m", provider: str = "a", **fields: Any) -> ModelRow:
    return ModelRow(**{"name": name, "provider": provider, "model": name, **fields})


def table(*rows: ModelRow, providers: Iterable[Provider] = ()) -> RouteTable:
    names = {row.provider for row in rows}
    made = {name: provider(name) for name in sorted(names)} | {one.name: one for one in providers}
    return RouteTable(providers=made, rows=rows)


def target(name: str = "a", model: str = "m", **fields: Any) -> Target:
    return Target(provider=provider(name, **fields), model=model, row=row(model, name))


def able(name: str) -> Target:
    """A target that goes on from an assistant message."""
    return Target(provider=provider(name), model="m", row=row("m", name, prefill=Prefill.MESSAGE))


def call(model: str = "m", **fields: Any) -> Call:
    return Call(**{"model": model, "body": {"messages": []}, **fields})


def failure(cause: Cause, message: str | None = None, **fields: Any) -> Failure:
    error = GatewayError(kind=Kind.UPSTREAM, message=message or cause.value)
    return Failure(**{"cause": cause, "error": error, **fields})


def always(number: float) -> Callable[[], float]:
    return lambda: number
