"""What is offered, and that it fits every client."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from trio.testing import MockClock

from openai_gateway_mcp.features.application import describe
from openai_gateway_mcp.features.prompts import PROMPTS
from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.protocol.errors import Fault
from openai_gateway_mcp.protocol.model import Tool
from tests.features.scripted import Upstream, client_of, settings_of

SERVER = describe(settings_of({}))


def as_listed(tool: Tool) -> dict[str, Any]:
    shape = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": tool.annotations,
    }
    return {name: value for name, value in shape.items() if value is not None}


def test_all_of_tools_list_fits_in_six_kilobytes() -> None:
    assert len(json.dumps({"tools": [as_listed(tool) for tool in SERVER.tools]})) <= 6 * 1024


def test_the_instructions_fit_where_clients_cut_them() -> None:
    assert 0 < len(SERVER.instructions) <= 2048


@pytest.mark.parametrize("tool", SERVER.tools, ids=lambda tool: tool.name)
def test_each_tool_says_what_it_does_when_to_use_it_and_what_it_costs(tool: Tool) -> None:
    assert len(tool.description) <= 600
    assert "Use it" in tool.description
    assert "Costs" in tool.description
    assert re.fullmatch(r"[A-Za-z0-9_]{1,64}", tool.name)
    assert tool.annotations == {"readOnlyHint": True, "openWorldHint": True}


def schemas_in(schema: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [schema, *(deeper for one in inner for deeper in schemas_in(one))]


@pytest.mark.parametrize("tool", SERVER.tools, ids=lambda tool: tool.name)
def test_each_schema_is_of_the_sort_that_breaks_no_client(tool: Tool) -> None:
    outer = [dict(tool.input_schema), *([dict(tool.output_schema)] if tool.output_schema else [])]
    for schema in outer:
        assert schema["type"] == "object"
        assert isinstance(schema["properties"], dict)
        assert not {"anyOf", "oneOf", "allOf", "enum", "not"} & set(schema)
        for part in schemas_in(schema):
            assert "$ref" not in part
            assert isinstance(part["type"], str)
            assert part["type"] != "array" or "items" in part
            assert all(re.fullmatch(r"[A-Za-z0-9_]{1,64}", name) for name in part.get("properties", {}))
        assert "enum" not in schema["properties"].get("model", {})


def test_only_what_is_data_has_an_output_schema() -> None:
    assert [tool.name for tool in SERVER.tools if tool.output_schema] == ["list_models", "moderate"]


def test_chat_comes_first_and_needs_no_argument_by_its_schema() -> None:
    assert SERVER.tools[0].name == "chat"
    assert "required" not in SERVER.tools[0].input_schema


def test_the_offer_needs_no_gateway_and_names_the_seeds_methods() -> None:
    assert SERVER.extensions == {"models/list", "completion/complete"}
    assert [prompt.name for prompt in SERVER.prompts] == ["ask", "second_opinion"]
    assert SERVER.prompts == tuple(spec.prompt for spec in PROMPTS)


def test_only_the_tools_switched_on_are_listed() -> None:
    assert [tool.name for tool in describe(settings_of({}, tools=("chat",))).tools] == ["chat"]


async def test_a_tool_that_is_unknown_or_switched_off_is_a_json_rpc_error(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(), tools=("chat",)) as client:
        for name in ("zzz", "list_models"):
            with pytest.raises(Fault) as caught:
                await client.call(name)
            assert caught.value.code == -32602
            assert name in caught.value.message


def test_the_table_is_keyed_by_the_tools_own_names() -> None:
    assert all(name == tool.name for name, tool in TOOLS.items())
