"""The upstreams alone: when these fail, the peer is at fault and not our server."""

from __future__ import annotations

import httpx
import pytest
import trio
from tests.peers_upstream.upstreams import Upstream
from tests.peers_upstream.wiretap import tapped

pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

SENTENCE = "Hello, I am a tiny model ✓"


def asker(upstream: Upstream, url: str = "") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {upstream.key}"}
    return httpx.AsyncClient(base_url=url or upstream.url, headers=headers, trust_env=False, timeout=30)


async def test_the_upstream_answers_with_the_sentence_of_its_model(upstream: Upstream) -> None:
    async with asker(upstream) as client:
        body = {"model": upstream.model, "messages": [{"role": "user", "content": "Who are you?"}]}
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == SENTENCE


async def test_the_upstream_lists_its_model(upstream: Upstream) -> None:
    async with asker(upstream) as client:
        listed = await client.get("/v1/models")
    assert upstream.model in [model["id"] for model in listed.json()["data"]]


async def test_the_upstream_refuses_another_key(upstream: Upstream) -> None:
    async with asker(upstream) as client:
        refused = await client.get("/v1/models", headers={"Authorization": "Bearer sk-another-0123456789ab"})
    assert refused.status_code in {400, 401}  # LiteLLM without a database says 400


async def test_the_wiretap_sees_a_client_that_hangs_up_in_an_endless_answer(upstream: Upstream) -> None:
    body = {"model": upstream.model, "stream": True, "messages": [{"role": "user", "content": "Go on forever"}]}
    async with tapped(upstream.url) as tap, asker(upstream, tap.url) as client:
        with trio.CancelScope() as scope:
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    if "and" in line:
                        scope.cancel()
        with trio.fail_after(5):
            await tap.hung_up.wait()
    assert b"POST /v1/chat/completions" in tap.sent[0]
