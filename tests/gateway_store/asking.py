"""What tests of stores ask of them."""

from __future__ import annotations

from openai_gateway.engine.store import ServiceStore
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Demand, Limits, Measure, Refusal, Reservation

KEY = Limits(key="key k", title="key ci", rpm=10, tpm=1000, max_parallel=50, budget=1000, period="day")
ROW = Row(id="req_1", key="k", endpoint="chat/completions", model="m", target="a/m", status=200, money=30, input=5)
DAY = 86_400


def asks(limits: Limits = KEY, *, tokens: int = 0, money: int = 0) -> Demand:
    return Demand(limits=(limits,), tokens=tokens, money=money)


async def let_in(store: ServiceStore, demand: Demand, **how: bool) -> Reservation:
    outcome = await store.reserve(demand, **how)
    assert isinstance(outcome, Reservation), outcome
    return outcome


async def refused(store: ServiceStore, demand: Demand) -> Measure:
    outcome = await store.reserve(demand)
    assert isinstance(outcome, Refusal), outcome
    return outcome.measure
