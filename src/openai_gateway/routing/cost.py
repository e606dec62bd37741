"""What a call cost."""

from __future__ import annotations

from openai_gateway.routing.calls import Usage
from openai_gateway.routing.plan import Price


def cost(usage: Usage | None, price: Price | None) -> float | None:
    """US dollars, or None where the usage or the price is not known. Cached input is part of the input."""
    if usage is None or price is None:
        return None
    cached_price = price.input if price.cached_input is None else price.cached_input
    cached = min(usage.cached_input, usage.input)
    fresh = usage.input - cached
    return (fresh * price.input + cached * cached_price + usage.output * price.output) / 1_000_000
