"""The upper bound of a call's tokens: never below what a tokenizer can make of it, whatever the caller writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call
from openai_gateway.routing.token_bound import DEFAULT_OUTPUT, IMAGE, output_bound, prompt_bound, token_bound


def bound(endpoint: str = "chat/completions", max_output: int | None = None, **body: Any) -> int:
    return token_bound(Call(endpoint=endpoint, model="m", body=body), max_output)


def of_prompt(**body: Any) -> int:
    """What the prompt alone comes to."""
    return prompt_bound(Call(model="m", body=body))


@pytest.mark.parametrize(
    ("body", "max_output", "output"),
    [
        ({}, None, DEFAULT_OUTPUT),
        ({}, 100, 100),
        ({"max_tokens": 7}, 100, 7),
        ({"max_completion_tokens": 9, "max_tokens": 7}, 100, 9),
        ({"max_tokens": 7, "n": 3}, None, 21),
        ({"max_tokens": 7, "n": 3, "best_of": 5}, None, 35),
        ({"n": 2}, 100, 200),
        ({"max_tokens": None, "n": None}, 100, 100),
        ({"max_tokens": True, "n": -1}, 100, 100),
        ({"max_tokens": "many", "n": 1.5}, 100, 100),
    ],
)
def test_the_output_is_the_callers_cap_or_the_rows_or_the_default(
    body: dict[str, Any], max_output: int | None, output: int
) -> None:
    assert bound(max_output=max_output, **body) - bound("embeddings", **body) == output


@pytest.mark.parametrize(("endpoint", "name", "bounds"), [
    ("chat/completions", "max_tokens", True), ("chat/completions", "max_completion_tokens", True),
    ("chat/completions", "max_output_tokens", False), ("responses", "max_output_tokens", True),
    ("responses", "max_tokens", False), ("completions", "max_tokens", True),
    ("completions", "max_completion_tokens", False), ("images/generations", "max_tokens", False),
])  # fmt: skip
def test_only_what_the_endpoint_reads_bounds_its_answer(endpoint: str, name: str, bounds: bool) -> None:
    call = Call(endpoint=endpoint, model="m", body={name: 7})
    assert output_bound(call) == (7 if bounds else None)
    assert token_bound(call) - prompt_bound(call) == (7 if bounds else DEFAULT_OUTPUT)


def test_each_prompt_of_a_completion_has_an_answer_of_its_own() -> None:
    one = bound("completions", prompt="Hi", max_tokens=1000)
    assert bound("completions", prompt=["Hi", "Ho"], max_tokens=1000) in range(one + 1000, one + 1020)
    assert bound("completions", prompt=[[1, 2], [3], [4]], max_tokens=1000) in range(one + 2000, one + 2060)
    assert bound("completions", prompt=[1, 2, 3], max_tokens=1000) in range(one, one + 30)
    assert bound("completions", prompt=[], max_tokens=1000) in range(one - 10, one + 10)


def test_what_gives_no_text_has_no_output() -> None:
    assert bound("embeddings", input="Hi") < DEFAULT_OUTPUT


def test_an_image_counts_by_its_allowance_and_not_by_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    with_image = of_prompt(messages=[{"role": "user", "content": [image, image]}])
    assert with_image in range(2 * IMAGE, 2 * IMAGE + 500)


def test_a_text_that_poses_as_an_image_counts_by_its_bytes() -> None:
    text = "data:image/png;base64," + "A" * 100_000
    for message in (
        {"role": "user", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text, "image_url": {"url": "x"}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}, "text": text}]},
        {"role": "user", "content": [{"type": ["image_url"], "image_url": {"url": text}}]},
    ):
        assert of_prompt(messages=[message]) > 100_000


def test_tools_bring_instructions_of_their_own() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    for member in ("tools", "functions"):
        assert of_prompt(**{member: [tool]}) - of_prompt(other=[tool]) in range(1000, 1100)


def test_the_bound_is_a_number_that_every_store_can_hold() -> None:
    assert bound(max_tokens=10**400, n=10**400) == 2**53


def test_a_body_without_end_is_an_invalid_request() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(GatewayError) as caught:
        bound(messages=circle)
    assert caught.value.kind is Kind.INVALID_REQUEST


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _JSON, max_size=3))
def test_the_prompt_is_never_bounded_below_its_bytes(body: dict[str, Any]) -> None:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    assert of_prompt(x=body) >= len(text.encode("utf-8", "surrogatepass"))
