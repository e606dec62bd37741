"""What people are told when a real upstream refuses, waits or is left."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import trio
from tests.peers_upstream.conversation import Conversation, conversation
from tests.peers_upstream.slots import SECONDS, slots_become_busy, slots_become_idle, work_stops
from tests.peers_upstream.test_answers import both_ways, text_of
from tests.peers_upstream.upstreams import SLOTS, Upstream
from tests.peers_upstream.ways import REMOTE, Way
from tests.peers_upstream.wiretap import Wiretap, tapped

pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

Json = Any
WRONG_KEY = "sk-wrong-canary-9e8d7c6b5a4f"
FOREVER = {"name": "chat", "arguments": {"prompt": "Go on forever", "model": "tiny"}}


def spellings(secret: str) -> list[str]:
    return [secret, secret[:16], base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]]


@pytest.fixture(autouse=True)
async def quiet(llama_cpp: Upstream) -> None:
    """LiteLLM may still be reading the answer to the test before, for nobody."""
    await slots_become_idle(llama_cpp)


@pytest.fixture
async def tap(upstream: Upstream) -> Any:
    async with tapped(upstream.url) as tap:
        yield tap


@both_ways
async def test_a_refused_key_is_explained_and_shown_nowhere(upstream: Upstream, way: Way) -> None:
    async with conversation(*way.flags(), env=way.env(upstream, key=WRONG_KEY, LOG_LEVEL="debug")) as talk:
        result = await talk.call("chat", prompt="Hi", model="tiny")
        seed = await talk.answer(await talk.send("completion/complete", {"prompt": "Hi", "model": "tiny"}))
        assert await talk.hang_up() == 0
    assert result["isError"]
    assert "key" in text_of(result).lower()
    assert "error" in seed
    for spelling in spellings(WRONG_KEY):
        assert spelling not in str(result) + str(seed) + talk.log.decode()


async def test_a_refused_key_has_the_codes_of_the_seed_document(llama_cpp: Upstream) -> None:
    async with conversation(env=REMOTE.env(llama_cpp, key=WRONG_KEY)) as talk:
        answer = await talk.answer(await talk.send("completion/complete", {"prompt": "Hi", "model": "tiny"}))
    assert answer["error"]["code"] == -32001
    assert set(answer["error"]["data"]) >= {"message", "type", "param", "code"}


async def test_an_unknown_model_is_named(litellm: Upstream) -> None:
    async with conversation(env=REMOTE.env(litellm)) as talk:
        result = await talk.call("chat", prompt="Hi", model="no-such-model")
        seed = await talk.answer(await talk.send("completion/complete", {"prompt": "Hi", "model": "no-such-model"}))
    assert result["isError"]
    assert "no-such-model" in text_of(result)
    assert "list_models" in text_of(result)
    assert seed["error"]["code"] == -32003


async def test_a_parameter_that_the_upstream_refuses_is_passed_on_as_its_error(upstream: Upstream) -> None:
    asked = {"prompt": "Hi", "model": "tiny", "response_format": {"type": "nonsense"}}
    async with conversation(env=REMOTE.env(upstream, MAX_RETRIES="0")) as talk:
        answer = await talk.answer(await talk.send("completion/complete", asked))
        again = await talk.call("chat", prompt="Hi", model="tiny")
    assert "error" in answer
    assert not again.get("isError", False)


async def test_a_cancelled_call_hangs_up_in_the_stream_and_is_never_answered(
    upstream: Upstream, llama_cpp: Upstream, tap: Wiretap
) -> None:
    async with conversation(env=REMOTE.env(upstream, url=tap.url)) as talk:
        call = await start_forever(talk, tap)
        await talk.notify("notifications/cancelled", {"requestId": call, "reason": "enough"})
        await we_hung_up(tap)
        await work_stops(upstream, llama_cpp)
        await talk.ask("ping")  # the connection goes on, and an answer to the call would have come first
        assert not talk.is_answered(call)


async def test_a_call_waiting_for_a_busy_upstream_is_cancelled_before_its_first_byte(
    upstream: Upstream, llama_cpp: Upstream, tap: Wiretap
) -> None:
    async with (
        conversation(env=REMOTE.env(llama_cpp)) as others,
        conversation(env=REMOTE.env(upstream, url=tap.url)) as talk,
    ):
        for _ in range(SLOTS):
            await others.send("tools/call", FOREVER)
        await slots_become_busy(llama_cpp)
        call = await talk.send("tools/call", FOREVER)
        await tap.asked.wait()
        await talk.notify("notifications/cancelled", {"requestId": call})
        await we_hung_up(tap)
        await talk.ask("ping")
        assert not talk.is_answered(call)
        await others.hang_up()


async def test_a_cancelled_extension_call_hangs_up_too(upstream: Upstream, tap: Wiretap) -> None:
    """Neither upstream sees that the client of a whole answer is gone: so it has an end, and our side is asserted."""
    async with conversation(env=REMOTE.env(upstream, url=tap.url)) as talk:
        asked = {"prompt": "Go on forever", "model": "tiny", "max_tokens": 4000}
        call = await talk.send("completion/complete", asked)
        await tap.asked.wait()
        await talk.notify("notifications/cancelled", {"requestId": call})
        await we_hung_up(tap)
        await talk.ask("ping")
        assert not talk.is_answered(call)


async def test_the_end_of_stdin_hangs_up_and_leaves_in_peace(
    upstream: Upstream, llama_cpp: Upstream, tap: Wiretap
) -> None:
    async with conversation(env=REMOTE.env(upstream, url=tap.url)) as talk:
        await start_forever(talk, tap)
        assert await talk.hang_up() == 0
        await we_hung_up(tap)
    assert b"Traceback" not in talk.log
    await work_stops(upstream, llama_cpp)


async def test_sigterm_hangs_up_and_says_so_in_the_exit_code(
    upstream: Upstream, llama_cpp: Upstream, tap: Wiretap
) -> None:
    async with conversation(env=REMOTE.env(upstream, url=tap.url)) as talk:
        await start_forever(talk, tap)
        assert await talk.terminate() == 143
        await we_hung_up(tap)
    assert b"Traceback" not in talk.log
    await work_stops(upstream, llama_cpp)


async def test_the_soft_deadline_returns_what_came_and_hangs_up(llama_cpp: Upstream) -> None:
    async with conversation(env=REMOTE.env(llama_cpp, SOFT_DEADLINE="2")) as talk:
        result = await talk.ask("tools/call", FOREVER)
        await slots_become_idle(llama_cpp)
    assert text_of(result).startswith(" on and on")
    assert "SOFT_DEADLINE" in text_of(result)


async def test_a_busy_upstream_meets_the_first_byte_clock(llama_cpp: Upstream) -> None:
    async with (
        conversation(env=REMOTE.env(llama_cpp)) as others,
        conversation(env=REMOTE.env(llama_cpp, TIMEOUT="1")) as talk,
    ):
        for _ in range(SLOTS):
            await others.send("tools/call", FOREVER)
        await slots_become_busy(llama_cpp)
        result = await talk.call("chat", prompt="Hi", model="tiny")
        await others.hang_up()
    assert result["isError"]
    assert "TIMEOUT" in text_of(result)


async def test_an_upstream_that_is_not_there_is_explained(llama_cpp: Upstream) -> None:
    env = REMOTE.env(llama_cpp, url="http://127.0.0.1:9", MAX_RETRIES="0")
    async with conversation(env=env) as talk:
        result = await talk.call("chat", prompt="Hi", model="tiny")
    assert result["isError"]
    assert "127.0.0.1" in text_of(result)
    assert "refused" in text_of(result)


async def start_forever(talk: Conversation, tap: Wiretap) -> int:
    """Sends a call that never ends, and returns when its answer has begun."""
    call = await talk.send("tools/call", FOREVER)
    with trio.fail_after(30):
        await tap.answered.wait()
    return call


async def we_hung_up(tap: Wiretap) -> None:
    with trio.fail_after(SECONDS):
        await tap.hung_up.wait()
