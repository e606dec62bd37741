"""What can be read, picked from a menu and completed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Account, Outcome
from openai_gateway_mcp.features.application import Application, describe
from openai_gateway_mcp.features.prompts import PROMPTS, fill_prompt
from openai_gateway_mcp.features.resources import RESOURCES, TEMPLATES, USAGE
from openai_gateway_mcp.features.usage import UsageBook
from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import CompletionAsked, PromptAsked, RefType, ResourceRead
from openai_gateway_mcp.protocol.model import CompletionResult, PromptResult, ResourceResult, ResourceText, Text
from tests.features.scripted import (
    CANARY,
    DONE,
    Client,
    Upstream,
    Watcher,
    a_call,
    client_of,
    delta,
    door_to,
    lists,
    refuses,
    settings_of,
    streams,
    usage,
)


async def read(client: Client, uri: str) -> Any:
    result = await client.application.handle(ResourceRead(call=a_call("resources/read"), uri=uri), Watcher())
    assert isinstance(result, ResourceResult)
    (content,) = result.contents
    assert isinstance(content, ResourceText)
    assert content.uri == uri
    assert content.mime_type == "application/json"
    return json.loads(content.text)


async def complete(client: Client, value: str, ref: str = "ask", argument: str = "model") -> CompletionResult:
    kind = RefType.RESOURCE if ref.startswith("openai:") else RefType.PROMPT
    asked = CompletionAsked(
        call=a_call("completion/complete"), ref_type=kind, ref=ref, argument=argument, value=value, context={}
    )
    result = await client.application.handle(asked, Watcher())
    assert isinstance(result, CompletionResult)
    return result


# --- resources ------------------------------------------------------------------------------------------------------


async def test_the_model_list_is_a_resource_and_so_is_each_model(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a", "vendor/b c"))) as client:
        everything = await read(client, RESOURCES[0].uri)
        assert [model["id"] for model in everything["models"]] == ["a", "vendor/b c"]
        assert (await read(client, "openai://models/a"))["context_window"] == 8
        for spelling in ("vendor%2Fb%20c", "vendor/b c"):
            assert (await read(client, f"openai://models/{spelling}"))["id"] == "vendor/b c"


@pytest.mark.parametrize(
    "uri", ["openai://models/zzz", "openai://models/", "openai://modelsx", "file:///etc/passwd", ""]
)
async def test_what_is_not_served_is_not_found(uri: str, autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a"))) as client:
        with pytest.raises(ResourceNotFound) as caught:
            await read(client, uri)
    assert caught.value.uri == uri


async def test_a_gateway_that_cannot_say_is_a_general_error_that_shows_no_key(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=refuses(401, f"no {CANARY}"))) as client:
        for ask in (read(client, "openai://models"), complete(client, "a")):
            with pytest.raises(Fault) as caught:
                await ask
            assert caught.value.code == -32603
            assert CANARY not in str(caught.value.data) + caught.value.message


# --- prompts --------------------------------------------------------------------------------------------------------


async def test_a_prompt_is_one_message_in_the_users_voice(autojump_clock: MockClock) -> None:
    async with client_of(Upstream()) as client:
        asked = PromptAsked(call=a_call("prompts/get"), name="ask", arguments={"question": "why?", "model": "m1"})
        result = await client.application.handle(asked, Watcher())
    assert isinstance(result, PromptResult)
    (message,) = result.messages
    assert isinstance(message.content, Text)
    assert message.role.value == "user"
    assert "`m1`" in message.content.text
    assert message.content.text.endswith("\n\nwhy?")


@pytest.mark.parametrize("prompt", [spec.prompt for spec in PROMPTS], ids=lambda prompt: prompt.name)
def test_every_prompt_fills_in_its_subject_as_it_is_and_needs_no_model(prompt: Any) -> None:
    (subject,) = (one.name for one in prompt.arguments if one.required)
    text = fill_prompt(prompt.name, {subject: "{model} {0} %s"}).messages[0].content
    assert isinstance(text, Text)
    assert text.text.endswith("\n\n{model} {0} %s")
    assert "its default model" in text.text


def test_an_unknown_prompt_and_a_missing_argument_are_invalid_params() -> None:
    for name, arguments in (("zzz", {}), ("ask", {}), ("ask", {"question": ""}), ("second_opinion", {"question": "x"})):
        with pytest.raises(Fault) as caught:
            fill_prompt(name, arguments)
        assert caught.value.code == -32602


# --- completion -----------------------------------------------------------------------------------------------------


async def test_model_names_complete_prefix_first_and_empty_means_all(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("my-gpt", "gpt-5", "claude"))) as client:
        assert (await complete(client, "GPT")).values == ("gpt-5", "my-gpt")
        assert (await complete(client, "")).values == ("my-gpt", "gpt-5", "claude")
        assert (await complete(client, "g", TEMPLATES[0].uri_template, "id")).values == ("gpt-5", "my-gpt")


async def test_at_most_a_hundred_values_and_the_whole_count(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists(*(f"m{number}" for number in range(130))))) as client:
        result = await complete(client, "m")
    assert (len(result.values), result.total, result.has_more) == (100, 130, True)


async def test_an_argument_that_names_no_model_completes_to_nothing_without_any_network(
    autojump_clock: MockClock,
) -> None:
    upstream = Upstream()
    async with client_of(upstream) as client:
        assert await complete(client, "a", argument="question") == CompletionResult(values=(), total=0, has_more=False)
    assert upstream.paths == []


async def test_what_is_unknown_cannot_be_completed(autojump_clock: MockClock) -> None:
    async with client_of(Upstream()) as client:
        for ref in ("zzz", "openai://zzz/{id}"):
            with pytest.raises(Fault) as caught:
                await complete(client, "a", ref)
            assert caught.value.code == -32602


async def test_only_the_first_completion_waits_for_the_network(autojump_clock: MockClock) -> None:
    upstream = Upstream(models=[lists("a"), lists("a", "b")])
    async with client_of(upstream) as client:
        assert (await complete(client, "")).values == ("a",)
        assert (await complete(client, "")).values == ("a",)
        assert len(upstream.paths) == 1
        await trio.sleep(400)  # the list is old now: it still answers, and is renewed behind that answer
        assert (await complete(client, "")).values == ("a",)
        await trio.sleep(1)
        assert len(upstream.paths) == 2
        assert (await complete(client, "")).values == ("a", "b")


async def test_a_renewal_that_fails_leaves_the_old_list(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=[lists("a"), refuses(400, "no")])) as client:
        await complete(client, "")
        await trio.sleep(400)
        await complete(client, "")
        await trio.sleep(1)
        assert (await complete(client, "")).values == ("a",)


async def test_the_usage_of_an_embedded_gateway_is_each_callers_own(autojump_clock: MockClock) -> None:
    counted = usage(prompt_tokens=3, completion_tokens=5)
    upstream = Upstream(m1=streams(delta("a"), delta(finish="stop"), counted, DONE), m2=refuses(400, "no"))
    async with door_to(upstream) as door:
        ada, ben = (Client(Application(settings_of(tenant=name, embedded=True), door)) for name in ("ada", "ben"))
        for model in ("m1", "m1", "m2"):
            await ada.call("chat", prompt="hi", model=model)
        used = {"input_tokens": 3, "output_tokens": 5}
        assert await read(ada, "openai://usage") == {
            "models": {
                "m1": {"calls": 2, "failed": 0, **{name: 2 * count for name, count in used.items()}},
                "m2": {"calls": 1, "failed": 1, "input_tokens": 0, "output_tokens": 0},
            }
        }
        assert await read(ben, "openai://usage") == {"models": {}}
        assert USAGE in describe(settings_of(embedded=True)).resources
        remote = Client(Application(settings_of(tenant="ada"), door))
        assert USAGE not in describe(settings_of()).resources
        with pytest.raises(ResourceNotFound):
            await remote.read("openai://usage")


def test_the_book_forgets_who_asked_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_gateway_mcp.features.usage._MOST", 2)
    book = UsageBook()
    for tenant, model in (("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("c", "1")):
        book.note(Account(endpoint="chat/completions", model=model, tenant=tenant, outcome=Outcome.ANSWERED, cost=0.5))
    assert book.shown("b") == {"models": {}}
    used = {"calls": 1, "failed": 0, "input_tokens": 0, "output_tokens": 0, "cost": 0.5}
    assert book.shown("a") == {"models": {"2": used, "3": used}}
