"""`compare_models`: side by side, each model on its own."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.features.scripted import (
    CANARY,
    DONE,
    FOREVER,
    Upstream,
    Watcher,
    client_of,
    delta,
    meta_of,
    refuses,
    says,
    streams,
    text_of,
)


async def test_each_model_has_a_section_in_the_order_asked_for(autojump_clock: MockClock) -> None:
    slow = streams(5.0, delta("A"), delta(finish="stop"), DONE)
    async with client_of(Upstream(a=slow, b=says("B"))) as client:
        began = trio.current_time()
        result = await client.call("compare_models", prompt="hi", models=["a", "b"], system="s", max_tokens=4)
        assert trio.current_time() - began < 6
    assert text_of(result) == "## a\n\nA\n\n## b\n\nB"
    assert not result.is_error
    assert [facts["target"] for facts in meta_of(result)["models"]] == ["gateway/a", "gateway/b"]


async def test_the_models_are_asked_at_the_same_time_with_the_same_body(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=streams(5.0, delta("x"), delta(finish="stop"), DONE))
    async with client_of(upstream) as client:
        began = trio.current_time()
        await client.call("compare_models", prompt="hi", models=["a", "b", "c", "d"], system="s", max_tokens=4)
        assert trio.current_time() - began < 6
    assert sorted(body["model"] for body in upstream.bodies) == ["a", "b", "c", "d"]
    for body in upstream.bodies:
        assert body["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
        assert body["max_tokens"] == 4


async def test_a_failure_stands_in_its_section_and_the_others_answer(autojump_clock: MockClock) -> None:
    refused = refuses(401, f"bad key {CANARY}", code="invalid_api_key")
    async with client_of(Upstream(a=refused, b=says("B"))) as client:
        result = await client.call("compare_models", prompt="hi", models=["a", "b"])
    assert not result.is_error
    assert "## a\n\na failed: " in text_of(result)
    assert text_of(result).endswith("## b\n\nB")
    assert CANARY not in str(result)
    assert meta_of(result)["models"][0]["error"]["status"] == 502


async def test_it_is_an_error_only_when_no_model_answered(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=refuses(400, "no"))) as client:
        result = await client.call("compare_models", prompt="hi", models=["a", "b"])
    assert result.is_error


async def test_one_slow_model_comes_partial_at_the_deadline_and_holds_nobody_back(autojump_clock: MockClock) -> None:
    upstream = Upstream(a=streams(delta("half"), FOREVER), b=says("B"))
    async with client_of(upstream, {"GATEWAY_URL": "https://gateway.example", "TIMEOUT": "600"}) as client:
        began = trio.current_time()
        result = await client.call("compare_models", prompt="hi", models=["a", "b"])
        assert trio.current_time() - began < 56
    assert "## a\n\nhalf\n\n[Partial answer: the soft deadline" in text_of(result)
    assert text_of(result).endswith("## b\n\nB")


async def test_the_models_share_the_size_of_a_result(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=says("x" * 90)), max_characters=100) as client:
        result = await client.call("compare_models", prompt="hi", models=["a", "b"])
    assert text_of(result).count("x") == 100
    assert text_of(result).count("Cut at 50 characters") == 2


async def test_progress_is_the_sum_over_the_models(autojump_clock: MockClock) -> None:
    watcher = Watcher()
    async with client_of(Upstream(any=streams(delta("12345"), 1.0, delta("6"), delta(finish="stop"), DONE))) as client:
        await client.call("compare_models", watcher, prompt="hi", models=["a", "b"])
    values = [value for value, _ in watcher.reports]
    assert values[0] == 5
    assert values[-1] == 12


async def test_one_model_or_nine_are_refused(autojump_clock: MockClock) -> None:
    async with client_of(Upstream()) as client:
        for models in (["a"], list("abcdefghi"), [], "ab"):
            result = await client.call("compare_models", prompt="hi", models=models)
            assert result.is_error
            assert "`models`" in text_of(result)
            assert "an array of 2 to 8 strings" in text_of(result)
        assert "Missing argument `prompt`" in text_of(await client.call("compare_models", models=["a", "b"]))


async def test_cancelling_it_closes_every_stream(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=streams(delta("a"), FOREVER))
    async with client_of(upstream) as client:
        with trio.move_on_after(2):
            await client.call("compare_models", prompt="hi", models=["a", "b", "c"])
        assert [stream.closed for stream in upstream.streams] == [True, True, True]
