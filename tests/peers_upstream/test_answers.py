"""What people get from a real upstream through our real command, however they point it there."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.peers_upstream.conversation import conversation
from tests.peers_upstream.test_upstreams import SENTENCE
from tests.peers_upstream.upstreams import SLOTS, Upstream
from tests.peers_upstream.ways import EMBEDDED, REMOTE, WAYS, Way

pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

Json = Any
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def text_of(result: Json) -> str:
    (block,) = result["content"]
    assert block["type"] == "text"
    text: str = block["text"]
    return text


def fact(result: Json, name: str) -> Json:
    return result["_meta"][f"openai-gateway-mcp/{name}"]


both_ways = pytest.mark.parametrize("way", [REMOTE, EMBEDDED], ids=lambda way: way.name)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_chat_answers_however_the_address_is_written(upstream: Upstream, way: Way) -> None:
    async with conversation(*way.flags(), env=way.env(upstream)) as talk:
        result = await talk.call("chat", prompt="Who are you?", model=upstream.model)
    assert text_of(result) == SENTENCE
    assert not result.get("isError", False)


@both_ways
async def test_an_answer_says_who_served_it_and_what_it_cost(upstream: Upstream, way: Way) -> None:
    async with conversation(*way.flags(), env=way.env(upstream)) as talk:
        result = await talk.call("chat", prompt="Who are you?", model=upstream.model)
    assert fact(result, "finish_reason") == "stop"
    assert fact(result, "model") == upstream.model
    assert fact(result, "usage")["output"] == 9  # the sentence's eight tokens and its end
    assert fact(result, "usage")["input"] > 0
    assert fact(result, "attempts") == 1
    assert "warnings" not in str(result["_meta"])


@both_ways
async def test_the_extension_method_answers_with_the_upstreams_whole_body(upstream: Upstream, way: Way) -> None:
    prompt = {"messages": [{"role": "user", "content": "Hello!"}]}
    async with conversation(*way.flags(), env=way.env(upstream, DEFAULT_MODEL="tiny")) as talk:
        result = await talk.ask("completion/complete", {"prompt": prompt})
    assert result["completion"]["values"] == [SENTENCE]
    assert result["message"]["content"] == SENTENCE
    assert result["model"] == upstream.model
    assert result["finish_reason"] == "stop"
    assert result["usage"]["completion_tokens"] == 9
    assert result["response"]["object"] == "chat.completion"


@both_ways
async def test_the_model_list_is_the_upstreams(upstream: Upstream, way: Way) -> None:
    async with conversation(*way.flags(), env=way.env(upstream)) as talk:
        listed = await talk.ask("models/list")
        tool = await talk.call("list_models", query="tin")
    models = {model["id"]: model for model in listed["models"]}
    assert models["tiny"]["object"] == "model"
    assert models["tiny"]["created"] > 0
    assert tool["structuredContent"]["models"][0]["id"] == "tiny"


async def test_a_modern_client_needs_no_handshake(upstream: Upstream) -> None:
    async with conversation(env=REMOTE.env(upstream)) as talk:
        call = {"name": "chat", "arguments": {"prompt": "Hi", "model": "tiny"}, "_meta": MODERN}
        result = await talk.ask("tools/call", call)
    assert result["resultType"] == "complete"
    assert text_of(result) == SENTENCE


async def test_an_answer_cut_by_max_tokens_says_so(upstream: Upstream) -> None:
    async with conversation(env=REMOTE.env(upstream)) as talk:
        result = await talk.call("chat", prompt="Who are you?", model="tiny", max_tokens=3)
    assert fact(result, "finish_reason") == "length"
    assert text_of(result).startswith("Hello, I\n")
    assert "max_tokens" in text_of(result)


async def test_progress_counts_up_while_the_answer_streams(upstream: Upstream) -> None:
    arguments = {"prompt": "Go on forever", "model": "tiny", "max_tokens": 3000}
    call = {"name": "chat", "arguments": arguments, "_meta": {"progressToken": "p"}}
    async with conversation(env=REMOTE.env(upstream)) as talk:
        result = await talk.ask("tools/call", call)
    counts = [notice["params"]["progress"] for notice in talk.notices]
    assert counts
    assert counts == sorted(set(counts))
    assert counts[-1] <= len(text_of(result))
    assert all(notice["params"]["progressToken"] == "p" for notice in talk.notices)


async def test_more_calls_than_the_upstream_has_slots_are_all_answered(upstream: Upstream) -> None:
    async with conversation(env=REMOTE.env(upstream)) as talk:
        arguments = {"prompt": "Who are you?", "model": "tiny"}
        calls = [await talk.send("tools/call", {"name": "chat", "arguments": arguments}) for _ in range(6 * SLOTS)]
        results = [(await talk.answer(call))["result"] for call in calls]
    assert [text_of(result) for result in results] == [SENTENCE] * len(calls)


async def test_more_calls_than_a_connection_carries_are_all_answered(llama_cpp: Upstream) -> None:
    """llama.cpp closes a connection after 100 requests; none of them may be lost to that, and none sent twice."""
    async with conversation(env=REMOTE.env(llama_cpp, MAX_RETRIES="0")) as talk:
        for _ in range(130):
            result = await talk.call("chat", prompt="Who are you?", model="tiny", max_tokens=1)
            assert fact(result, "attempts") == 1


async def test_a_connection_that_the_upstream_closed_while_idle_costs_no_call(llama_cpp: Upstream) -> None:
    async with conversation(env=REMOTE.env(llama_cpp, MAX_RETRIES="0")) as talk:
        await talk.call("chat", prompt="Who are you?", model="tiny")
        await trio.sleep(5.5)  # llama.cpp closes an idle connection after 5 s, and no clock of ours can hurry it
        assert text_of(await talk.call("chat", prompt="Who are you?", model="tiny")) == SENTENCE


async def test_two_models_of_one_gateway_are_compared(litellm: Upstream) -> None:
    async with conversation(env=REMOTE.env(litellm)) as talk:
        result = await talk.call("compare_models", prompt="Who are you?", models=["tiny", "canned"])
    assert text_of(result) == f"## tiny\n\n{SENTENCE}\n\n## canned\n\nThis answer is canned."


async def test_the_default_model_answers_when_none_is_named(upstream: Upstream) -> None:
    async with conversation(env=REMOTE.env(upstream, DEFAULT_MODEL="tiny")) as talk:
        result = await talk.call("chat", prompt="Who are you?")
    assert text_of(result) == SENTENCE


async def test_a_default_that_nobody_set_and_nobody_serves_is_said_with_what_there_is(litellm: Upstream) -> None:
    async with conversation(env=REMOTE.env(litellm)) as talk:
        result = await talk.call("chat", prompt="Who are you?")
    assert result["isError"]
    for word in ("gpt-3.5-turbo", "DEFAULT_MODEL", "tiny", "canned"):
        assert word in text_of(result)


async def test_model_names_complete_from_the_upstreams_list(upstream: Upstream) -> None:
    argument = {"name": "model", "value": "ti"}
    async with conversation(env=REMOTE.env(upstream)) as talk:
        result = await talk.ask(
            "completion/complete", {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": argument}
        )
    assert result["completion"]["values"] == ["tiny"]
