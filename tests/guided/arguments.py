"""Arguments of tools: what fits the class comes back as it was, what does not is refused by its one error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openai_gateway.wire.strict import JsonError, dumps, loads
from openai_gateway.wire.structure import StructureError, structure, unstructure
from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.features.tools.spec import WrongArgument, read_arguments
from openai_gateway_mcp.fuzz.damage import mutated
from tests.fuzz.test_structuring import Everything, fits, members, near, without_defaults
from tests.guided.target import Target, by_choices, examples

Structure = Callable[[Any, Any], Any]
WRITTEN = near(Everything).map(dumps)


def target(make: Structure = structure) -> Target:
    def check(data: bytes) -> None:
        try:
            value = loads(data)
        except JsonError:
            return
        check_structure(make, value)
        if isinstance(value, dict):
            for tool in TOOLS.values():
                check_tool(tool.args, value)

    return Target(
        name="arguments",
        of_bytes=check,
        of_choices=by_choices(check, data=WRITTEN | mutated(WRITTEN)),
        sound=lambda: [
            b'{"prompt":"x","temperature":0.5}',
            b'{"text":"","unknown":1}',
            b'{"messages":[{"role":"user","content":"x"}],"models":["a"]}',
            *examples(WRITTEN, 100),
        ],
    )


def check_structure(make: Structure, value: Any) -> None:
    try:
        made = make(value, Everything)
    except StructureError:
        made = None
    assert (made is not None) is fits(value, Everything)
    if made is not None:
        returned = unstructure(made)
        assert make(returned, Everything) == made
        assert members(returned) == members(without_defaults(value, Everything))


def check_tool(args: Any, value: dict[str, Any]) -> None:
    try:
        made = read_arguments(args, value)
    except WrongArgument:
        return
    assert read_arguments(args, {name: one for name, one in value.items() if one is not None}) == made
