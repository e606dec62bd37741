"""Money as whole numbers: billionths of a US dollar, always rounded up, so that no bound is ever too low."""

from __future__ import annotations

import functools
import math
from decimal import Decimal
from typing import Final

from openai_gateway.routing.calls import Usage
from openai_gateway.routing.plan import Price

NANO: Final = 10**9
"""Nanodollars of a dollar. Redis counts in doubles, which are exact up to 9 million dollars of these."""

_ATTO: Final = 10**12  # 10^-18 dollars a token, of a price in dollars a million tokens


def nanodollars(dollars: float) -> int:
    """An amount that a person wrote, such as a budget."""
    return math.ceil(Decimal(repr(dollars)) * NANO)


def money_of(usage: Usage | None, price: Price | None) -> int:
    """What these tokens cost, 0 where the usage or the price is not known. Cached input is part of the input."""
    if usage is None or price is None:
        return 0
    cached_price = price.input if price.cached_input is None else price.cached_input
    cached = min(usage.cached_input, usage.input)
    atto = (usage.input - cached) * _a_token(price.input) + cached * _a_token(cached_price)
    return -(-(atto + usage.output * _a_token(price.output)) // NANO)


def money_bound(prompt: int, output: int, price: Price) -> int:
    """The most that a call of so many tokens can cost: what is cached may be dearer than what is not."""
    dearest = max(price.input, price.cached_input or 0.0)
    return -(-(prompt * _a_token(dearest) + output * _a_token(price.output)) // NANO)


@functools.lru_cache(maxsize=4096)
def _a_token(price: float) -> int:
    return math.ceil(Decimal(repr(price)) * _ATTO)
