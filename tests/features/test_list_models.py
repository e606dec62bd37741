"""`list_models`: pages of what matches."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.protocol.model import ToolResult
from tests.features.scripted import CANARY, FOREVER, Upstream, client_of, lists, refuses, streams, text_of


def page_of(result: ToolResult) -> dict[str, Any]:
    """The structured content, which must be the text as well and fit the output schema's members."""
    assert result.structured is not None
    page = dict(result.structured)
    assert json.loads(text_of(result)) == page
    schema = TOOLS["list_models"].output_schema
    assert schema is not None
    assert set(schema["required"]) <= set(page) <= set(schema["properties"])
    return page


def names_of(result: ToolResult) -> list[str]:
    return [model["id"] for model in page_of(result)["models"]]


async def test_the_list_is_structured_and_the_same_json_as_text(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a", "b"))) as client:
        page = page_of(await client.call("list_models"))
    assert page == {
        "models": [{"id": "a", "owned_by": "them"}, {"id": "b", "owned_by": "them"}],
        "total": 2,
        "default_model": "gpt-3.5-turbo",
    }


async def test_full_detail_is_what_the_gateway_gave(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a"))) as client:
        page = page_of(await client.call("list_models", detail="full"))
    assert page["models"] == [{"id": "a", "object": "model", "created": 7, "owned_by": "them", "context_window": 8}]


async def test_a_query_finds_prefixes_before_other_places_in_any_case(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("my-gpt", "o-gpt-x", "GPT-4", "claude", "gpt-5"))) as client:
        assert names_of(await client.call("list_models", query="gpt")) == ["GPT-4", "gpt-5", "o-gpt-x", "my-gpt"]
        assert names_of(await client.call("list_models", query="zzz")) == []


async def test_the_cursor_walks_through_all_models_once(autojump_clock: MockClock) -> None:
    names = [f"m{number:03}" for number in range(60)]
    seen: list[str] = []
    upstream = Upstream(models=lists(*names))
    async with client_of(upstream) as client:
        page = page_of(await client.call("list_models"))
        assert page["total"] == 60
        while True:
            seen += [model["id"] for model in page["models"]]
            if "next_cursor" not in page:
                break
            page = page_of(await client.call("list_models", cursor=page["next_cursor"]))
    assert seen == names
    assert upstream.paths == ["/v1/models"]


async def test_a_cursor_of_nobody_is_a_wrong_argument(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a"))) as client:
        for cursor in ("x", "-1", "2", "٣", "9" * 30, ""):
            result = await client.call("list_models", cursor=cursor)
            assert result.is_error
            assert "`cursor`" in text_of(result)


async def test_a_page_never_outgrows_a_result_and_the_rest_is_on_the_next(autojump_clock: MockClock) -> None:
    names = [f"m{number}" for number in range(40)]
    async with client_of(Upstream(models=lists(*names)), max_characters=1000) as client:
        result = await client.call("list_models", limit=100, detail="full")
        page = page_of(result)
        assert len(text_of(result)) < 1200
        assert page["next_cursor"] == str(len(page["models"]))
        assert 0 < len(page["models"]) < 40


async def test_a_single_entry_over_the_size_is_still_shown(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a", "b")), max_characters=5) as client:
        assert names_of(await client.call("list_models")) == ["a"]


async def test_the_default_model_is_the_one_that_would_answer(autojump_clock: MockClock) -> None:
    environ = {"GATEWAY_URL": "https://gateway.example", "DEFAULT_MODEL": "b"}
    async with client_of(Upstream(models=lists("a", "b")), environ) as client:
        assert page_of(await client.call("list_models"))["default_model"] == "b"


async def test_wrong_arguments_say_what_is_accepted(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=lists("a"))) as client:
        assert '"concise" or "full"' in text_of(await client.call("list_models", detail="all"))
        assert "an integer, 1 to 100" in text_of(await client.call("list_models", limit=101))


async def test_a_list_that_does_not_come_is_given_up_at_the_soft_deadline(autojump_clock: MockClock) -> None:
    environ = {"GATEWAY_URL": "https://gateway.example", "TIMEOUT": "600"}
    silent = streams(FOREVER)
    async with client_of(Upstream(models=silent), environ) as client:
        began = trio.current_time()
        result = await client.call("list_models")
        assert trio.current_time() - began == pytest.approx(56)
    assert result.is_error
    assert "soft deadline of 55 s" in text_of(result)


async def test_a_failing_gateway_is_an_error_text_without_structure(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(models=refuses(401, f"no {CANARY}"))) as client:
        result = await client.call("list_models")
    assert result.is_error
    assert result.structured is None
    assert CANARY not in str(result)
    assert "list_models failed" in text_of(result)
