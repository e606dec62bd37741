"""The gateway as a library against real upstreams, without MCP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from tests.peers_upstream.slots import work_stops
from tests.peers_upstream.test_upstreams import SENTENCE
from tests.peers_upstream.upstreams import Upstream
from tests.peers_upstream.ways import REMOTE
from tests.peers_upstream.wiretap import tapped

from openai_gateway import Call, Chunk, Finished, Gateway, GatewayError, Kind, open_gateway
from openai_gateway import config as gateway_config

pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]


def settings_for(upstream: Upstream, *, key: str = "", url: str = "") -> gateway_config.Settings:
    return gateway_config.remote(REMOTE.env(upstream, key=key, url=url), url=None)


@pytest.fixture
async def gateway(upstream: Upstream) -> AsyncIterator[Gateway]:
    async with open_gateway(settings_for(upstream)) as gateway:
        yield gateway


def question(text: str, **parameters: int) -> Call:
    return Call.chat(model="tiny", messages=[{"role": "user", "content": text}], **parameters)


async def test_a_call_returns_the_whole_answer(gateway: Gateway) -> None:
    reply = await gateway.call(question("Who are you?"))
    assert reply.json["choices"][0]["message"]["content"] == SENTENCE
    assert reply.served.usage is not None
    assert reply.served.usage.output == 9


async def test_a_stream_gives_the_answer_in_parts_and_who_served_it(gateway: Gateway) -> None:
    async with gateway.stream(question("Who are you?")) as stream:
        parts = [part async for part in stream]
    deltas = [choice["delta"] for part in parts if isinstance(part, Chunk) for choice in part.json["choices"]]
    words = [delta["content"] for delta in deltas if delta.get("content")]
    assert "".join(words) == SENTENCE
    assert len(words) > 1
    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.finish_reason == "stop"
    assert parts[-1].served.usage is not None
    assert parts[-1].served.usage.output == 9


async def test_the_models_are_listed_and_then_known(gateway: Gateway) -> None:
    assert gateway.known_models() is None
    models = await gateway.models()
    assert "tiny" in [model.id for model in models]
    assert gateway.known_models() == models


async def test_leaving_a_stream_hangs_up(upstream: Upstream, llama_cpp: Upstream) -> None:
    async with tapped(upstream.url) as tap, open_gateway(settings_for(upstream, url=tap.url)) as gateway:
        async with gateway.stream(question("Go on forever")) as parts:
            with trio.CancelScope() as scope:
                async for part in parts:
                    if isinstance(part, Chunk):
                        scope.cancel()
        with trio.fail_after(5):
            await tap.hung_up.wait()
    await work_stops(upstream, llama_cpp)


async def test_a_refused_key_is_the_gateways_own_error(llama_cpp: Upstream) -> None:
    async with open_gateway(settings_for(llama_cpp, key="sk-wrong-canary-9e8d7c6b5a4f")) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(question("Who are you?"))
    assert caught.value.kind in {Kind.CREDENTIALS_REJECTED, Kind.AUTHENTICATION}
    assert "canary" not in repr(caught.value) + str(caught.value.to_openai())
