"""OpenAI's chat request as one of Anthropic's Messages API, a row a member.

What the Messages API knows by another name or in another form is carried over; what it lacks is refused where the
answer would be another one, and otherwise left out with a warning. Members that are not OpenAI's pass as they are, and
win over what an OpenAI member would become: so `thinking`, `top_k` or `cache_control` can be said in Anthropic's terms.
Facts by platform.claude.com (Messages API, OpenAI SDK compatibility, Effort, Structured outputs) and the types of the
`anthropic` package, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from openai_gateway.routing.calls import Json
from openai_gateway.routing.dialects.anthropic_messages import conversation
from openai_gateway.routing.dialects.anthropic_notes import Notes, refused
from openai_gateway.routing.plan import Target

MAX_TOKENS: Final = 32_000
"""`max_tokens` where neither the call nor the model's row says one; the API demands it. The least that the models which
are not retired can all write (Opus 4.1; the newest write 128,000), and it is only a bound: a shorter answer costs
no more. A small one, as other gateways have, would be used up by the reasoning of models that always think."""

_BETA: Final = re.compile(r"[A-Za-z0-9_.-]+")


@attrs.frozen(kw_only=True)
class Written:
    """The body of a Messages request, and the names for its `anthropic-beta` header."""

    body: dict[str, Any]
    betas: tuple[str, ...]


@attrs.frozen(kw_only=True)
class _Writing:
    """A request on its way."""

    body: dict[str, Any]
    notes: Notes


def written(given: Mapping[str, Json], target: Target, notes: Notes, *, stream: bool) -> Written:
    """The request that asks the same. Raises GatewayError (INVALID_REQUEST) for what cannot be asked there.

    A null in an OpenAI member is taken for what it means there: not given.
    """
    own = {name: value for name, value in given.items() if name not in _OPENAI and name not in _BETAS}
    asked = {name: value for name, value in given.items() if name in _OPENAI and value is not None}
    writing = _Writing(body={"model": target.model, **own}, notes=notes)
    _refuse(asked)
    for name, carry in _MEMBERS.items():
        if name in asked:
            carry(writing, asked[name])
    for name, neutral in _HINTS.items():
        if name in asked and asked[name] not in neutral:
            notes.left_out(name)
    writing.body.setdefault("max_tokens", target.row.max_output_tokens or MAX_TOKENS)
    _messages(writing, given.get("messages"))
    if stream:
        writing.body["stream"] = True
    return Written(body=writing.body, betas=_betas(given))


def _refuse(asked: Mapping[str, Json]) -> None:
    for name, (why, neutral) in _REFUSED.items():
        if name in asked and asked[name] not in neutral:
            raise refused(name, f"{name} cannot be asked of Anthropic's Messages API: {why}.")


def _betas(given: Mapping[str, Json]) -> tuple[str, ...]:
    names = [beta for name in _BETAS for beta in _texts(given.get(name), name)]
    for name in names:
        if not _BETA.fullmatch(name):
            raise refused("anthropic_beta", f"anthropic_beta holds {name!r}, which no header can carry.")
    return tuple(dict.fromkeys(names))


def _texts(value: Json, name: str) -> list[str]:
    """A text or a list of texts, as a list."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise refused(name, f"{name} is neither a text nor a list of texts.")
    return values


# --- the rows' ways of carrying ---------------------------------------------------------------------------------------


def _messages(writing: _Writing, messages: Json) -> None:
    system, turns = conversation(messages, writing.notes)
    own = writing.body.get("system")
    own_blocks = own if isinstance(own, list) else [] if own is None else [{"type": "text", "text": own}]
    blocks = [*own_blocks, *system]
    if system:
        plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
        writing.body["system"] = blocks[0]["text"] if plain else blocks
    writing.body["messages"] = turns


def _top_p(writing: _Writing, value: Json) -> None:
    writing.body["top_p"] = value


def _output_limit(name: str) -> Callable[[_Writing, Json], None]:
    def carry(writing: _Writing, value: Json) -> None:
        if writing.body.setdefault("max_tokens", value) != value:
            writing.notes.left_out(name, "max_completion_tokens is given too")

    return carry


def _temperature(writing: _Writing, value: Json) -> None:
    """OpenAI's goes to 2 and Anthropic's to 1; Anthropic's own OpenAI endpoint takes what is above it for 1 as well."""
    above = isinstance(value, int | float) and value > 1
    if above:
        writing.notes.warn("takes no temperature above 1: 1 was sent")
    writing.body["temperature"] = 1 if above else value


def _stop(writing: _Writing, value: Json) -> None:
    sequences = _texts(value, "stop")
    if not all(sequence.strip() for sequence in sequences):
        raise refused("stop", "stop holds white space alone, which Anthropic's Messages API does not stop at.")
    own = writing.body.get("stop_sequences")
    writing.body["stop_sequences"] = [*(own if isinstance(own, list) else []), *sequences]


def _tools(writing: _Writing, value: Json) -> None:
    if not isinstance(value, list):
        raise refused("tools", "tools is no list.")
    writing.body["tools"] = [_tool(tool, f"tools[{at}]", writing.notes) for at, tool in enumerate(value)]


def _tool(tool: Json, param: str, notes: Notes) -> Json:
    if not isinstance(tool, Mapping):
        raise refused(param, f"{param} is no object.")
    if "custom" in tool:
        raise refused(param, f"{param} takes text without a schema, and Anthropic's tools take JSON alone.")
    if "function" not in tool:
        return tool  # one of Anthropic's own: web_search_…, or {"name", "input_schema"}
    function = tool["function"]
    if not isinstance(function, Mapping):
        raise refused(f"{param}.function", f"{param}.function is no object.")
    used = frozenset({"name", "parameters"})
    parameters = function.get("parameters")
    schema = {"type": "object", "properties": {}} if parameters is None else parameters
    return {
        "name": function.get("name"),
        "input_schema": {"type": "object", **schema} if isinstance(schema, Mapping) else schema,
        **notes.kept(function, _TOOL_KEEPS, used, "tools[].function"),
        **notes.kept(tool, _TOOL_KEEPS, frozenset({"type", "function"}), "tools[]"),
    }


def _tool_choice(writing: _Writing, value: Json) -> None:
    if not writing.body.get("tools"):
        writing.notes.left_out("tool_choice", "there are no tools")
        return
    if isinstance(value, str):
        value = {"type": _CHOICES.get(value, value)}
    elif isinstance(value, Mapping) and value.get("type") == "function":
        function = value.get("function")
        value = {"type": "tool", "name": function.get("name") if isinstance(function, Mapping) else value.get("name")}
    elif isinstance(value, Mapping) and value.get("type") in {"custom", "allowed_tools"}:
        raise refused("tool_choice", f"tool_choice of type {value['type']!r} has no equal in the Messages API.")
    writing.body["tool_choice"] = value


def _parallel_tool_calls(writing: _Writing, value: Json) -> None:
    if value is True:
        return  # as it is anyway
    choice = writing.body.get("tool_choice") or {"type": "auto"}
    if not writing.body.get("tools"):
        writing.notes.left_out("parallel_tool_calls", "there are no tools")
    elif isinstance(choice, Mapping) and choice.get("type") in {"auto", "any", "tool"}:
        writing.body["tool_choice"] = {"disable_parallel_tool_use": True, **choice}


def _reasoning_effort(writing: _Writing, value: Json) -> None:
    """The API's own effort, and nothing else: whether and how a model thinks is another matter on each of them, and
    `thinking` says it in Anthropic's terms. "none" is a thinking of type disabled."""
    if value == "none":
        writing.body.setdefault("thinking", {"type": "disabled"})
        return
    if value == "minimal":
        writing.notes.warn('takes no reasoning_effort "minimal": low was sent')
    _output_config(writing, "effort", "low" if value == "minimal" else value)


def _response_format(writing: _Writing, value: Json) -> None:
    """`output_config.format`. The API always holds to the schema; name and description go where it lets them stand."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return
    if kind == "json_object":
        message = "response_format json_object has no equal in Anthropic's Messages API; json_schema has one."
        raise refused("response_format", message)
    given = value.get("json_schema") if kind == "json_schema" else None
    if not isinstance(given, Mapping) or not isinstance(given.get("schema"), Mapping):
        raise refused("response_format", "response_format is neither text nor a json_schema with a schema.")
    writing.notes.kept(given, frozenset(), _OF_FORMAT, "response_format.json_schema")
    words = {"title": given.get("name"), "description": given.get("description")}
    schema = {**{name: text for name, text in words.items() if text is not None}, **given["schema"]}
    _output_config(writing, "format", {"type": "json_schema", "schema": schema})


def _output_config(writing: _Writing, name: str, value: Json) -> None:
    own = writing.body.get("output_config")
    writing.body["output_config"] = {name: value, **own} if isinstance(own, Mapping) else {name: value}


def _metadata(writing: _Writing, value: Json) -> None:
    """`user_id` is all that Anthropic's has."""
    if not isinstance(value, Mapping):
        raise refused("metadata", "metadata is no object.")
    kept = writing.notes.kept(value, frozenset({"user_id"}), frozenset(), "metadata")
    if kept:
        writing.body["metadata"] = kept


def _user(name: str) -> Callable[[_Writing, Json], None]:
    def carry(writing: _Writing, value: Json) -> None:
        metadata = writing.body.setdefault("metadata", {"user_id": value})
        if metadata.get("user_id") != value:
            writing.notes.left_out(name, "metadata.user_id is given by another member")

    return carry


def _service_tier(writing: _Writing, value: Json) -> None:
    tier = _TIERS.get(value) if isinstance(value, str) else None
    if tier is None:
        writing.notes.left_out(f"service_tier {value!r}")
    else:
        writing.body["service_tier"] = tier


def _stream_options(writing: _Writing, value: Json) -> None:
    """A stream of the Messages API always tells its usage."""
    if isinstance(value, Mapping):
        options = {name: option for name, option in value.items() if option is not False}
        writing.notes.kept(options, frozenset(), frozenset({"include_usage"}), "stream_options")


_BETAS: Final = ("anthropic_beta", "betas")
_CHOICES: Final = {"required": "any"}
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_OF_FORMAT: Final = frozenset({"name", "description", "schema", "strict"})
_TOOL_KEEPS: Final = frozenset({
    "description", "strict", "cache_control", "defer_loading", "allowed_callers", "eager_input_streaming",
    "input_examples",
})  # fmt: skip

_MEMBERS: Final[Mapping[str, Callable[[_Writing, Json], None]]] = {
    "stream_options": _stream_options,
    "max_completion_tokens": _output_limit("max_completion_tokens"),
    "max_tokens": _output_limit("max_tokens"),
    "temperature": _temperature,
    "top_p": _top_p,
    "stop": _stop,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _parallel_tool_calls,
    "reasoning_effort": _reasoning_effort,
    "response_format": _response_format,
    "metadata": _metadata,
    "safety_identifier": _user("safety_identifier"),
    "user": _user("user"),
    "service_tier": _service_tier,
}
"""What has an equal, in the order in which it is carried."""

_HINTS: Final[Mapping[str, tuple[Json, ...]]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "seed": (),
    "store": (False,),
    "verbosity": ("medium",),
}
"""What is left out with a warning, and the values that say only what is so anyway."""

_REFUSED: Final[Mapping[str, tuple[str, tuple[Json, ...]]]] = {
    "audio": ("it does not speak", ()),
    "function_call": ("use tool_choice", ("auto", "none")),
    "functions": ("use tools", ([],)),
    "logprobs": ("it tells none", (False,)),
    "modalities": ("it writes text alone", (["text"],)),
    "moderation": ("it has no such check", ()),
    "n": ("it gives one answer a call", (1,)),
    "top_logprobs": ("it tells none", (0,)),
    "web_search_options": ("give its own web_search tool in tools", ()),
}
"""What would change the answer, why it cannot be asked, and the values that ask for nothing."""

_OPENAI: Final = frozenset({"model", "messages", "stream", *_MEMBERS, *_HINTS, *_REFUSED})
"""Every member of OpenAI's request for a chat completion."""
