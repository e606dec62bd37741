"""What a server is like is learnt by asking it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from openai_gateway_mcp.fuzz.messages import Facts
from openai_gateway_mcp.fuzz.shapes import REVISIONS
from openai_gateway_mcp.fuzz.survey import NoServer, survey
from tests.fuzzer.scripted import Scripted, error_of, result_of
from tests.fuzzer.test_machine import InMemory

PAGES: dict[Any, dict[str, Any]] = {
    None: {"tools": [{"name": "look", "annotations": {"readOnlyHint": True}}, 7], "nextCursor": "2"},
    "2": {"tools": [{"name": "wipe"}, {"name": "write", "annotations": {"readOnlyHint": False}}, {"name": 7}]},
}


def legacy(message: dict[str, Any]) -> Iterator[bytes]:
    params = message.get("params", {})
    match message["method"]:
        case "initialize":
            has: dict[str, Any] = {"tools": {}, "prompts": {}}
            yield result_of(message, {"protocolVersion": "2025-03-26", "capabilities": has})
        case "tools/list":
            yield result_of(message, PAGES[params.get("cursor")])
        case "prompts/list":
            yield result_of(message, {"prompts": [{"name": "ask"}]})
        case "resources/list":
            pytest.fail("it did not say that it has resources")
        case "server/discover":
            yield error_of(message, -32601)


def test_the_revisions_are_those_that_it_agrees_to_and_tools_are_called_that_say_they_read() -> None:
    found = survey(lambda: Scripted(legacy), patience=0.0)
    assert found.facts == Facts(revisions=("2025-03-26",), tools=("look",), prompts=("ask",), resources=())
    assert found.left_alone == ("wipe", "write")


def test_a_tool_is_called_where_that_is_wanted() -> None:
    found = survey(lambda: Scripted(legacy), patience=0.0, calls=["wipe"])
    assert found.facts.tools == ("look", "wipe")
    assert found.left_alone == ("write",)


def test_a_cursor_without_an_end_is_not_followed_for_ever() -> None:
    def endless(message: dict[str, Any]) -> Iterator[bytes]:
        if message["method"] == "tools/list":
            yield result_of(message, {"tools": [{"name": "again"}], "nextCursor": "2"})
        else:
            yield from legacy(message)

    assert len(survey(lambda: Scripted(endless), patience=0.0).left_alone) == 20


def test_our_own_core_speaks_every_revision() -> None:
    assert survey(InMemory, patience=0.0).facts.revisions == REVISIONS


def test_what_is_no_server_is_told() -> None:
    with pytest.raises(NoServer):
        survey(lambda: Scripted(lambda _: [b"hello"]), patience=0.0)
