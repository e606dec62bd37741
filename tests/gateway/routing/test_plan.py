"""Which targets a call may go to, and in which order."""

from __future__ import annotations

from collections import Counter
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.health import Breakers
from openai_gateway.routing.plan import ModelRow, RouteTable, context_fallbacks, matches, plan
from tests.gateway.routing.samples import always, call, row, table

HEALTHY = Breakers()


@attrs.frozen
class Sick:
    names: frozenset[str]

    def allows(self, target_name: str, now: float) -> bool:
        return target_name not in self.names or now >= 100


def names(model: str, over: RouteTable, random: float = 0.0, sick: str = "", now: float = 0.0) -> list[str]:
    health = Sick(frozenset(sick.split()))
    return [target.name for target in plan(call(model), over, health, now, always(random))]


@pytest.mark.parametrize(
    ("pattern", "name", "stem"),
    [
        ("gpt-5", "gpt-5", ""),
        ("gpt-5", "gpt-5-mini", None),
        ("*", "gpt-5", "gpt-5"),
        ("*", "", None),
        ("openai/*", "openai/gpt-5", "gpt-5"),
        ("openai/*", "openai/", None),
        ("openai/*", "azure/gpt-5", None),
        ("a*z", "abcz", "bc"),
        ("aa*aa", "aaa", None),
        ("*-mini", "gpt-5-mini", "gpt-5"),
    ],
)
def test_a_pattern_gives_what_its_star_stands_for(pattern: str, name: str, stem: str | None) -> None:
    assert matches(pattern, name) == stem


def test_a_wildcard_fills_the_models_star_with_what_it_stands_for() -> None:
    rows = table(
        row("openai/*", "a", model="*"), row("claude-*", "b", model="anthropic/claude-*"), row("*", "c", model="x")
    )
    assert names("openai/gpt-5", rows) == ["a/gpt-5"]
    assert names("claude-4", rows) == ["b/anthropic/claude-4"]
    assert names("else", rows) == ["c/x"]


def test_an_exact_name_goes_before_wildcards_and_a_longer_wildcard_before_a_shorter() -> None:
    rows = table(row("*", "a"), row("gpt-*", "b"), row("gpt-5*", "c"), row("gpt-5", "d"), row("gpt-5*o", "e"))
    assert names("gpt-5", rows) == ["d/gpt-5"]
    assert names("gpt-5-x", rows) == ["c/gpt-5-x"]
    assert names("gpt-5-o", rows) == ["e/gpt-5-o"]
    assert names("gpt-4", rows) == ["b/gpt-4"]
    assert names("llama", rows) == ["a/llama"]


def test_lower_orders_come_first_and_equal_ones_share_by_weight() -> None:
    rows = table(row("m", "late", order=2), row("m", "a", weight=1), row("m", "b", weight=3))
    assert names("m", rows, random=0.0) == ["a/m", "b/m", "late/m"]
    assert names("m", rows, random=0.24) == ["a/m", "b/m", "late/m"]
    assert names("m", rows, random=0.25) == ["b/m", "a/m", "late/m"]


def test_the_same_seed_gives_the_same_plan_and_many_seeds_give_the_weights() -> None:
    rows = table(row("m", "a", weight=1), row("m", "b", weight=3), row("m", "never", weight=0))

    def first(seed: int) -> str:
        return plan(call("m"), rows, HEALTHY, 0, Random(seed).random)[0].provider.name  # noqa: S311 - a share, not a secret

    counts = Counter(map(first, range(1000)))
    assert counts == Counter(map(first, range(1000)))
    assert 180 < counts["a"] < 320
    assert counts["never"] == 0


def test_rows_without_any_weight_keep_their_order() -> None:
    assert names("m", table(row("m", "a", weight=0), row("m", "b", weight=0)), random=0.9) == ["a/m", "b/m"]


def test_fallbacks_follow_depth_first_without_loops_and_each_target_once() -> None:
    rows = table(
        row("m", "a", fallbacks=("n", "gone", "o")),
        row("n", "b", fallbacks=("p", "m")),
        row("o", "c", fallbacks=("o", "n")),
        row("p", "d"),
        row("p", "a", model="m"),
    )
    assert names("m", rows) == ["a/m", "b/n", "d/p", "c/o"]


def test_the_unhealthy_go_last_and_a_lone_target_is_still_tried() -> None:
    rows = table(row("m", "a"), row("m", "b", order=2), row("m", "c", order=3))
    assert names("m", rows, sick="a/m") == ["b/m", "c/m", "a/m"]
    assert names("m", rows, sick="a/m b/m c/m") == ["a/m", "b/m", "c/m"]
    assert names("m", rows, sick="a/m", now=100) == ["a/m", "b/m", "c/m"]
    assert names("m", table(row("m", "a")), sick="a/m") == ["a/m"]


def test_an_unknown_model_is_told_the_nearest_name() -> None:
    with pytest.raises(GatewayError) as caught:
        names("gtp-5", table(row("gpt-5", "a"), row("llama", "a")))
    assert caught.value.kind is Kind.MODEL_NOT_FOUND
    assert caught.value.param == "model"
    assert str(caught.value) == "The model 'gtp-5' is not served here. Did you mean 'gpt-5'?"


@pytest.mark.parametrize("allowed", [None, ("other",)])
def test_a_long_name_is_not_said_again_in_full(allowed: tuple[str, ...] | None) -> None:
    asked = attrs.evolve(call("x" * 1_000_000), models=allowed)
    with pytest.raises(GatewayError) as caught:
        plan(asked, table(row("gpt-5", "a")), HEALTHY, 0, always(0.0))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("unknown", ["zzz", "gpt" * 100])
def test_an_unknown_model_like_no_other_is_told_what_there_is(unknown: str) -> None:
    rows = table(*(row(f"gpt-{n}", "a") for n in range(11)))
    with pytest.raises(GatewayError, match=r"Served are: gpt-0, gpt-1, .*gpt-9, …\.$"):
        names(unknown, rows)
    with pytest.raises(GatewayError, match=r"Served are: gpt-0\.$"):
        names(unknown, table(row("gpt-0", "a")))


def test_an_empty_table_says_what_to_set() -> None:
    with pytest.raises(GatewayError, match="Set GATEWAY_URL") as caught:
        names("m", RouteTable(missing="Set GATEWAY_URL."))
    assert caught.value.kind is Kind.CONFIGURATION
    with pytest.raises(GatewayError, match="No model is configured"):
        names("m", RouteTable())


def test_context_fallbacks_are_found_for_every_target_on_the_way() -> None:
    rows = table(
        row("small", "a", context_fallbacks=("large", "small")),
        row("large", "b", context_fallbacks=("huge", "large", "gone")),
        row("huge", "c", context_fallbacks=("large",)),
        row("huge", "d", order=2),
    )
    targets = plan(call("small"), rows, HEALTHY, 0, always(0))
    larger = context_fallbacks(targets, rows, HEALTHY, 0, always(0))
    assert {name: [target.name for target in found] for name, found in larger.items()} == {
        "a/small": ["b/large"],
        "b/large": ["c/huge", "d/huge"],
        "c/huge": ["b/large"],
    }


_ROWS = st.lists(
    st.builds(
        row,
        name=st.sampled_from(["m", "n", "m*", "*"]),
        provider=st.sampled_from(["a", "b", "c"]),
        order=st.integers(1, 2),
        weight=st.sampled_from([0, 0.5, 2]),
        fallbacks=st.lists(st.sampled_from(["m", "n", "o"]), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=8,
)


@given(_ROWS, st.sampled_from(["m", "n", "mm", "x", ""]))
def test_the_rows_of_a_name_are_those_of_the_most_precise_pattern_that_fits(rows: list[ModelRow], name: str) -> None:
    fitting = [one for one in rows if matches(one.name, name) is not None]
    exact = [one for one in fitting if one.name == name]
    longest = max((len(one.name) for one in fitting), default=0)
    assert list(table(*rows).rows_of(name)) == (exact or [one for one in fitting if len(one.name) == longest])


@given(_ROWS, st.sets(st.sampled_from(["a/m", "b/m", "c/n"])), st.randoms(use_true_random=False))
def test_a_plan_has_each_target_once_and_never_none(rows: list[ModelRow], sick: set[str], random: Random) -> None:
    over = table(*rows, row("m", "z", order=3))
    planned = [target.name for target in plan(call("m"), over, Sick(frozenset(sick)), 0, random.random)]
    assert "z/m" in planned
    assert len(planned) == len(set(planned))
    healths = [name in sick for name in planned]
    assert healths == sorted(healths)


def test_a_caller_asks_only_the_models_that_its_globs_name_fallbacks_too() -> None:
    rows = table(
        row("big", "a", fallbacks=("other", "big-2"), context_fallbacks=("huge", "big-3")),
        row("big-2", "b"), row("other", "c"), row("huge", "d"), row("big-3", "e"),
    )  # fmt: skip
    asked = attrs.evolve(call("big"), models=("big*",))
    targets = plan(asked, rows, HEALTHY, 0, always(0))
    assert [target.name for target in targets] == ["a/big", "b/big-2"]
    larger = context_fallbacks(targets, rows, HEALTHY, 0, always(0), models=asked.models)
    assert [target.name for target in larger["a/big"]] == ["e/big-3"]


@pytest.mark.parametrize("name", ["big", "unheard-of"])
def test_a_model_that_a_caller_may_not_use_is_refused_whether_there_is_one_or_not(name: str) -> None:
    with pytest.raises(GatewayError, match="may not use") as caught:
        plan(attrs.evolve(call(name), models=("small",)), table(row("big"), row("small")), HEALTHY, 0, always(0))
    assert (caught.value.kind, caught.value.status, caught.value.param) == (Kind.PERMISSION, 403, "model")


def test_the_names_that_are_suggested_are_those_that_the_caller_may_use() -> None:
    with pytest.raises(GatewayError) as caught:
        plan(attrs.evolve(call("x-9"), models=("x*",)), table(row("secret"), row("x-10")), HEALTHY, 0, always(0))
    assert "x-10" in str(caught.value)
    assert "secret" not in str(caught.value)
