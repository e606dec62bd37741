"""The gateway's face, against the model that is built in."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import openai_gateway
from openai_gateway import Call, Chunk, Finished, Gateway, GatewayError, Kind, Reply, config, open_gateway
from tests.gateway_engine.scripted import Script

HELLO = Call.chat(model="echo", messages=[{"role": "user", "content": "Hello there!"}])


async def test_the_echo_model_answers_through_the_whole_path() -> None:
    async with open_gateway(config.embedded({})) as gateway:
        reply = await gateway.call(HELLO)

    assert isinstance(reply, Reply)
    assert reply.json["choices"][0]["message"]["content"].endswith("Hello there!")
    assert (reply.served.target, reply.served.attempts, reply.served.finish_reason) == ("echo/echo", 1, "stop")


async def test_the_echo_model_streams() -> None:
    async with open_gateway(config.embedded({})) as gateway, gateway.stream(HELLO) as parts:
        found = [part async for part in parts]

    texts = [part.json["choices"][0]["delta"].get("content", "") for part in found if isinstance(part, Chunk)]
    assert "".join(texts).endswith("Hello there!")
    assert isinstance(found[-1], Finished)


async def test_the_echo_model_needs_no_network_whatever_the_transport() -> None:
    script = Script()
    async with open_gateway(config.embedded({}), transport=script) as gateway:
        await gateway.call(HELLO)
        assert [model.id for model in await gateway.models()] == ["echo"]

    assert script.log == []


async def test_what_the_echo_model_cannot_do_is_an_error() -> None:
    async with open_gateway(config.embedded({})) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(Call(endpoint="embeddings", model="echo", body={"input": "x"}))

    assert caught.value.status == 404


async def test_an_echoing_stream_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with open_gateway(config.embedded({})) as gateway:
        with trio.CancelScope() as scope:
            async with gateway.stream(HELLO) as parts:
                async for _ in parts:
                    scope.cancel()

    assert scope.cancelled_caught


async def test_a_gateway_that_is_not_configured_says_what_to_set() -> None:
    async with open_gateway(config.remote({})) as gateway:
        with pytest.raises(GatewayError, match="GATEWAY_URL") as caught:
            await gateway.call(HELLO)

    assert caught.value.kind is Kind.CONFIGURATION


def test_the_package_shows_the_face_and_loads_it_late() -> None:
    assert openai_gateway.Gateway is Gateway
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = openai_gateway.nothing
