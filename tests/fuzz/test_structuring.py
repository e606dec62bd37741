"""Strict structuring: what comes is what the class says, to the type, or is refused; nothing is lost or coerced."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

import attrs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from openai_gateway.wire.structure import StructureError, structure, unstructure
from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.features.tools.spec import ToolSpec, WrongArgument, read_arguments

TEXT = st.one_of(st.text(max_size=3), st.sampled_from(["", "no", "5", "None", "a"]))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(25.0),
    TEXT,
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


class Colour(enum.Enum):
    RED = "red"
    SEVEN = 7


@attrs.frozen(kw_only=True)
class Inner:
    name: str
    weight: float = 1.0


@attrs.frozen(kw_only=True)
class Everything:
    text: str
    count: int = 25
    ratio: float = 0
    flag: bool = False
    maybe: str | None = None
    either: int | str = ""
    number: int | float | None = None
    word: Literal["a", 1, True] = "a"
    colour: Colour = Colour.RED
    names: tuple[str, ...] = ()
    maybe_numbers: tuple[float, ...] | None = None
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    by_name: Mapping[str, Inner] = attrs.field(factory=dict)
    objects: tuple[Mapping[str, Any], ...] | None = None
    anything: Any = None


def fits(value: Any, into: Any) -> bool:
    """The rules once more, as plainly as can be."""
    origin, arguments = typing.get_origin(into), typing.get_args(into)
    if into is Any or into is types.NoneType:
        return into is Any or value is None
    if into is float:
        return type(value) in (int, float)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal or (isinstance(into, type) and issubclass(into, enum.Enum)):
        allowed = arguments or [member.value for member in into]
        return any(type(value) is type(one) and value == one for one in allowed)
    if origin is tuple:
        return type(value) is list and all(fits(item, arguments[0]) for item in value)
    if origin is not None:
        return type(value) is dict and all(fits(item, arguments[1]) for item in value.values())
    if attrs.has(into):
        fields = attrs.fields_dict(attrs.resolve_types(into))
        required = {name for name, field in fields.items() if field.default is attrs.NOTHING}
        return (
            type(value) is dict
            and required <= set(value) <= set(fields)
            and all(fits(item, fields[name].type) for name, item in value.items())
        )
    return type(value) is into


def near(into: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as JSON; one in a few is something else."""
    return st.sampled_from([True] * 9 + [False]).flatmap(lambda right: _right(into) if right else JSON)


def _right(into: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(into), typing.get_args(into)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(near, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if isinstance(into, type) and issubclass(into, enum.Enum):
        return st.sampled_from([member.value for member in into])
    if origin is tuple:
        return st.lists(near(arguments[0]), max_size=3)
    if origin is not None:
        return st.dictionaries(TEXT, near(arguments[1]), max_size=3)
    if isinstance(into, type) and attrs.has(into):
        return _object(into)
    plain: dict[Any, st.SearchStrategy[Any]] = {str: TEXT, bool: st.booleans(), int: st.integers(-1, 26)}
    return plain.get(into, st.one_of(st.integers(-1, 3), st.floats(-1, 3)) if into is float else JSON)


@st.composite
def _object(draw: Any, into: type[Any]) -> dict[str, Any]:
    fields = attrs.fields(attrs.resolve_types(into))
    chosen = draw(st.sets(st.sampled_from([field.name for field in fields]), max_size=6))
    chosen |= {
        field.name for field in fields if field.default is attrs.NOTHING and draw(st.sampled_from([True] * 9 + [False]))
    }
    made = {field.name: draw(near(field.type)) for field in fields if field.name in chosen}
    if draw(st.sampled_from([False] * 9 + [True])):
        made[draw(TEXT)] = draw(JSON)
    return made


def without_defaults(value: Any, into: Any) -> Any:
    """What is to come back: members that say their default may be left out, and are."""
    if typing.get_origin(into) in (Union, types.UnionType):
        into = next(one for one in typing.get_args(into) if fits(value, one))
    arguments = typing.get_args(into)
    if isinstance(value, list) and arguments:
        return [without_defaults(item, arguments[0]) for item in value]
    if isinstance(value, dict) and arguments:
        return {name: without_defaults(item, arguments[1]) for name, item in value.items()}
    if not attrs.has(into):
        return value
    fields = attrs.fields_dict(attrs.resolve_types(into))
    return {
        name: without_defaults(item, fields[name].type)
        for name, item in value.items()
        if structure(item, fields[name].type) != _default(fields[name])
    }


def _default(field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    return default.factory() if hasattr(default, "factory") else default


def members(value: Mapping[str, Any]) -> list[str]:
    """An object's members comparably, in any order; repr tells 1 from 1.0 and True."""
    return sorted(map(repr, value.items()))


def maybe_made(value: Any) -> Everything | None:
    try:
        return structure(value, Everything)
    except StructureError:
        return None


@given(near(Everything))
def test_what_is_structured_comes_back_as_it_was(value: Any) -> None:
    made = maybe_made(value)
    assert (made is not None) is fits(value, Everything)
    if made is not None:
        returned = unstructure(made)
        assert structure(returned, Everything) == made
        assert members(returned) == members(without_defaults(value, Everything))


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
@given(drawn=st.data())
def test_the_arguments_of_a_tool_are_read_as_they_came(tool: ToolSpec, drawn: st.DataObject) -> None:
    came = drawn.draw(_object(tool.args))
    try:
        made = read_arguments(tool.args, came)
    except WrongArgument:
        event("refused")
        return
    event("read")
    expected = {name: value for name, value in without_defaults(came, tool.args).items() if value is not None}
    assert members(unstructure(made)) == members(expected)
