"""Money in whole nanodollars: what is charged is never less than the price says, and no bound is too low."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.calls import Usage
from openai_gateway.routing.money import money_bound, money_of, nanodollars
from openai_gateway.routing.plan import Price

PRICES = st.builds(
    Price,
    input=st.floats(0, 1000, allow_nan=False),
    output=st.floats(0, 1000, allow_nan=False),
    cached_input=st.none() | st.floats(0, 1000, allow_nan=False),
)
TOKENS = st.integers(0, 10**7)


@pytest.mark.parametrize(("amount", "nano"), [(5.0, 5 * 10**9), (0.1, 10**8), (1e-9, 1), (1e-10, 1), (0.0, 0)])
def test_an_amount_is_written_as_a_person_meant_it(amount: float, nano: int) -> None:
    assert nanodollars(amount) == nano


def test_a_million_tokens_cost_their_price() -> None:
    usage = Usage(input=10**6, output=10**6, cached_input=400_000)
    price = Price(input=1.25, output=10.0, cached_input=0.125)
    assert money_of(usage, price) == round((0.6 * 1.25 + 0.4 * 0.125 + 10.0) * 10**9)


@pytest.mark.parametrize(("usage", "price"), [(None, Price(input=1, output=1)), (Usage(input=5), None)])
def test_what_is_not_known_costs_nothing(usage: Usage | None, price: Price | None) -> None:
    assert money_of(usage, price) == 0


@given(PRICES, TOKENS, TOKENS, TOKENS)
def test_what_is_charged_is_the_exact_cost_rounded_up(price: Price, read: int, cached: int, written: int) -> None:
    charged = money_of(Usage(input=read, cached_input=cached, output=written), price)
    again = min(cached, read)
    dearness = Fraction(price.input if price.cached_input is None else price.cached_input)
    exact = ((read - again) * Fraction(price.input) + again * dearness + written * Fraction(price.output)) * 1000
    assert exact - Fraction(1, 10**6) * (1 + exact) <= charged <= exact + 1 + Fraction(read + written, 10**6)


@given(PRICES, TOKENS, TOKENS, st.data())
def test_no_usage_within_a_bound_costs_more_than_the_bound(
    price: Price, prompt: int, output: int, data: st.DataObject
) -> None:
    usage = Usage(
        input=data.draw(st.integers(0, prompt)),
        output=data.draw(st.integers(0, output)),
        cached_input=data.draw(st.integers(0, prompt)),
    )
    assert money_of(usage, price) <= money_bound(prompt, output, price)
