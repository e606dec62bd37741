"""Strict structuring: nothing is coerced, all that is wrong is named, and what went in comes out."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from openai_gateway.wire.structure import Problem, StructureError, structure, unstructure


class Colour(str, enum.Enum):  # noqa: UP042 - the mix-in is the case to be tested
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Mixed(enum.Enum):
    ONE = 1
    TEXT = "1"


@attrs.frozen(kw_only=True)
class Message:
    role: Literal["user", "system"]
    content: str | tuple[Mapping[str, Any], ...]


@attrs.frozen(kw_only=True)
class Node:
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    kids: tuple[Node, ...] = ()


@attrs.frozen
class Odd:
    x: int = 0

    def __attrs_post_init__(self) -> None:
        if self.x == 13:
            raise ValueError("no thirteen")
        if self.x == 14:
            raise LookupError("a bug of ours")


@attrs.frozen
class Nothing:
    pass


@attrs.frozen(kw_only=True)
class Args:
    messages: tuple[Message, ...] = ()
    temperature: float | None = None
    colour: Colour | None = None
    level: Level | None = None
    mixed: Mixed | None = None
    seed: int | str = 0
    counts: dict[str, int] = attrs.field(factory=dict)
    node: Node | Message | None = None
    extra: Any = None
    flag: bool = False
    made: int = attrs.field(default=7, init=False)


def problems(value: object, into: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(StructureError) as caught:
        structure(value, into)
    return [(problem.path, problem.came, problem.accepted) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("value", "into", "came", "accepted"),
    [
        (5, str, "5", "a string"),
        (None, str, "null", "a string"),
        ("no", bool, '"no"', "true or false"),
        (1, bool, "1", "true or false"),
        (True, int, "true", "an integer"),
        (1.0, int, "1.0", "an integer"),
        ("1", int, '"1"', "an integer"),
        (True, float, "true", "a number"),
        ("abc", tuple[str, ...], '"abc"', "an array"),
        ({"a": 1}, tuple[str, ...], "an object", "an array"),
        ([["a", 1]], Mapping[str, Any], "an array", "an object"),
        ("x", type(None), '"x"', "null"),
        (True, Literal[1, "a"], "true", '1 or "a"'),
        ("RED", Colour, '"RED"', '"red" or "blue"'),
        (True, Level, "true", "1"),
        (1.0, Mixed, "1.0", '1 or "1"'),
        (True, int | str | None, "true", "an integer or a string or null"),
        ([], Args, "an array", "an object"),
        ("kids", Node, '"kids"', "an object"),
        ("x" * 100, int, '"' + "x" * 59 + "… (102 characters)", "an integer"),
    ],
)
def test_nothing_is_coerced(value: object, into: Any, came: str, accepted: str) -> None:
    assert problems(value, into) == [("", came, accepted)]


@pytest.mark.parametrize(
    ("value", "into"),
    [
        (5, float),
        (2**80, float),
        (0.5, float),
        ("", str),
        (None, int | None),
        (None, typing.Optional[int]),  # noqa: UP045 - the other spelling of a union
        ({"x": [1]}, Any),
        ({"x": [1]}, Mapping[str, Any]),
        (1, int | str),
        ("1", int | str),
        (1, Literal[1, True]),
    ],
)
def test_what_is_accepted_passes_as_it_is(value: object, into: Any) -> None:
    made = structure(value, into)
    assert made == value
    assert type(made) is type(value)


def test_a_whole_class_is_made() -> None:
    value = {
        "messages": [{"role": "user", "content": "a"}, {"role": "system", "content": [{"type": "text"}]}],
        "temperature": 1,
        "colour": "blue",
        "level": 1,
        "mixed": "1",
        "seed": "x",
        "counts": {"a": 1},
        "node": {"kids": [{"size": 2}]},
        "extra": [{"deep": None}],
        "flag": True,
    }
    made = structure(value, Args)
    assert made == Args(
        messages=(Message(role="user", content="a"), Message(role="system", content=({"type": "text"},))),
        temperature=1,
        colour=Colour.BLUE,
        level=Level.LOW,
        mixed=Mixed.TEXT,
        seed="x",
        counts={"a": 1},
        node=Node(kids=(Node(size=2),)),
        extra=[{"deep": None}],
        flag=True,
    )
    assert unstructure(made) == value
    assert {type(unstructure(made)[name]) for name in ("colour", "level", "mixed", "messages")} == {str, int, list}


def test_all_that_is_wrong_is_named_with_its_path() -> None:
    value = {
        "messages": [{"role": "usr", "content": 1}, 5],
        "counts": {"a": "1", "b": 2, "c": None},
        "flagg": 1,
        "zzz": {},
        "made": 1,
    }
    members = "only messages, temperature, colour, level, mixed, seed, counts, node, extra, flag"
    assert problems(value, Args) == [
        ("messages[0].role", '"usr"', '"user" or "system"'),
        ("messages[0].content", "1", "a string or an array"),
        ("messages[1]", "5", "an object"),
        ("counts.a", '"1"', "an integer"),
        ("counts.c", "null", "an integer"),
        ("flagg", "1", f"{members}. Did you mean 'flag'?"),
        ("zzz", "an object", members),
        ("made", "1", members),
    ]


def test_a_missing_member_is_named_with_what_it_takes() -> None:
    assert problems({"role": "user"}, Message) == [("content", "nothing", "a string or an array")]


def test_a_union_speaks_of_the_member_that_came_nearest() -> None:
    assert problems({"node": {"size": "x"}}, Args) == [("node.size", '"x"', "an integer")]
    assert problems({"node": {"role": "user", "content": 1}}, Args) == [("node.content", "1", "a string or an array")]


def test_validators_are_problems_too() -> None:
    assert problems({"node": {"size": 0}}, Args) == [("node.size", "0", "what must be >= 1")]
    assert problems({"x": 13}, Odd) == [("", "an object", "no thirteen")]


def test_a_class_without_members_takes_none() -> None:
    assert structure({}, Nothing) == Nothing()
    assert problems({"a": 1}, Nothing) == [("a", "1", "no member")]


def test_a_bug_in_a_class_of_ours_is_not_blamed_on_the_value() -> None:
    with pytest.raises(LookupError, match="a bug of ours"):
        structure({"x": 14}, Odd)


def test_the_message_holds_each_problem() -> None:
    error = StructureError((Problem(path="", came="5", accepted="a string"), Problem(path="a", came="1", accepted="b")))
    assert str(error) == "the value: came 5, accepted is a string; a: came 1, accepted is b"


@pytest.mark.parametrize("into", [list[str], list, set[int], bytes, tuple[int, str], dict, dict[int, str], object])
def test_types_that_cattrs_would_coerce_are_refused(into: Any) -> None:
    with pytest.raises(TypeError, match="no type for JSON values"):
        structure("x", into)


_SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.just(1.0) | st.sampled_from(["user", "red", "1", "x"])
_NAMES = st.sampled_from([*(field.name for field in attrs.fields(Args)), "role", "content", "size", "kids", "other"])
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
)
_TYPES = st.sampled_from(
    [Args, Node, Message, Nothing, int, float, str, bool, int | str | None, tuple[Node | int, ...], Mapping[str, Node]]
)


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def _without_defaults(value: Any, cls: Any) -> Any:
    """The input as `unstructure` writes it: members that say their default left out, at every depth of our classes."""
    return unstructure(structure(value, cls))


@given(_VALUES, _TYPES)
def test_what_is_structured_comes_out_as_it_went_in(value: Any, into: Any) -> None:
    try:
        made = structure(value, into)
    except StructureError:
        event("refused")
        return
    event(f"accepted as {into}")
    out = unstructure(made)
    assert _same(_without_defaults(out, into), out)
    assert structure(out, into) == made
    assert _covers(value, out)


def _covers(value: Any, out: Any) -> bool:
    """Everything in `out` is in `value` as it is; what `value` has beside it may only be a default."""
    if isinstance(value, dict) and isinstance(out, dict):
        return out.keys() <= value.keys() and all(_covers(value[key], out[key]) for key in out)
    if isinstance(value, list) and isinstance(out, list):
        return len(value) == len(out) and all(map(_covers, value, out))
    return _same(value, out)


@pytest.mark.parametrize("into", [tuple[str, ...], tuple[Mapping[str, Any], ...] | None, Args, Mapping[str, str]])
def test_of_what_is_wrong_a_hundred_things_are_named(into: Any) -> None:
    """A text of 16 MiB can hold eight million that are wrong, and each took 14 microseconds and 280 bytes."""
    value = {f"x{number}": 1 for number in range(10_000)} if into in {Args, Mapping[str, str]} else [1] * 1_000_000
    assert len(problems(value, into)) == 100
