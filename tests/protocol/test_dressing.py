"""How an offer and a result look in each revision: what an older one does not know is left out for it."""

from __future__ import annotations

import attrs
import pytest
from tests.playbook import SERVER_INFO, Json, Playbook, handed, initialize, modern, playbook, request
from tests.protocol.offering import BARE, CHAT, FULL, LIST

from openai_gateway_mcp.protocol.events import (
    CompletionAsked,
    Era,
    ExtensionCalled,
    PromptAsked,
    ResourceRead,
    ToolCalled,
    Work,
)
from openai_gateway_mcp.protocol.model import (
    Audio,
    Block,
    CacheScope,
    CompletionResult,
    Embedded,
    ExtensionResult,
    Image,
    Prompt,
    PromptMessage,
    PromptResult,
    ResourceBlob,
    ResourceLink,
    ResourceResult,
    ResourceText,
    Result,
    Role,
    Text,
    ToolResult,
)
from openai_gateway_mcp.protocol.revisions import LEGACY, REVISIONS

OLDEST, BATCHES, TITLES, NEWEST_LEGACY, MODERN = REVISIONS
FROM_TITLES = (TITLES, NEWEST_LEGACY, MODERN)
REF = {"type": "ref/prompt", "name": "ask"}

# method → the params of a call that a handler answers, and the event it makes
CALLS: dict[str, tuple[dict[str, Json], type[Work]]] = {
    "tools/call": ({"name": "chat"}, ToolCalled),
    "resources/read": ({"uri": "openai://models"}, ResourceRead),
    "prompts/get": ({"name": "ask", "arguments": {"question": "why?"}}, PromptAsked),
    "completion/complete": ({"ref": REF, "argument": {"name": "model", "value": ""}}, CompletionAsked),
    "models/list": ({}, ExtensionCalled),
}


def ask(play: Playbook, version: str, method: str, **params: Json) -> None:
    """Ask in this revision."""
    if version == MODERN:
        play >> modern(1, method, **params)
    else:
        play >> initialize(0, version)
        play.result(0)
        play >> request(1, method, **params)


def listed(play: Playbook, version: str, method: str) -> Json:
    ask(play, version, method)
    return play.result(1)


def answered(play: Playbook, version: str, method: str, result: Result) -> Json:
    """What the client gets, without what every modern result has."""
    params, event = CALLS[method]
    ask(play, version, method, **params)
    play << handed(event, 1)
    play.answer(1, result)
    wire = play.result(1)
    if version == MODERN:
        assert wire.pop("resultType") == "complete"
        info = wire["_meta"].pop(SERVER_INFO)
        assert info == {"name": "openai-gateway-mcp", "title": "OpenAI gateway", "version": "1.2.3"}
        if not wire["_meta"]:
            del wire["_meta"]
    return wire


# --- what is offered ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools/legacy-capability")
@pytest.mark.requirement("resources/legacy-capability")
@pytest.mark.requirement("prompts/legacy-capability")
@pytest.mark.requirement("completion/legacy-capability")
@pytest.mark.parametrize("version", LEGACY)
def test_the_capabilities_of_each_legacy_revision(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    changing = {"listChanged": True}
    expected: dict[str, Json] = {"tools": changing, "prompts": changing, "resources": changing}
    if version != OLDEST:
        expected["completions"] = {}
    assert play.result(0)["capabilities"] == expected


@pytest.mark.requirement("lifecycle/negotiated-capabilities")
@pytest.mark.parametrize("version", REVISIONS)
def test_what_is_declared_does_not_depend_on_what_is_offered_now(version: str) -> None:
    declared = []
    for server in (BARE, FULL):
        with playbook(server) as play:
            play >> (modern(0, "server/discover") if version == MODERN else initialize(0, version))
            declared.append(play.result(0)["capabilities"])
    assert declared[0] == declared[1]


@pytest.mark.requirement("logging/not-declared")
@pytest.mark.requirement("legacy/logging-not-declared")
@pytest.mark.parametrize("version", REVISIONS)
def test_logging_is_never_declared(play: Playbook, version: str) -> None:
    play >> (modern(0, "server/discover") if version == MODERN else initialize(0, version))
    assert "logging" not in play.result(0)["capabilities"]


@pytest.mark.parametrize("version", LEGACY)
def test_the_server_has_a_title_from_2025_06_18_on(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    expected = {"name": "openai-gateway-mcp", "version": "1.2.3"}
    if version in FROM_TITLES:
        expected["title"] = "OpenAI gateway"
    assert play.result(0)["serverInfo"] == expected


@pytest.mark.requirement("tools/list-answered")
@pytest.mark.requirement("tools/schema-object")
@pytest.mark.requirement("tools/legacy-schema")
@pytest.mark.parametrize("version", REVISIONS)
def test_a_tool_in_each_revision(play: Playbook, version: str) -> None:
    chat: dict[str, Json] = {"name": "chat", "description": CHAT.description, "inputSchema": CHAT.input_schema}
    listing: dict[str, Json] = {"name": "list_models", "description": LIST.description}
    listing["inputSchema"] = LIST.input_schema
    if version != OLDEST:
        chat["annotations"] = CHAT.annotations
    if version in FROM_TITLES:
        chat |= {"title": "Ask a model", "_meta": {"anthropic/maxResultSizeChars": 500_000}}
        listing |= {"title": "List the models", "outputSchema": LIST.output_schema}
    assert listed(play, version, "tools/list")["tools"] == [chat, listing]


@pytest.mark.requirement("resources/list-answered")
@pytest.mark.parametrize("version", REVISIONS)
def test_a_resource_in_each_revision(play: Playbook, version: str) -> None:
    models = {
        "uri": "openai://models",
        "name": "models",
        "description": "The merged list.",
        "mimeType": "application/json",
    }
    if version in FROM_TITLES:
        models["title"] = "All models"
    assert listed(play, version, "resources/list")["resources"] == [models]


@pytest.mark.parametrize("version", REVISIONS)
def test_a_resource_template_in_each_revision(play: Playbook, version: str) -> None:
    model = {
        "uriTemplate": "openai://models/{model}",
        "name": "model",
        "description": "One row of the list.",
        "mimeType": "application/json",
    }
    if version in FROM_TITLES:
        model["title"] = "One model"
    assert listed(play, version, "resources/templates/list")["resourceTemplates"] == [model]


@pytest.mark.requirement("prompts/list-answered")
@pytest.mark.parametrize("version", REVISIONS)
def test_a_prompt_in_each_revision(play: Playbook, version: str) -> None:
    ask_prompt: dict[str, Json] = {
        "name": "ask",
        "description": "Asks a model.",
        "arguments": [
            {"name": "question", "description": "What to ask", "required": True},
            {"name": "model", "description": "Whom to ask", "required": False},
        ],
    }
    if version in FROM_TITLES:
        ask_prompt["title"] = "Ask another model"
    assert listed(play, version, "prompts/list")["prompts"] == [ask_prompt]


# --- what is answered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", REVISIONS)
def test_a_tool_result_in_each_revision(play: Playbook, version: str) -> None:
    result = ToolResult(content=(Text('{"n":1}'),), structured={"n": 1}, meta={"acme.example/usage": {"in": 1}})
    expected: dict[str, Json] = {
        "content": [{"type": "text", "text": '{"n":1}'}],
        "isError": False,
        "_meta": {"acme.example/usage": {"in": 1}},
    }
    if version in FROM_TITLES:
        expected["structuredContent"] = {"n": 1}
    assert answered(play, version, "tools/call", result) == expected


@pytest.mark.requirement("tools/failures")
@pytest.mark.parametrize("version", REVISIONS)
def test_a_tools_failure_is_a_result_in_each_revision(play: Playbook, version: str) -> None:
    result = ToolResult(content=(Text("the provider is down"),), is_error=True)
    expected = {"content": [{"type": "text", "text": "the provider is down"}], "isError": True}
    assert answered(play, version, "tools/call", result) == expected


AUDIO = Audio(data="UklGRg==", mime_type="audio/wav")
LINK = ResourceLink(uri="openai://models", name="models", description="All of them", mime_type="application/json")
FULL_LINK = {
    "type": "resource_link",
    "uri": "openai://models",
    "name": "models",
    "description": "All of them",
    "mimeType": "application/json",
}


def block_in(version: str, block: Block) -> Json:
    """The block as this revision has it."""
    match block:
        case Image():
            return {"type": "image", "data": "iVBORw==", "mimeType": "image/png"}
        case Audio() if version == OLDEST:
            return {"type": "text", "text": "[audio (audio/wav) left out: 2024-11-05 has no audio content]"}
        case Audio():
            return {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"}
        case ResourceLink() if version not in FROM_TITLES:
            return {"type": "text", "text": "[models: read the resource openai://models]"}
        case ResourceLink():
            return FULL_LINK
        case Embedded(ResourceText()):
            return {"type": "resource", "resource": {"uri": "a:t", "mimeType": "application/json", "text": "[]"}}
        case Embedded():
            return {"type": "resource", "resource": {"uri": "a:b", "mimeType": "image/png", "blob": "iVBORw=="}}
        case Text(text):
            return {"type": "text", "text": text}


BLOB = ResourceBlob(uri="a:b", blob="iVBORw==", mime_type="image/png")
BLOCKS = [
    Text("hi"),
    Image(data="iVBORw==", mime_type="image/png"),
    AUDIO,
    LINK,
    Embedded(ResourceText(uri="a:t", text="[]")),
    Embedded(BLOB),
]


@pytest.mark.requirement("prompts/media-encoded")
@pytest.mark.requirement("prompts/legacy-media")
@pytest.mark.parametrize("version", REVISIONS)
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: type(block).__name__)
def test_every_content_block_in_each_revision(play: Playbook, version: str, block: Block) -> None:
    shown = answered(play, version, "tools/call", ToolResult(content=(block,)))
    assert shown["content"] == [block_in(version, block)]
    messages = tuple(PromptMessage(role=role, content=block) for role in (Role.USER, Role.ASSISTANT))
    assert answered(play, version, "prompts/get", PromptResult(description="d", messages=messages)) == {
        "description": "d",
        "messages": [{"role": role, "content": block_in(version, block)} for role in ("user", "assistant")],
    }


def test_a_link_without_a_description_has_no_empty_one(play: Playbook) -> None:
    link = ResourceLink(uri="a:b", name="n")
    shown = answered(play, MODERN, "tools/call", ToolResult(content=(link,)))
    assert shown["content"] == [{"type": "resource_link", "uri": "a:b", "name": "n"}]


@pytest.mark.requirement("caching/hints")
@pytest.mark.requirement("caching/ttl")
@pytest.mark.parametrize("version", REVISIONS)
def test_a_resource_in_the_modern_era_says_how_long_and_for_whom_it_holds(play: Playbook, version: str) -> None:
    text = ResourceText(uri="openai://models", text="[]")
    for ttl_ms, scope in ((0, CacheScope.PRIVATE), (5_000, CacheScope.PUBLIC)):
        result = ResourceResult(contents=(text,), ttl_ms=ttl_ms, cache_scope=scope)
        expected: dict[str, Json] = {
            "contents": [{"uri": "openai://models", "mimeType": "application/json", "text": "[]"}]
        }
        if version == MODERN:
            expected |= {"ttlMs": ttl_ms, "cacheScope": scope.value}
        assert answered(play, version, "resources/read", result) == expected


def test_a_resource_may_be_bytes(play: Playbook) -> None:
    shown = answered(play, TITLES, "resources/read", ResourceResult(contents=(BLOB,)))
    assert shown == {"contents": [{"uri": "a:b", "mimeType": "image/png", "blob": "iVBORw=="}]}


def test_a_prompt_may_have_no_arguments() -> None:
    prompt = Prompt(name="hello", title="Hello", description="Says hello.")
    with playbook(attrs.evolve(BARE, prompts=(prompt,))) as play:
        shown = {"name": "hello", "title": "Hello", "description": "Says hello.", "arguments": []}
        assert listed(play, MODERN, "prompts/list")["prompts"] == [shown]


@pytest.mark.parametrize("method", ["tools/list", "server/discover"])
def test_what_is_offered_holds_for_five_minutes_and_for_everybody_unless_the_server_says_otherwise(method: str) -> None:
    with playbook(BARE) as play:
        shown = listed(play, MODERN, method)
        assert (shown["ttlMs"], shown["cacheScope"]) == (300_000, "public")


def test_a_resource_holds_for_nobody_else_and_no_time_unless_its_handler_says_otherwise(play: Playbook) -> None:
    shown = answered(play, MODERN, "resources/read", ResourceResult(contents=()))
    assert shown == {"contents": [], "ttlMs": 0, "cacheScope": "private"}


@pytest.mark.requirement("completion/at-most-100")
@pytest.mark.parametrize("version", REVISIONS)
@pytest.mark.parametrize(
    ("count", "has_more", "expected"), [(0, False, False), (100, False, False), (100, True, True), (101, False, True)]
)
def test_a_completion_has_at_most_100_values(
    play: Playbook, version: str, count: int, has_more: bool, expected: bool
) -> None:
    values = tuple(f"m{n}" for n in range(count))
    result = CompletionResult(values=values, total=count, has_more=has_more)
    completion = {"values": list(values[:100]), "total": count, "hasMore": expected}
    assert answered(play, version, "completion/complete", result) == {"completion": completion}


def test_a_chat_completion_is_a_valid_completion_with_more_beside_it(play: Playbook) -> None:
    play >> request(1, "completion/complete", prompt="Hello!") << handed(ExtensionCalled, 1)
    more = {"model": "m", "usage": {"total_tokens": 3}, "finish_reason": "stop"}
    value = {"completion": {"values": ["Hi"], "total": 1, "hasMore": False}, **more}
    play.answer(1, ExtensionResult(value=value))
    assert play.result(1) == value


@pytest.mark.parametrize("version", REVISIONS)
def test_an_extensions_result_goes_out_as_it_is(play: Playbook, version: str) -> None:
    value = {"models": [{"id": "m", "object": "model", "created": 0, "owned_by": "x", "extra": None}]}
    assert answered(play, version, "models/list", ExtensionResult(value=value)) == value


def test_the_meta_of_an_extensions_result_stays_beside_ours(play: Playbook) -> None:
    result = ExtensionResult(value={"_meta": {"acme.example/a": 1}})
    assert answered(play, MODERN, "models/list", result) == {"_meta": {"acme.example/a": 1}}


def test_meta_that_is_no_object_cannot_break_an_answer(play: Playbook) -> None:
    assert answered(play, MODERN, "models/list", ExtensionResult(value={"_meta": None, "a": 1})) == {"a": 1}


@pytest.mark.requirement("tasks/result-type")
@pytest.mark.requirement("base/result-type")
@pytest.mark.requirement("base/result-types-known")
@pytest.mark.requirement("mrtr/only-three-methods")
@pytest.mark.parametrize("method", CALLS)
def test_every_modern_result_is_complete_and_no_legacy_one_says_so(play: Playbook, method: str) -> None:
    results: dict[str, Result] = {
        "tools/call": ToolResult(content=()),
        "resources/read": ResourceResult(contents=()),
        "prompts/get": PromptResult(description="", messages=()),
        "completion/complete": CompletionResult(values=(), total=0, has_more=False),
        "models/list": ExtensionResult(value={}),
    }
    for version, row in REVISIONS.items():
        wire = answered(play, version, method, results[method])
        assert "resultType" not in wire
        assert ("ttlMs" in wire) is (method == "resources/read" and row.era is Era.MODERN)
