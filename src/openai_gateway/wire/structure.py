"""JSON values to our own classes and back: the one cattrs converter, which coerces nothing."""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Literal, TypeVar, Union, overload

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from openai_gateway.wire.nearest import did_you_mean
from openai_gateway.wire.strict import dumps

T = TypeVar("T")
_SHOWN: Final = 60
_MOST_PROBLEMS: Final = 100
"""Of one list, or one object: nobody reads on, and each weighs a hundred times what a wrong `1,` in the text does."""
_NOUNS: Final[Mapping[Any, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
    Any: "any value",
}


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong: where (`messages[0].role`, "" for the whole value), what came, what is accepted."""

    path: str
    came: str
    accepted: str

    def __str__(self) -> str:
        return f"{self.path or 'the value'}: came {self.came}, accepted is {self.accepted}"

    def below(self, outer: str) -> Problem:
        """The same problem, seen from outside of the member or item `outer`."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        return attrs.evolve(self, path=f"{outer}{dot}{self.path}")


class StructureError(ValueError):
    """The value does not have the asked type; what is wrong with it is in `problems`, of each list the first 100."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@overload
def structure(value: Any, into: type[T]) -> T: ...
@overload
def structure(value: Any, into: Any) -> Any: ...
def structure(value: Any, into: Any) -> Any:
    """`value` (as `strict.loads` gives it) as `into`: 5 stays no string, True no integer, a string no list.

    Known are attrs classes, str, int, float (an integer will do, and stays one), bool, None, Any (untouched), Literal,
    Enum, tuple[X, ...], Mapping[str, X], dict[str, X] and unions of them. Raises StructureError, and TypeError for
    another type.
    """
    return _converter.structure(value, into)


def unstructure(value: Any) -> Any:
    """The JSON value of what `structure` made; members that have their default are left out."""
    return _converter.unstructure(value)


def accepted(into: Any) -> str:
    """What a type accepts, in words."""
    if into in _NOUNS:
        return _NOUNS[into]
    origin, arguments = typing.get_origin(into), typing.get_args(into)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(accepted(argument) for argument in arguments))
    if origin is Literal:
        return " or ".join(_shown(argument) for argument in arguments)
    if _is_enum(into):
        return " or ".join(_shown(member.value) for member in into)
    return "an array" if origin is tuple else "an object"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _wrong(value: Any, into: Any) -> StructureError:
    return StructureError((Problem(path="", came=_shown(value), accepted=accepted(into)),))


def _is_enum(into: Any) -> bool:
    return isinstance(into, type) and issubclass(into, enum.Enum)


def _scalar(value: Any, into: Any) -> Any:
    # cattrs dispatches a `class Colour(str, Enum)` as the str it also is.
    if _is_enum(into):
        return _enum(value, into)
    if type(value) is into or (into is float and type(value) is int):
        return value
    raise _wrong(value, into)


def _enum(value: Any, into: type[enum.Enum]) -> enum.Enum:
    for member in into:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise _wrong(value, into)


def _literal(value: Any, into: Any) -> Any:
    # 1 == True == 1.0: the type must be the same too.
    if any(type(value) is type(argument) and value == argument for argument in typing.get_args(into)):
        return value
    raise _wrong(value, into)


def _union(value: Any, into: Any) -> Any:
    nearest: StructureError | None = None
    for member in typing.get_args(into):
        try:
            return _converter.structure(value, member)
        except StructureError as error:
            # One that found the right kind of value and something wrong within says more than "not that kind".
            within = all(problem.path for problem in error.problems)
            if within and (nearest is None or len(error.problems) < len(nearest.problems)):
                nearest = error
    raise nearest or _wrong(value, into)


def _tuple(value: Any, into: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(value, into)
    item_type = typing.get_args(into)[0]
    return tuple(_each(((f"[{index}]", item) for index, item in enumerate(value)), item_type))


def _mapping(value: Any, into: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, into)
    return dict(zip(value, _each(value.items(), typing.get_args(into)[1]), strict=True))


def _each(items: Iterable[tuple[str, Any]], item_type: Any) -> list[Any]:
    made: list[Any] = []
    problems: list[Problem] = []
    for place, item in items:
        try:
            made.append(_converter.structure(item, item_type))
        except StructureError as error:
            problems += [problem.below(place) for problem in error.problems]
            if len(problems) >= _MOST_PROBLEMS:
                break
    if problems:
        raise StructureError(tuple(problems))
    return made


def _class_hook(cls: type[Any]) -> Callable[[Any, Any], Any]:
    read = make_dict_structure_fn(cls, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True)

    def hook(value: Any, into: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, into)
        try:
            return read(value, into)
        except ClassValidationError as group:
            found = (problem for error in group.exceptions for problem in _problems(error, value, cls))
            problems = tuple(islice(found, _MOST_PROBLEMS))
        raise StructureError(problems)

    return hook


def _problems(error: Exception, value: Mapping[str, Any], cls: type[Any]) -> Iterator[Problem]:
    """What cattrs met in one member; its note on the exception says in which."""
    note = next(iter(getattr(error, "__notes__", ())), None)
    if isinstance(error, ForbiddenExtraKeysError):
        yield from (_unknown(key, value, cls) for key in value if key in error.extra_fields)
    elif isinstance(error, StructureError) and note is not None:
        yield from (problem.below(note.name) for problem in error.problems)
    elif isinstance(error, KeyError) and note is not None:
        yield Problem(path=note.name, came="nothing", accepted=accepted(note.type))
    elif isinstance(error, ValueError):
        yield _refused_by_validator(str(error.args[0]), value)
    else:
        raise error


def _unknown(key: str, value: Mapping[str, Any], cls: type[Any]) -> Problem:
    known = [field.name for field in attrs.fields(cls) if field.init]
    near = did_you_mean(key, known)
    allowed = f"only {', '.join(known)}" if known else "no member"
    return Problem(path=key, came=_shown(value[key]), accepted=f"{allowed}. {near}" if near else allowed)


def _refused_by_validator(message: str, value: Mapping[str, Any]) -> Problem:
    """attrs' own validators begin with the field's name: "'limit' must be >= 1: 0"."""
    match = re.match(r"'(\w+)' (.*?)(?:: [^:]*)?$", message, re.DOTALL)
    if match is None:
        return Problem(path="", came=_shown(value), accepted=message)
    return Problem(path=match.group(1), came=_shown(value.get(match.group(1))), accepted=f"what {match.group(2)}")


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _refuse_type(value: Any, into: Any) -> Any:  # noqa: ARG001 - a hook's signature
    raise TypeError(f"{into!r} is no type for JSON values here")


def _has_origin(*origins: Any) -> Callable[[Any], bool]:
    return lambda into: typing.get_origin(into) in origins


def _is_homogeneous(into: Any) -> bool:
    return typing.get_origin(into) is tuple and typing.get_args(into)[1:] == (...,)


def _is_str_mapping(into: Any) -> bool:
    return typing.get_origin(into) in {Mapping, dict} and typing.get_args(into)[0] is str


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, omit_if_default=True)
    # The last that fits is taken: what no row below knows is refused rather than left to cattrs, which coerces.
    hooks: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]], ...] = (
        (lambda into: True, _refuse_type),  # noqa: ARG005 - all that is left
        (lambda into: into is Any, lambda value, into: value),  # noqa: ARG005 - untouched
        (lambda into: into is types.NoneType, _scalar),
        (_is_enum, _enum),
        (_has_origin(Literal), _literal),
        (_has_origin(Union, types.UnionType), _union),
        (_is_homogeneous, _tuple),
        (_is_str_mapping, _mapping),
    )
    for fits, hook in hooks:
        converter.register_structure_hook_func(fits, hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    for scalar in (str, int, float, bool):
        converter.register_structure_hook(scalar, _scalar)
    converter.register_structure_hook(bytes, _refuse_type)
    for plain in (str, int, float, enum.Enum):
        converter.register_unstructure_hook(plain, _plain)
    converter.register_unstructure_hook_func(_is_homogeneous, lambda items: [converter.unstructure(i) for i in items])
    return converter


_converter: Final = _make_converter()
