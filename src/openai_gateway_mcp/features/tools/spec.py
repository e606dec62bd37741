"""What a tool is: one row, whose arguments class gives both the JSON Schema and the strict reading of what came."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import attrs

from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.kept import Kept
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.protocol.events import Call
from openai_gateway_mcp.protocol.model import Text, Tool, ToolResult
from openai_gateway_mcp.transports.calls import Reporter

Json = Any
Args = TypeVar("Args")

_RULE = "openai_gateway_mcp.argument"
_SHOWN = 80  # characters of a wrong value that are quoted back; enough to recognise it


class WrongArgument(Exception):
    """An argument that a tool cannot take; the message names it, what came and what is accepted."""

    @classmethod
    def of(cls, name: str, came: Json, accepted: str) -> WrongArgument:
        return cls(f"Wrong argument `{name}`: got {_quoted(came)}. Accepted: {accepted}.")


@attrs.frozen(kw_only=True)
class Rule:
    """What is asked of an argument beyond its type; `choices` become an enum, bounds are inclusive.

    `or_one`: one string is taken for an array of it. The schema does not say so: a union breaks some clients.
    """

    help: str = ""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_length: int | None = None
    or_one: bool = False


def argument(*, default: Any = attrs.NOTHING, rule: Rule | None = None, help: str = "") -> Any:  # noqa: A002 - the word
    """A field of an arguments class. Without a default it is required."""
    return attrs.field(default=default, metadata={_RULE: rule or Rule(help=help)})


@attrs.frozen(kw_only=True)
class Context:
    """All that a handler may reach: the way to the gateway, the settings, the call it works for and its progress.

    `kept` is what was left for later, by any call of any caller: `settings.tenant` is whose it is.
    """

    door: Door
    settings: Settings
    kept: Kept
    call: Call
    reporter: Reporter


@attrs.frozen(kw_only=True)
class ToolSpec:
    """One tool. `handler` takes an instance of `args`; a GatewayError it lets through is made a text by its caller."""

    name: str
    title: str
    description: str
    args: type[Any]
    annotations: Mapping[str, Json]
    handler: Callable[[Any, Context], Awaitable[ToolResult]]
    output_schema: Mapping[str, Json] | None = None

    def describe(self) -> Tool:
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=input_schema(self.args),
            output_schema=self.output_schema,
            annotations=self.annotations,
        )


def failure(text: str, meta: Mapping[str, Json] | None = None) -> ToolResult:
    """A result that says what went wrong. Never with structured content: some clients then show nothing else."""
    return ToolResult(content=(Text(text),), is_error=True, meta=meta or {})


def traceparent(meta: Mapping[str, Json]) -> str | None:
    """The W3C trace context that MCP lets a client put in `_meta`."""
    value = meta.get("traceparent")
    return value if isinstance(value, str) else None


# --- the schema of an arguments class -------------------------------------------------------------------------------

_SCALARS: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def input_schema(args: type[Any]) -> dict[str, Json]:
    """The JSON Schema of an arguments class, as plain as can be: a bad one breaks some clients' whole session."""
    fields = _fields(args)
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "additionalProperties": False,
    }
    if required := [field.name for field in fields if field.default is attrs.NOTHING]:
        schema["required"] = required
    return schema


def _fields(args: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(attrs.resolve_types(args))
    return fields


def _rule(field: attrs.Attribute[Any]) -> Rule:
    rule: Rule = field.metadata[_RULE]
    return rule


def _property(field: attrs.Attribute[Any]) -> dict[str, Json]:
    rule = _rule(field)
    keywords = {
        "description": rule.help or None,
        "enum": list(rule.choices) or None,
        "minimum": rule.minimum,
        "maximum": rule.maximum,
        "minItems": rule.min_items,
        "maxItems": rule.max_items,
        "minLength": rule.min_length,
        "default": field.default if isinstance(field.default, (str, int)) else None,
    }
    return _type_schema(_without_none(field.type)) | {name: word for name, word in keywords.items() if word is not None}


def _without_none(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        # The schema says nothing of null, yet it is read as absent: models often write out every optional argument.
        (annotation,) = (one for one in typing.get_args(annotation) if one is not types.NoneType)
    return annotation


def _type_schema(annotation: Any) -> dict[str, Json]:
    if annotation in _SCALARS:
        return {"type": _SCALARS[annotation]}
    if typing.get_origin(annotation) is tuple:
        return {"type": "array", "items": _type_schema(typing.get_args(annotation)[0])}
    return {"type": "object"}


# --- reading what came ----------------------------------------------------------------------------------------------


def read_arguments(args: type[Args], arguments: Mapping[str, Json]) -> Args:
    """An instance of `args`, or WrongArgument. Nothing is coerced, and an argument that is not declared is refused."""
    fields = {field.name: field for field in _fields(args)}
    for name, came in arguments.items():
        if name not in fields:
            raise WrongArgument.of(name, came, f"only the arguments {', '.join(fields)}")
    return args(**{name: _read(field, arguments) for name, field in fields.items() if _came(field, arguments)})


def _came(field: attrs.Attribute[Any], arguments: Mapping[str, Json]) -> bool:
    if field.name in arguments:
        return True
    if field.default is attrs.NOTHING:
        raise WrongArgument(f"Missing argument `{field.name}`. Accepted: {_accepted(field)}.")
    return False


def _read(field: attrs.Attribute[Any], arguments: Mapping[str, Json]) -> Any:
    from openai_gateway.wire.structure import StructureError, structure  # noqa: PLC0415 - cattrs, not before a call

    came = arguments[field.name]
    if _rule(field).or_one and isinstance(came, str):
        came = [came]
    try:
        value = structure(came, field.type)
    except StructureError as error:
        problem = error.problems[0]
        accepted = problem.accepted if problem.path else _accepted(field)
        place = problem.below(field.name).path
        raise WrongArgument(f"Wrong argument `{place}`: got {problem.came}. Accepted: {accepted}.") from error
    if value is not None and not _obeys(_rule(field), value):
        raise WrongArgument.of(field.name, came, _accepted(field))
    return field.default if value is None else value


def _obeys(rule: Rule, value: Any) -> bool:
    size = len(value) if isinstance(value, tuple | str) else 0
    return (
        (not rule.choices or value in rule.choices)
        and (rule.minimum is None or value >= rule.minimum)
        and (rule.maximum is None or value <= rule.maximum)
        and (rule.min_items is None or size >= rule.min_items)
        and (rule.max_items is None or size <= rule.max_items)
        and (rule.min_length is None or size >= rule.min_length)
    )


_NOUNS = {"string": "a string", "integer": "an integer", "number": "a number", "boolean": "true or false"}
_PLURALS = {"string": "strings", "object": "objects"}


def _accepted(field: attrs.Attribute[Any]) -> str:
    schema, rule = _type_schema(_without_none(field.type)), _rule(field)
    if rule.choices:
        return " or ".join(f'"{choice}"' for choice in rule.choices)
    if schema["type"] == "array":
        return f"an array of {_range(rule.min_items, rule.max_items)}{_PLURALS[schema['items']['type']]}"
    if rule.min_length:
        return "a string that is not empty"
    noun = _NOUNS.get(schema["type"], "an object")
    return f"{noun}, {bounds}".rstrip() if (bounds := _range(rule.minimum, rule.maximum)) else noun


def _range(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f"{low} to {high} "
    return "" if low is None else f"{low} or more "


def _quoted(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"
