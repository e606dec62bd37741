"""A stream that is cut goes on at a target that can continue a message: only what is new, and never twice."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from trio.testing import MockClock

from openai_gateway import Account, Chunk, Finished, GatewayError, Outcome, Settings, open_gateway
from openai_gateway.routing.plan import Price
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Retries
from openai_gateway.secret import Secret
from tests.gateway_engine.scripted import (
    DONE,
    FOREVER,
    ROLE,
    Script,
    Step,
    ask,
    chunk,
    event,
    provider,
    refusal,
    row,
    settings,
    stream,
    whole,
)
from tests.gateway_engine.test_streams import parts_of, texts

RESET = httpx.ReadError("reset")
PRICE = Price(input=1_000_000, output=1_000_000)  # a dollar a token
REST = stream(
    event({"id": "c2", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
    event({"id": "c2", "choices": [{"index": 0, "delta": {"content": "lo!"}, "finish_reason": None}]}),
    event({"id": "c2", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    event({"id": "c2", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}}),
    DONE,
)


def able(how: Prefill | None = Prefill.MESSAGE, **more: Any) -> Settings:
    """The model `m` at `one`, which cannot continue, then at `two`, which can."""
    rows = row(order=1, price=PRICE), row(provider="two", order=2, prefill=how, price=PRICE)
    providers = provider("one"), provider("two", api_key=Secret("other-key-000", name="K"))
    return settings(*rows, providers=providers, retries=Retries(max_retries=1), **more)


@pytest.mark.parametrize(
    "breaking",
    [(RESET,), (), (FOREVER,), (event({"error": {"message": "overloaded", "type": "overloaded_error"}}),)],
    ids=["reset", "end", "stall", "in-band error"],
)
async def test_text_that_is_cut_goes_on_at_the_target_that_can(
    autojump_clock: MockClock, breaking: tuple[Step, ...]
) -> None:
    script = Script(stream(ROLE, chunk("He"), chunk("l"), *breaking), REST)
    parts, error = await parts_of(able(), script, ask(body={"stream_options": {"include_usage": True}}))

    assert (texts(parts), error) == ("Hello!", None)
    assert script.bodies[1]["messages"] == [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hel"},
    ]
    chunks = [part.json for part in parts if isinstance(part, Chunk)]
    assert {json["id"] for json in chunks} == {"c1"}
    assert sum("role" in choice["delta"] for json in chunks for choice in json["choices"]) == 1
    finished = parts[-1]
    assert isinstance(finished, Finished)
    assert (finished.served.continued, finished.served.target, finished.served.attempts) == (True, "two/m-at-two", 2)
    # The first target's are estimated: "Hello!" makes 2 tokens, "Hel" makes 1. The second one counted its own.
    assert chunks[-1]["usage"] == {"prompt_tokens": 32, "completion_tokens": 3, "total_tokens": 35}
    usage = finished.served.usage
    assert usage is not None
    assert (usage.input, usage.output, usage.estimated) == (32, 3, True)
    assert finished.served.cost == pytest.approx(35)


async def test_a_second_cut_goes_on_from_all_of_the_text(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("He"), RESET), stream(chunk("l"), RESET), REST)
    parts, error = await parts_of(able(), script)

    assert (texts(parts), error) == ("Hello!", None)
    assert [body["messages"][-1]["content"] for body in script.bodies[1:]] == ["He", "Hel"]


async def test_a_whole_answer_can_be_the_rest(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hel"), RESET), whole("lo!"))
    parts, error = await parts_of(able(), script)

    assert (texts(parts), error) == ("Hello!", None)


async def test_without_a_target_that_can_the_cut_is_told(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hel"), RESET), REST)
    parts, error = await parts_of(able(how=None), script)

    assert texts(parts) == "Hel"
    assert error is not None
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "first",
    [
        event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "t"}]}}]}),
        event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}),
        event({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        event({"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "x"}]}}]}),
    ],
    ids=["a tool call", "reasoning", "a second choice", "parts"],
)
async def test_what_is_no_plain_text_is_not_continued(autojump_clock: MockClock, first: bytes) -> None:
    script = Script(stream(first, chunk("Hel"), RESET), REST)
    _, error = await parts_of(able(), script)

    assert error is not None
    assert len(script.requests) == 1


async def test_json_is_not_continued(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk('{"a'), RESET), REST)
    _, error = await parts_of(able(), script, ask(body={"response_format": {"type": "json_object"}}))

    assert error is not None
    assert len(script.requests) == 1


async def test_a_refused_continuation_is_told_in_the_end(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hel"), RESET), refusal(400, "no prefill here"))
    parts, error = await parts_of(able(), script)

    assert texts(parts) == "Hel"
    assert error is not None
    assert "no prefill here" in error.message


async def test_the_record_of_a_cut_call_says_what_it_cost(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hel"), RESET))
    accounts: list[Account] = []
    async with (
        open_gateway(able(how=None), transport=script, record=accounts.append) as gateway,
        gateway.stream(ask()) as going,
    ):
        await anext(going)
        with pytest.raises(GatewayError):
            await anext(going)

    (account,) = accounts
    assert (account.outcome, account.asked, account.cost) == (Outcome.FAILED, ("one/m-at-one",), 3.0)


async def test_the_rest_has_the_id_of_what_the_caller_saw(autojump_clock: MockClock) -> None:
    unseen = event({"id": "c0", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    script = Script(stream(unseen, RESET), stream(chunk("Hel"), RESET), REST)
    parts, error = await parts_of(able(), script)

    assert (texts(parts), error) == ("Hello!", None)
    assert {part.json["id"] for part in parts if isinstance(part, Chunk)} == {"c1"}


@pytest.mark.parametrize(
    "odd",
    [{"n": []}, {"n": {}}, {"response_format": []}, {"response_format": {"type": []}}, {"messages": 5}],
    ids=["a list of samples", "an object of samples", "a list of formats", "a list of types", "no turns"],
)
async def test_what_an_upstream_let_pass_is_not_continued_and_breaks_nothing(
    autojump_clock: MockClock, odd: dict[str, Any]
) -> None:
    script = Script(stream(chunk("Hel"), RESET), REST)
    parts, error = await parts_of(able(), script, ask(body=odd))

    assert texts(parts) == "Hel"
    assert error is not None
    assert len(script.requests) == 1


async def test_the_rest_is_another_request_than_the_one_with_the_key(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hel"), RESET), REST)
    _, error = await parts_of(able(), script, ask(idempotency_key="once"))

    assert error is None
    assert [request.headers.get("idempotency-key") for request in script.requests] == ["once", None]
