"""`chat`, against the real gateway over a scripted upstream."""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway_mcp.features.application import Application
from openai_gateway_mcp.features.kept import Kept
from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.model import Audio, Image, ResourceLink, ResourceText
from tests.features.scripted import (
    CANARY,
    DONE,
    FOREVER,
    Client,
    Upstream,
    Watcher,
    a_call,
    answers,
    client_of,
    delta,
    door_to,
    lists,
    meta_of,
    refuses,
    says,
    settings_of,
    streams,
    text_of,
    usage,
)


async def test_the_answer_is_one_text_and_its_facts_are_meta(autojump_clock: MockClock) -> None:
    reasoned = usage(prompt_tokens=3, completion_tokens=5)
    upstream = Upstream(m1=streams(1.0, delta("Hel"), delta("lo"), delta(finish="stop"), reasoned, DONE))
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert text_of(result) == "Hello"
    assert result.structured is None
    assert not result.is_error
    meta = meta_of(result)
    assert all(key.startswith("openai-gateway-mcp/") for key in result.meta)
    assert meta["model"] == "served-1"
    assert meta["usage"] == {"input": 3, "output": 5, "cached_input": 0, "reasoning": 0}
    assert meta["finish_reason"] == "stop"
    assert meta["target"] == "gateway/m1"
    assert meta["attempts"] == 1
    assert meta["first_byte_ms"] == 1000
    assert meta["latency_ms"] >= 1000
    assert "cost" not in meta
    assert "warnings" not in meta
    assert "default_model_note" not in meta


async def test_only_what_the_caller_said_is_sent(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("ok"))
    async with client_of(upstream) as client:
        await client.call("chat", prompt="hi", model="m1")
    (body,) = upstream.bodies
    assert body == {
        "model": "m1",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_every_argument_reaches_the_upstream_in_its_own_words(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("ok"))
    async with client_of(upstream) as client:
        await client.call(
            "chat",
            prompt="hi",
            model="m1",
            system="be brief",
            max_tokens=9,
            temperature=1,
            reasoning_effort="low",
            json_schema={"type": "object"},
            images=["https://example.com/a.png", "data:image/png;base64,AA=="],
        )
    (body,) = upstream.bodies
    assert body["max_tokens"] == 9
    assert body["temperature"] == 1
    assert body["reasoning_effort"] == "low"
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}},
    }
    system, user = body["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"] == [
        {"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]


async def test_messages_go_along_untouched_behind_the_system_prompt(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("ok"))
    said = [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}], "name": "n"}]
    async with client_of(upstream) as client:
        await client.call("chat", messages=said, model="m1", system="s")
    assert upstream.bodies[0]["messages"] == [{"role": "system", "content": "s"}, *said]


@pytest.mark.parametrize(
    ("arguments", "named", "accepted"),
    [
        ({}, "`prompt` and `messages`: neither", "exactly one"),
        ({"prompt": "a", "messages": [{"role": "user"}]}, "`prompt` and `messages`: both", "exactly one"),
        ({"prompt": ""}, '`prompt`: got ""', "not empty"),
        ({"prompt": 5}, "`prompt`: got 5", "a string"),
        ({"messages": []}, "`messages`: got", "an array of 1 or more objects"),
        ({"messages": ["x"]}, '`messages[0]`: got "x"', "an object"),
        ({"messages": [{"content": "x"}]}, '`messages`: got {"content": "x"}', '"role"'),
        ({"messages": [{"role": "user"}], "images": ["https://x/"]}, "`images`", "image_url content parts"),
        ({"prompt": "a", "images": ["/etc/passwd"]}, '`images`: got "/etc/passwd"', "https:// URLs"),
        ({"prompt": "a", "images": ["http://x/"]}, "`images`", "https:// URLs"),
        ({"prompt": "a", "temperature": "hot"}, '`temperature`: got "hot"', "a number, 0 to 2"),
        ({"prompt": "a", "temperature": 2.5}, "`temperature`: got 2.5", "a number, 0 to 2"),
        ({"prompt": "a", "max_tokens": 0}, "`max_tokens`: got 0", "an integer, 1 or more"),
        ({"prompt": "a", "max_tokens": True}, "`max_tokens`: got true", "an integer"),
        ({"prompt": "a", "max_token": 5}, "`max_token`: got 5", "only the arguments prompt, messages"),
        ({"prompt": "a", "model": ""}, '`model`: got ""', "not empty"),
    ],
)
async def test_a_wrong_argument_is_named_with_what_came_and_what_is_accepted(
    arguments: dict[str, Any], named: str, accepted: str, autojump_clock: MockClock
) -> None:
    upstream = Upstream()
    async with client_of(upstream) as client:
        result = await client.call("chat", **arguments)
    assert result.is_error
    assert result.structured is None
    assert named in text_of(result)
    assert accepted in text_of(result)
    assert upstream.paths == []


async def test_null_is_read_as_absent(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("ok"))
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1", temperature=None, messages=None)
    assert text_of(result) == "ok"
    assert "temperature" not in upstream.bodies[0]


async def test_a_stream_that_breaks_in_the_middle_starts_again_and_leaves_no_trace_of_the_first(
    autojump_clock: MockClock,
) -> None:
    broken = streams(delta("lost"), 0.0)
    upstream = Upstream(m1=[broken, says("whole")])
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert text_of(result) == "whole"
    assert meta_of(result)["attempts"] == 2


async def test_progress_counts_characters_and_never_falls_though_a_lost_answer_begins_again(
    autojump_clock: MockClock,
) -> None:
    pieces = [step for _ in range(20) for step in (delta("12345"), 0.1)]
    upstream = Upstream(m1=[streams(delta("lost!"), 0.0), streams(*pieces, delta(finish="stop"), DONE)])
    watcher = Watcher()
    async with client_of(upstream) as client:
        await client.call("chat", watcher, prompt="hi", model="m1")
    values = [value for value, _ in watcher.reports]
    assert values == sorted(values)
    first_and_last = [watcher.reports[0], watcher.reports[-1]]
    assert first_and_last == [(5, "5 characters received"), (105, "105 characters received")]


async def test_no_progress_is_made_up_for_a_client_that_did_not_ask(autojump_clock: MockClock) -> None:
    watcher = Watcher(wanted=False)
    async with client_of(Upstream(m1=says("a", "b"))) as client:
        await client.call("chat", watcher, prompt="hi", model="m1")
    assert watcher.reports == []


async def test_at_the_soft_deadline_the_partial_text_comes_with_a_notice_and_the_upstream_is_closed(
    autojump_clock: MockClock,
) -> None:
    upstream = Upstream(m1=streams(delta("Once upon"), 20.0, delta(" a time"), 20.0, delta("."), 20.0, FOREVER))
    async with client_of(upstream) as client:
        began = trio.current_time()
        result = await client.call("chat", prompt="hi", model="m1")
        took = trio.current_time() - began
        assert upstream.streams[0].closed
    assert text_of(result).startswith("Once upon a time.\n\n[Partial answer: the soft deadline of 55 s came after 17 ")
    assert "SOFT_DEADLINE" in text_of(result)
    assert not result.is_error
    assert meta_of(result)["cut_by"] == "soft_deadline"
    assert 55 <= took < 56


async def test_without_text_at_the_soft_deadline_the_error_says_that_it_was_reasoning(
    autojump_clock: MockClock,
) -> None:
    thinking = [step for _ in range(10) for step in (delta(reasoning_content="hmm "), 10.0)]
    async with client_of(Upstream(m1=streams(*thinking))) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert result.is_error
    assert "still reasoning (24 characters so far)" in text_of(result)
    assert "reasoning_effort" in text_of(result)
    assert "SOFT_DEADLINE" in text_of(result)


async def test_without_anything_at_the_soft_deadline_the_error_says_what_was_waited_for(
    autojump_clock: MockClock,
) -> None:
    environ = {"GATEWAY_URL": "https://gateway.example", "TIMEOUT": "600"}
    async with client_of(Upstream(m1=streams(FOREVER)), environ) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert result.is_error
    assert text_of(result) == (
        "No answer from m1 within the soft deadline of 55 s: nothing had come from it yet (queued, loading, or thinking"
        " silently). Try again, ask another model, or raise SOFT_DEADLINE (0 = off); the MCP client's own timeout must"
        " be longer."
    )


async def test_a_retry_after_beyond_the_deadline_is_told_at_once(autojump_clock: MockClock) -> None:
    busy = answers(429, {"error": {"message": "slow down"}}, **{"retry-after": "120"})
    async with client_of(Upstream(m1=busy)) as client:
        began = trio.current_time()
        result = await client.call("chat", prompt="hi", model="m1")
        assert trio.current_time() - began < 55
    assert result.is_error
    assert "asks to wait 120 s" in text_of(result)


async def test_soft_deadline_off_waits_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    slow = [step for _ in range(10) for step in (20.0, delta("."))]
    upstream = Upstream(m1=streams(*slow, delta(finish="stop"), DONE))
    async with client_of(upstream, soft_deadline=None) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert text_of(result) == "." * 10


async def test_an_answer_over_the_cap_is_cut_with_a_marker_and_all_of_it_can_be_read(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says(*["x" * 60] * 5))
    async with client_of(upstream, max_characters=100) as client:
        result = await client.call("chat", prompt="hi", model="m1")
        text, _, notice = text_of(result).partition("\n\n")
        link = result.content[1]
        assert isinstance(link, ResourceLink)
        read = await client.read(link.uri)
    assert text == "x" * 100
    assert f"Cut at 100 of 300 characters; all that came is the resource {link.uri}" in notice
    assert [one.text for one in read.contents if isinstance(one, ResourceText)] == ["x" * 300]


async def test_an_answer_without_end_is_left_and_the_upstream_closed(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=streams(*[delta("x" * 600_000)] * 5, FOREVER))
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1")
        assert upstream.streams[0].closed
    assert "Cut at 48,000 of 1,200,000 characters" in text_of(result)
    assert meta_of(result)["cut_by"] == "size"


async def test_a_length_finish_and_a_content_filter_are_said(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("abc", finish="length"), m2=says("abc", finish="content_filter"))
    async with client_of(upstream) as client:
        assert 'finish_reason "length"' in text_of(await client.call("chat", prompt="hi", model="m1"))
        assert "content filter" in text_of(await client.call("chat", prompt="hi", model="m2"))


async def test_an_empty_answer_tells_the_reasoning_tokens_and_what_to_raise(autojump_clock: MockClock) -> None:
    spent = usage(prompt_tokens=3, completion_tokens=50)
    spent["usage"]["completion_tokens_details"] = {"reasoning_tokens": 48}
    upstream = Upstream(m1=streams(delta(finish="length"), spent, DONE))
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1", max_tokens=50)
    assert result.is_error
    assert "48 tokens spent on reasoning" in text_of(result)
    assert "raise max_tokens" in text_of(result)


async def test_reasoning_without_an_answer_is_shown_labelled(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=streams(delta(reasoning="I think"), delta(finish="length"), DONE))
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert not result.is_error
    assert text_of(result).startswith("[m1 sent no answer, only this reasoning:]\n\nI think\n\n[")
    assert "max_tokens" in text_of(result)


async def test_an_upstream_failure_is_a_text_that_says_what_why_and_what_next(autojump_clock: MockClock) -> None:
    refused = refuses(401, f"Incorrect API key provided: {CANARY}", code="invalid_api_key")
    async with client_of(Upstream(m1=refused)) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert result.is_error
    assert result.structured is None
    assert CANARY not in text_of(result)
    assert CANARY not in str(result)
    assert CANARY[:14] not in str(result)
    assert "GATEWAY_API_KEY" in text_of(result)
    assert meta_of(result)["error"]["status"] == 502


async def test_the_canary_is_struck_from_every_shape_an_upstream_may_quote_it_in(autojump_clock: MockClock) -> None:
    quoted = answers(400, {"error": {"message": f"bad {CANARY}", "param": CANARY, "code": CANARY, CANARY: [CANARY]}})
    async with client_of(Upstream(m1=quoted)) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert CANARY not in str(result)


async def test_a_call_without_a_gateway_says_exactly_what_to_set(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(), {}) as client:
        result = await client.call("chat", prompt="hi")
    assert result.is_error
    assert "GATEWAY_URL" in text_of(result)
    assert "--embedded" in text_of(result)


async def test_a_default_nobody_set_and_the_gateway_lacks_names_what_there_is(autojump_clock: MockClock) -> None:
    missing = refuses(404, "no such model", code="model_not_found")
    names = [f"model-{number}" for number in range(12)]
    upstream = Upstream(gpt_3_5_turbo=missing, models=lists(*names), **{"gpt_3.5_turbo": missing})
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi")
    assert result.is_error
    assert "DEFAULT_MODEL is not set" in text_of(result)
    assert "Served are: model-0, model-1" in text_of(result)
    assert "model-9, …" in text_of(result)


async def test_a_default_that_is_missing_is_explained_even_when_the_list_fails(autojump_clock: MockClock) -> None:
    missing = refuses(404, "no such model", code="model_not_found")
    upstream = Upstream(models=refuses(403, "no"), **{"gpt_3.5_turbo": missing})
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi")
    assert "DEFAULT_MODEL is not set" in text_of(result)
    assert "Served are" not in text_of(result)


async def test_a_model_that_was_named_and_is_missing_is_not_blamed_on_the_default(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(m1=refuses(404, "no such model", code="model_not_found"))) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert "DEFAULT_MODEL" not in text_of(result)
    assert "list_models" in text_of(result)


async def test_where_only_echo_is_served_echo_answers_and_meta_says_so(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(), {"PATH": "/bin"}) as client:
        result = await client.call("chat", prompt="hello there")
    assert "hello there" in text_of(result)
    assert "echo" in meta_of(result)["default_model_note"]


async def test_the_first_listed_model_answers_where_the_table_names_none(autojump_clock: MockClock) -> None:
    upstream = Upstream(models=lists("vendor/one", "vendor/two"), **{"vendor/one": says("ok")})
    # Only a wildcard that the usual default does not fit.
    async with client_of(upstream, {"OPENROUTER_API_KEY": CANARY}) as client:
        gateway = client.application._door.settings
        table = gateway.table
        assert any(row.name == "openrouter/*" for row in table.rows)
        object.__setattr__(table, "rows", tuple(row for row in table.rows if row.name == "openrouter/*"))
        result = await client.call("chat", prompt="hi")
    assert text_of(result) == "ok"
    assert upstream.bodies[0]["model"] == "vendor/one"
    assert "openrouter/vendor/one" in meta_of(result)["default_model_note"]


async def test_a_trace_context_of_the_client_reaches_the_upstream(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("ok"))
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with client_of(upstream) as client:
        for meta in ({"traceparent": context}, {"traceparent": 5}, {}):
            event = ToolCalled(
                call=a_call("tools/call", **meta), name="chat", arguments={"prompt": "hi", "model": "m1"}
            )
            await client.application.handle(event, Watcher())
    assert [headers.get("traceparent") for headers in upstream.headers] == [context, None, None]


async def test_cancelling_the_call_closes_the_upstream_stream(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=streams(delta("a"), FOREVER))
    async with client_of(upstream) as client:
        with trio.move_on_after(3):
            await client.call("chat", prompt="hi", model="m1")
        assert upstream.streams[0].closed


async def test_a_refused_parameter_is_repaired_and_said_in_the_warnings(autojump_clock: MockClock) -> None:
    refused = refuses(400, "Unsupported parameter: 'max_tokens'", param="max_tokens", code="unsupported_parameter")
    upstream = Upstream(m1=[refused, says("ok")])
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1", max_tokens=5)
    assert text_of(result) == "ok"
    assert upstream.bodies[1]["max_completion_tokens"] == 5
    assert "max_tokens" in meta_of(result)["warnings"][0]


def test_the_scripted_transport_is_a_real_one() -> None:
    assert isinstance(Upstream(), httpx.AsyncBaseTransport)


@pytest.mark.parametrize("reason", ["error", "abort"])
async def test_an_answer_that_the_server_ended_is_asked_for_again(autojump_clock: MockClock, reason: str) -> None:
    upstream = Upstream(m1=[says("Hel", finish=reason), says("Hello!")])
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert (text_of(result), result.is_error) == ("Hello!", False)
    assert meta_of(result)["attempts"] == 2


async def test_an_answer_that_the_server_always_ends_is_an_error(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(m1=says("Hel", finish="error"))) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert result.is_error
    assert "broke off before its end: finish_reason error" in text_of(result)


async def test_an_address_that_nobody_answers_at_is_named_by_its_variable(autojump_clock: MockClock) -> None:
    def nobody() -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    async with client_of(Upstream(any=nobody)) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert "Check GATEWAY_URL, the network and the proxy." in text_of(result)


async def test_a_finish_reason_shows_no_key_of_ours(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(m1=says(finish=f"because of {CANARY}"))) as client:
        result = await client.call("chat", prompt="hi", model="m1")
    assert 'finish_reason "because of [redacted]"' in text_of(result)
    assert CANARY not in str(result)


# --- conversations that go on ---------------------------------------------------------------------------------------


def thread_in(text: str) -> str:
    return text.rpartition("[thread_id: ")[2].removesuffix("]")


async def test_a_conversation_goes_on_by_its_handle(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=[says("Ada."), says("In 1815.")])
    async with client_of(upstream) as client:
        first = await client.call("chat", prompt="Who?", model="m1", system="Be short.", thread_id="new")
        second = await client.call("chat", prompt="When?", thread_id=thread_in(text_of(first)))
    assert text_of(first).startswith("Ada.\n\n[thread_id: ")
    assert meta_of(first)["thread_id"] == thread_in(text_of(first)) == thread_in(text_of(second))
    assert upstream.bodies[1]["model"] == "m1"
    assert upstream.bodies[1]["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ada."},
        {"role": "user", "content": "When?"},
    ]


async def test_another_model_and_other_instructions_may_go_on(autojump_clock: MockClock) -> None:
    upstream = Upstream(any=says("ok"))
    async with client_of(upstream) as client:
        handle = thread_in(text_of(await client.call("chat", prompt="a", model="m1", thread_id="new")))
        await client.call("chat", prompt="b", model="m2", system="Be long.", thread_id=handle)
        await client.call("chat", prompt="c", thread_id=handle)
    assert [body["model"] for body in upstream.bodies] == ["m1", "m2", "m2"]
    assert upstream.bodies[2]["messages"][0] == {"role": "system", "content": "Be long."}
    assert [message["content"] for message in upstream.bodies[2]["messages"][1:]] == ["a", "ok", "b", "ok", "c"]


async def test_two_turns_at_once_are_both_kept(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("ok"), slow=streams(5.0, delta("slowly"), delta(finish="stop"), DONE))
    async with client_of(upstream) as client:
        handle = thread_in(text_of(await client.call("chat", prompt="a", model="m1", thread_id="new")))
        async with trio.open_nursery() as nursery:
            for model in ("slow", "m1"):
                call = functools.partial(client.call, "chat", prompt=model, model=model, thread_id=handle)
                nursery.start_soon(call)
        await client.call("chat", prompt="last", model="m1", thread_id=handle)
    contents = [message["content"] for message in upstream.bodies[-1]["messages"]]
    assert contents == ["a", "ok", "m1", "ok", "slow", "slowly", "last"]


@pytest.mark.parametrize("handle", ["", "nobody", "openai://results/x"])
async def test_an_unknown_conversation_is_a_wrong_argument(handle: str, autojump_clock: MockClock) -> None:
    async with client_of(Upstream(m1=says("ok"))) as client:
        result = await client.call("chat", prompt="a", model="m1", thread_id=handle)
    assert result.is_error
    assert "Wrong argument `thread_id`" in text_of(result)
    assert '"new" for a new conversation' in text_of(result)


async def test_a_conversation_is_its_callers_own_and_ends_after_an_hour_without_use(autojump_clock: MockClock) -> None:
    async with door_to(Upstream(m1=says("ok"))) as door:
        kept = Kept()
        ada, ben = (Client(Application(settings_of(tenant=name), door, kept=kept)) for name in ("ada", "ben"))
        handle = thread_in(text_of(await ada.call("chat", prompt="a", model="m1", thread_id="new")))
        assert (await ben.call("chat", prompt="b", model="m1", thread_id=handle)).is_error
        await trio.sleep(3000)
        assert not (await ada.call("chat", prompt="b", model="m1", thread_id=handle)).is_error
        await trio.sleep(3601)
        assert (await ada.call("chat", prompt="c", model="m1", thread_id=handle)).is_error


async def test_a_long_conversation_loses_its_oldest_turns_and_begins_with_a_question(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=says("y" * 300_000))
    async with client_of(upstream) as client:
        handle = thread_in(text_of(await client.call("chat", prompt="1", model="m1", thread_id="new")))
        for number in ("2", "3", "4", "5"):
            await client.call("chat", prompt=number, model="m1", thread_id=handle)
    messages = upstream.bodies[-1]["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["2", "3", "4", "5"]
    assert messages[0]["role"] == "user"


async def test_of_messages_without_end_the_last_are_kept_and_each_is_counted_once(autojump_clock: MockClock) -> None:
    """What adds up the sizes of all that are left for each that goes is at it for hours."""
    said = [{"role": role, "content": "x"} for role in ("user", "assistant")] * 100_000
    upstream = Upstream(m1=says("ok"))
    async with client_of(upstream) as client:
        handle = thread_in(text_of(await client.call("chat", messages=said, model="m1", thread_id="new")))
        await client.call("chat", prompt="b", model="m1", thread_id=handle)
    *earlier, _, asked = upstream.bodies[-1]["messages"]
    assert asked == {"role": "user", "content": "b"}
    assert earlier[0]["role"] == "user"
    assert 900_000 < len(json.dumps(earlier)) < 1_200_000


async def test_a_turn_that_failed_is_not_kept(autojump_clock: MockClock) -> None:
    upstream = Upstream(m1=[says("ok"), refuses(400, "no"), says("ok")])
    async with client_of(upstream) as client:
        handle = thread_in(text_of(await client.call("chat", prompt="a", model="m1", thread_id="new")))
        assert (await client.call("chat", prompt="b", thread_id=handle)).is_error
        await client.call("chat", prompt="c", thread_id=handle)
    assert [message["content"] for message in upstream.bodies[-1]["messages"]] == ["a", "ok", "c"]


# --- pictures and sound ---------------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


async def test_a_picture_of_an_allowed_directory_is_sent_as_data(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    upstream = Upstream(m1=says("a cat"))
    async with client_of(upstream, roots=(str(tmp_path),)) as client:
        result = await client.call("chat", prompt="What?", model="m1", images=str(tmp_path / "cat.png"))
    assert text_of(result) == "a cat"
    assert upstream.bodies[0]["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}},
    ]


async def test_what_is_no_picture_or_not_allowed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_text("root:x:0")
    upstream = Upstream(m1=says("ok"))
    async with client_of(upstream, roots=(str(tmp_path),)) as client:
        for path, words in (
            (str(tmp_path / "secret.png"), "PNG, JPEG, GIF or WebP"),
            ("/etc/passwd", "none of the allowed directories"),
            (str(tmp_path / "cat.png"), "no such file"),
            ("http://inside.example/cat.png", "absolute"),
        ):
            result = await client.call("chat", prompt="What?", model="m1", images=[path])
            assert result.is_error
            assert words in text_of(result)
            assert "root:x" not in text_of(result)
    async with client_of(upstream) as client:
        result = await client.call("chat", prompt="What?", model="m1", images=[str(tmp_path / "secret.png")])
    assert "ALLOWED_ROOTS names no directory" in text_of(result)
    assert upstream.bodies == []


async def test_pictures_and_sound_that_a_model_made_are_blocks(autojump_clock: MockClock) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}}
    far = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}
    sound = b"RIFF\0\0\0\0WAVEfmt " + bytes(40)
    halves = [{"data": base64.b64encode(half).decode()} for half in (sound[:30], sound[30:])]
    upstream = Upstream(
        m1=streams(delta(images=[picture, far, {"odd": 1}, 7]), delta(finish="stop"), DONE),
        m2=streams(
            delta(audio=halves[0] | {"transcript": "Meow"}),
            delta(audio=halves[1]),
            delta(audio={"data": "?"}),
            delta(finish="stop"),
            DONE,
        ),
    )
    async with client_of(upstream) as client:
        seen = await client.call("chat", prompt="Draw", model="m1")
        heard = await client.call("chat", prompt="Say", model="m2")
    assert text_of(seen) == "[m1 sent no text.]"
    assert not seen.is_error
    assert seen.content[1:] == (
        Image(data=base64.b64encode(PNG).decode(), mime_type="image/png"),
        ResourceLink(uri="https://pictures.example/1.png", name="picture"),
    )
    assert text_of(heard) == "Meow"
    assert heard.content[1:] == (Audio(data=base64.b64encode(sound).decode(), mime_type="audio/wav"),)
