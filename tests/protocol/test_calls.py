"""What a call's params say: the event the application gets, or -32602 with the member that is wrong."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from tests.playbook import Json, Playbook, failure, handed, initialize, meta, modern, playbook, request
from tests.protocol.offering import BARE, FULL

from openai_gateway_mcp.protocol.events import (
    CompletionAsked,
    ExtensionCalled,
    PromptAsked,
    RefType,
    ResourceRead,
    ToolCalled,
)
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.protocol.revisions import LEGACY

PROMPT = {"messages": [{"role": "user", "content": "Hello!"}]}
REF = {"type": "ref/prompt", "name": "ask"}
ARGUMENT = {"name": "model", "value": "gp"}


# --- tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [request, modern])
@pytest.mark.parametrize(
    ("params", "arguments"),
    [({}, {}), ({"arguments": None}, {}), ({"arguments": {"prompt": "hi", "n": None}}, {"prompt": "hi", "n": None})],
)
def test_a_tool_call_is_handed_over_with_its_arguments_untouched(
    play: Playbook, build: Callable[..., Json], params: dict[str, object], arguments: object
) -> None:
    play >> build(1, "tools/call", name="chat", **params) << handed(ToolCalled, 1, name="chat", arguments=arguments)


@pytest.mark.requirement("tools/input-validated")
@pytest.mark.requirement("tools/legacy-security")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 1}, "name"),
        ({"name": "nope"}, "Unknown tool: 'nope'"),
        ({"name": "Chat"}, "Unknown tool"),
        ({"name": "chat", "arguments": []}, "arguments"),
        ({"name": "chat", "arguments": "prompt"}, "arguments"),
        ({"name": "chat", "arguments": 0}, "arguments"),
    ],
)
def test_a_malformed_tool_call_or_an_unknown_tool_is_a_protocol_error(
    play: Playbook, params: dict[str, object], words: str
) -> None:
    play >> request(1, "tools/call", **params) << failure(1, -32602, words)
    play >> modern(1, "tools/call", **params) << failure(1, -32602, words)


def test_an_unknown_tool_is_quoted_without_control_characters(play: Playbook) -> None:
    play >> request(1, "tools/call", name="\x1b\n" + "x" * 1_000)
    message = play.line()["error"]["message"]
    assert message.isascii() is False  # the ellipsis
    assert "\x1b" not in message
    assert len(message) < 200


# --- resources ------------------------------------------------------------------------------------------------------


def test_a_resource_read_is_handed_over(play: Playbook) -> None:
    play >> request(1, "resources/read", uri="any:thing") << handed(ResourceRead, 1, uri="any:thing")


@pytest.mark.requirement("resources/uris-validated")
@pytest.mark.requirement("resources/legacy-security")
@pytest.mark.parametrize("params", [{}, {"uri": None}, {"uri": 1}, {"uri": ["x"]}])
def test_a_resource_read_without_a_uri_is_refused(play: Playbook, params: dict[str, object]) -> None:
    play >> request(1, "resources/read", **params) << failure(1, -32602, "uri")


# --- prompts --------------------------------------------------------------------------------------------------------


def test_a_prompt_is_handed_over_with_its_arguments(play: Playbook) -> None:
    arguments = {"question": "why?", "model": "m", "unknown": "kept"}
    play >> request(1, "prompts/get", name="ask", arguments=arguments)
    play << handed(PromptAsked, 1, name="ask", arguments=arguments)


@pytest.mark.requirement("prompts/errors")
@pytest.mark.requirement("prompts/input-validated")
@pytest.mark.requirement("prompts/legacy-validated")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "name"),
        ({"name": "nope"}, "Unknown prompt"),
        ({"name": "ask"}, "question"),
        ({"name": "ask", "arguments": {"model": "m"}}, "question"),
        ({"name": "ask", "arguments": {"question": 1}}, "question"),
        ({"name": "ask", "arguments": {"question": "q", "x": None}}, "x"),
        ({"name": "ask", "arguments": ["q"]}, "arguments"),
    ],
)
def test_a_prompt_is_refused_for_what_is_wrong_with_it(play: Playbook, params: dict[str, object], words: str) -> None:
    play >> request(1, "prompts/get", **params) << failure(1, -32602, words)


# --- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", LEGACY)
def test_a_completion_of_a_prompts_argument_is_handed_over(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    play.result(0)
    play >> request(1, "completion/complete", ref=REF, argument=ARGUMENT)
    play << handed(CompletionAsked, 1, ref_type=RefType.PROMPT, ref="ask", argument="model", value="gp", context={})


def test_a_completion_of_a_templates_variable_is_handed_over_with_its_context(play: Playbook) -> None:
    play >> modern(
        1,
        "completion/complete",
        ref={"type": "ref/resource", "uri": "openai://models/{model}"},
        argument=ARGUMENT,
        context={"arguments": {"provider": "p"}},
    )
    play << handed(
        CompletionAsked, 1, ref_type=RefType.RESOURCE, ref="openai://models/{model}", context={"provider": "p"}
    )


@pytest.mark.requirement("completion/errors")
@pytest.mark.requirement("completion/input-validated")
@pytest.mark.requirement("completion/legacy-validated")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"ref": None, "argument": ARGUMENT}, "ref.type"),
        ({"ref": "ask", "argument": ARGUMENT}, "ref"),
        ({"ref": {"name": "ask"}, "argument": ARGUMENT}, "ref.type"),
        ({"ref": {"type": "ref/tool", "name": "chat"}, "argument": ARGUMENT}, "ref.type"),
        ({"ref": {"type": "ref/prompt"}, "argument": ARGUMENT}, "name"),
        ({"ref": {"type": "ref/resource", "name": "x"}, "argument": ARGUMENT}, "uri"),
        ({"ref": REF}, "name"),
        ({"ref": REF, "argument": []}, "argument"),
        ({"ref": REF, "argument": {"name": "model"}}, "value"),
        ({"ref": REF, "argument": {"value": "g"}}, "name"),
        ({"ref": REF, "argument": {"name": "model", "value": 1}}, "value"),
        ({"ref": REF, "argument": ARGUMENT, "context": []}, "context"),
        ({"ref": REF, "argument": ARGUMENT, "context": {"arguments": {"a": 1}}}, "arguments"),
    ],
)
def test_a_malformed_completion_is_refused(play: Playbook, params: dict[str, object], words: str) -> None:
    play >> request(1, "completion/complete", **params) << failure(1, -32602, words)


# --- extension methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", LEGACY)
def test_the_extension_methods_work_in_every_legacy_revision(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    play.result(0)
    play >> request(1, "models/list") << handed(ExtensionCalled, 1, params={})
    play >> request(2, "completion/complete", prompt=PROMPT, maxTokens=5)
    play << handed(ExtensionCalled, 2, params={"prompt": PROMPT, "maxTokens": 5})
    assert [play.calls[n].method for n in (1, 2)] == ["models/list", "completion/complete"]


def test_the_extension_methods_work_in_the_modern_era(play: Playbook) -> None:
    play >> modern(1, "models/list") << handed(ExtensionCalled, 1, params={"_meta": meta()})
    play >> modern(2, "completion/complete", prompt="Hello!")
    play << handed(ExtensionCalled, 2, params={"_meta": meta(), "prompt": "Hello!"})


@pytest.mark.parametrize("prompt", [None, "", [], 1])
def test_whatever_the_prompt_is_the_extension_judges_it(play: Playbook, prompt: object) -> None:
    play >> request(1, "completion/complete", prompt=prompt) << handed(ExtensionCalled, 1, params={"prompt": prompt})


@pytest.mark.parametrize("build", [request, modern])
def test_both_ref_and_prompt_are_refused(play: Playbook, build: Callable[..., Json]) -> None:
    play >> build(1, "completion/complete", ref=REF, prompt=PROMPT) << failure(1, -32602, "one of them")


@pytest.mark.parametrize("build", [request, modern])
def test_neither_ref_nor_prompt_is_refused(play: Playbook, build: Callable[..., Json]) -> None:
    play >> build(1, "completion/complete", argument=ARGUMENT) << failure(1, -32602, "ref is missing (or prompt")


def test_without_the_extensions_only_the_standard_methods_are_there() -> None:
    with playbook(BARE) as play:
        play >> request(1, "models/list") << failure(1, -32601)
        play >> request(2, "completion/complete", prompt=PROMPT) << failure(2, -32602, "ref is missing")
        play >> request(3, "completion/complete", ref=REF, prompt=PROMPT, argument=ARGUMENT)
        play << handed(CompletionAsked, 3, ref="ask")


def test_an_extension_method_is_the_servers_own_choice() -> None:
    server = Server(name="x", title="X", version="1", instructions="", extensions=frozenset({"acme/go"}))
    with playbook(server) as play:
        play >> request(1, "acme/go", x=[1]) << handed(ExtensionCalled, 1, params={"x": [1]})
        play >> request(2, "acme/stop") << failure(2, -32601)


# --- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("pagination/invalid-cursor")
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
@pytest.mark.parametrize("cursor", ["", "abc", 1, {}, False])
def test_a_cursor_that_was_never_given_out_is_refused(play: Playbook, method: str, cursor: object) -> None:
    play >> request(1, method, cursor=cursor) << failure(1, -32602, "cursor")
    play >> modern(1, method, cursor=cursor) << failure(1, -32602, "cursor")


@pytest.mark.requirement("tools/order")
@pytest.mark.requirement("tools/list-not-per-connection")
@pytest.mark.requirement("resources/list-not-per-connection")
@pytest.mark.requirement("prompts/list-not-per-connection")
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
def test_a_list_is_the_same_each_time_and_for_everyone(play: Playbook, method: str) -> None:
    play >> modern(1, method)
    first = play.result(1)
    play >> initialize(0, "2024-11-05")
    play.result(0)
    play >> request(2, "tools/call", name="chat") << handed(ToolCalled, 2)
    play >> modern(3, method)
    assert play.result(3) == first
    with playbook(FULL) as other:
        other >> modern(1, method)
        assert other.result(1) == first


MANY = attrs.evolve(
    FULL,
    tools=tuple(attrs.evolve(FULL.tools[0], name=f"tool-{n}") for n in range(1_000)),
    prompts=tuple(attrs.evolve(FULL.prompts[0], name=f"prompt-{n}") for n in range(1_000)),
    resources=tuple(attrs.evolve(FULL.resources[0], uri=f"a:{n}") for n in range(1_000)),
    resource_templates=tuple(
        attrs.evolve(FULL.resource_templates[0], uri_template=f"a:{n}/{{b}}") for n in range(1_000)
    ),
)


@pytest.mark.requirement("pagination/stable")
@pytest.mark.requirement("caching/scope-of-pages")
@pytest.mark.parametrize(
    ("method", "member"),
    [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ],
)
@pytest.mark.parametrize("build", [request, modern])
def test_every_list_is_whole_on_its_first_page(build: Callable[..., Json], method: str, member: str) -> None:
    """However long it is: so no cursor is ever given out, and none can lose its meaning."""
    with playbook(MANY) as play:
        play >> build(1, method, cursor=None)
        result = play.result(1)
    assert len(result[member]) == 1_000
    assert "nextCursor" not in result
