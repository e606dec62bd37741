"""The anthropic and azure dialects against real servers: llama.cpp's Messages API, and LiteLLM's of either kind."""

from __future__ import annotations

import pytest
import trio
from tests.gateway.routing.oracles import accept_chunk, accept_completion
from tests.peers_upstream.conversation import conversation
from tests.peers_upstream.slots import slots_become_idle, work_stops
from tests.peers_upstream.test_answers import text_of
from tests.peers_upstream.test_upstreams import SENTENCE
from tests.peers_upstream.upstreams import Upstream
from tests.peers_upstream.wiretap import tapped

from openai_gateway import Call, Chunk, Finished, GatewayError, Kind, open_gateway
from openai_gateway import config as gateway_config

pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

WRONG_KEY = "sk-wrong-canary-9e8d7c6b5a4f"
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
LOOP = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "How is the weather?"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
    {"role": "user", "content": "And now, who are you?"},
]


@pytest.fixture(autouse=True)
async def quiet(llama_cpp: Upstream) -> None:
    await slots_become_idle(llama_cpp)


def anthropic(upstream: Upstream, *, key: str = "", url: str = "") -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": key or upstream.key, "ANTHROPIC_BASE_URL": url or upstream.url}


def azure(upstream: Upstream, *, key: str = "") -> dict[str, str]:
    return {
        "AZURE_OPENAI_API_KEY": key or upstream.key,
        "AZURE_OPENAI_ENDPOINT": upstream.url,
        "AZURE_OPENAI_API_VERSION": "2024-10-21",
        "AZURE_OPENAI_DEPLOYMENT": "tiny",
    }


def question(model: str, text: str = "Who are you?", **parameters: object) -> Call:
    given = {"messages": [{"role": "user", "content": text}], **parameters}
    return Call(model=model, body=given)


async def answered(environ: dict[str, str], call: Call) -> tuple[str, Finished]:
    """The text of the streamed answer, and its account."""
    async with open_gateway(gateway_config.embedded(environ)) as gateway, gateway.stream(call) as stream:
        parts = [part async for part in stream]
    for part in parts[:-1]:
        assert isinstance(part, Chunk)
        accept_chunk(part.json)
    deltas = [choice["delta"] for part in parts if isinstance(part, Chunk) for choice in part.json["choices"]]
    assert isinstance(parts[-1], Finished)
    return "".join(delta["content"] for delta in deltas if delta.get("content")), parts[-1]


async def refused(environ: dict[str, str], call: Call) -> GatewayError:
    async with open_gateway(gateway_config.embedded(environ)) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(call)
    assert "canary" not in repr(caught.value) + str(caught.value.to_openai())
    return caught.value


async def test_a_whole_answer_of_the_messages_api_is_a_chat_completion(upstream: Upstream) -> None:
    async with open_gateway(gateway_config.embedded(anthropic(upstream))) as gateway:
        reply = await gateway.call(question("anthropic/tiny", seed=7))
    accept_completion(reply.json)
    assert reply.json["choices"][0]["message"]["content"] == SENTENCE
    assert (reply.served.finish_reason, reply.served.model) == ("stop", "tiny")
    assert reply.served.warnings == ("anthropic/tiny takes no seed: left out",)
    assert reply.served.usage is not None
    assert (reply.served.usage.input, reply.served.usage.output) == (18, 9)


async def test_a_stream_of_the_messages_api_is_one_of_chunks(upstream: Upstream) -> None:
    text, finished = await answered(anthropic(upstream), question("anthropic/tiny"))
    assert text == SENTENCE
    assert finished.served.finish_reason == "stop"
    assert finished.served.usage is not None
    assert finished.served.usage.output == 9


async def test_a_limit_ends_the_answer_with_openais_word(llama_cpp: Upstream) -> None:
    text, finished = await answered(anthropic(llama_cpp), question("anthropic/tiny", max_completion_tokens=3))
    assert (text, finished.served.finish_reason) == ("Hello, I", "length")


async def test_a_stop_sequence_ends_the_answer(llama_cpp: Upstream) -> None:
    text, finished = await answered(anthropic(llama_cpp), question("anthropic/tiny", stop=["tiny"]))
    assert (text, finished.served.finish_reason) == ("Hello, I am a ", "stop")


async def test_a_tool_and_a_loop_of_calls_and_results_are_taken(upstream: Upstream) -> None:
    call = Call(model="anthropic/tiny", body={"messages": LOOP, "tools": [TOOL], "tool_choice": "auto"})
    text, finished = await answered(anthropic(upstream), call)
    assert (text, finished.served.warnings) == (SENTENCE, ())


async def test_a_last_assistant_message_is_taken_without_its_white_space(llama_cpp: Upstream) -> None:
    begun = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Hello "}]
    call = Call(model="anthropic/tiny", body={"messages": begun, "max_tokens": 5})
    async with tapped(llama_cpp.url) as tap:
        _, finished = await answered(anthropic(llama_cpp, url=tap.url), call)
    assert b'{"type":"text","text":"Hello"}' in b"".join(tap.sent)
    assert [warning for warning in finished.served.warnings if "white space" in warning]


async def test_the_models_of_the_messages_api_are_listed(upstream: Upstream) -> None:
    async with open_gateway(gateway_config.embedded(anthropic(upstream))) as gateway:
        models = {model.id: model for model in await gateway.models()}
    assert models["anthropic/tiny"].created > 0


async def test_a_key_that_the_messages_api_refuses_is_our_trouble(upstream: Upstream) -> None:
    error = await refused(anthropic(upstream, key=WRONG_KEY), question("anthropic/tiny"))
    assert error.kind is Kind.CREDENTIALS_REJECTED
    assert "ANTHROPIC_API_KEY" in error.hint


async def test_a_prompt_that_is_too_long_is_told(llama_cpp: Upstream) -> None:
    error = await refused(anthropic(llama_cpp), question("anthropic/tiny", "a " * 70_000))
    assert (error.kind, error.status) == (Kind.INVALID_REQUEST, 400)
    assert "context" in error.message


async def test_a_model_that_is_not_there_is_told(litellm: Upstream) -> None:
    error = await refused(anthropic(litellm), question("anthropic/no-such-model"))
    assert error.kind is Kind.MODEL_NOT_FOUND
    assert "no-such-model" in error.message


async def test_leaving_a_stream_of_the_messages_api_hangs_up(upstream: Upstream, llama_cpp: Upstream) -> None:
    async with (
        tapped(upstream.url) as tap,
        open_gateway(gateway_config.embedded(anthropic(upstream, url=tap.url))) as gateway,
    ):
        async with gateway.stream(question("anthropic/tiny", "Go on forever")) as parts:
            with trio.CancelScope() as scope:
                async for part in parts:
                    if isinstance(part, Chunk):
                        scope.cancel()
        with trio.fail_after(5):
            await tap.hung_up.wait()
    assert b"POST /v1/messages" in tap.sent[0]
    await work_stops(upstream, llama_cpp)


async def test_an_mcp_client_is_answered_through_the_messages_api(upstream: Upstream) -> None:
    async with conversation("--embedded", env=anthropic(upstream)) as talk:
        result = await talk.call("chat", prompt="Who are you?", model="anthropic/tiny")
    assert text_of(result) == SENTENCE


async def test_a_deployment_answers_whole_and_streamed(litellm: Upstream) -> None:
    async with open_gateway(gateway_config.embedded(azure(litellm))) as gateway:
        reply = await gateway.call(question("tiny"))
        assert [model.id for model in await gateway.models()] == ["tiny"]
    assert reply.json["choices"][0]["message"]["content"] == SENTENCE
    text, finished = await answered(azure(litellm), question("azure/tiny"))
    assert text == SENTENCE
    assert (finished.served.target, finished.served.finish_reason) == ("azure/tiny", "stop")
    assert finished.served.usage is not None
    assert finished.served.usage.output == 9


async def test_a_deployment_that_is_not_there_is_told(litellm: Upstream) -> None:
    error = await refused(azure(litellm), question("azure/no such one"))
    assert error.kind is Kind.MODEL_NOT_FOUND


async def test_a_key_that_azure_refuses_is_our_trouble(litellm: Upstream) -> None:
    error = await refused(azure(litellm, key=WRONG_KEY), question("tiny"))
    assert error.kind is Kind.CREDENTIALS_REJECTED
    assert "AZURE_OPENAI_API_KEY" in error.hint
