"""What a request's `params` say, read strictly; everything wrong is a Fault that names the member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from openai_gateway_mcp.protocol.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Fault,
)
from openai_gateway_mcp.protocol.events import (
    Call,
    CompletionAsked,
    Era,
    ExtensionCalled,
    PromptAsked,
    RefType,
    ResourceRead,
    TaskAsked,
    TaskVerb,
    ToolCalled,
    Work,
)
from openai_gateway_mcp.protocol.jsonrpc import Id, read_id
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.protocol.revisions import MODERN, MODERN_ONLY, REVISIONS, Revision

Params = Mapping[str, Any]

VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"

_SHOWN: Final = 100

_LOG_LEVELS: Final = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})


def shown(value: object) -> str:
    """Something of the peer's, fit for a log line or an error message: no control characters, no megabytes."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def invalid(message: str) -> Fault:
    """-32602, for what is wrong in the params of a request."""
    return Fault(INVALID_PARAMS, f"Invalid params: {message}")


# --- members --------------------------------------------------------------------------------------------------------


def string(params: Params, name: str) -> str:
    """A member that must be there, and a string."""
    value = params.get(name)
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string")
    return value


def mapping(params: Params, name: str) -> Params:
    """An object member; absent or null is an empty one."""
    value = params.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{name} must be an object")
    return value


def strings(params: Params, name: str) -> Mapping[str, str]:
    """An object member whose values are all strings."""
    values = mapping(params, name)
    for key, value in values.items():
        if not isinstance(value, str):
            raise invalid(f"{name}[{shown(key)}] must be a string")
    return values


# --- era and revision -----------------------------------------------------------------------------------------------


def revision_of(method: str, meta: Params, legacy: Revision) -> Revision:
    """The revision a request is made in: the one its `_meta` names, else the connection's legacy one.

    Raises Fault: -32022 for a version that is not served statelessly, -32602 for `_meta` that lacks what its era
    demands, or has it wrong.
    """
    if VERSION not in meta:
        if method in MODERN_ONLY:
            raise invalid(f"{method} needs _meta with {VERSION} and {CAPABILITIES}")
        return legacy
    requested = string(meta, VERSION)
    if requested not in MODERN:
        raise unsupported(requested)
    if not isinstance(meta.get(CAPABILITIES), dict):
        raise invalid(f"_meta must have {CAPABILITIES}, an object")
    if not isinstance(meta.get(_CLIENT, {}), dict):
        raise invalid(f"{_CLIENT} must be an object")
    if _LOG_LEVEL in meta:  # no log message is ever sent, but whoever asks for them wrongly should be told (logging)
        _check_level(meta, _LOG_LEVEL)
    return REVISIONS[requested]


def unsupported(requested: str) -> Fault:
    """-32022, for a version that is none of those that need no `initialize`."""
    data = {"supported": list(MODERN), "requested": requested}
    return Fault(UNSUPPORTED_VERSION, f"Unsupported protocol version: {shown(requested)}", data)


def progress_token(meta: Params) -> Id | None:
    """The token that progress is reported under, or None where none is wanted."""
    if "progressToken" not in meta:
        return None
    token = read_id(meta["progressToken"])
    if token is None:
        raise invalid("_meta.progressToken must be a string or an integer")
    return token


def protocol_version(params: Params) -> str:
    """What an `initialize` asks for; the client's self-description is not needed, but must not be nonsense."""
    mapping(params, "capabilities")
    mapping(params, "clientInfo")
    return string(params, "protocolVersion")


def check_log_level(params: Params) -> None:
    """The level of `logging/setLevel` must be one of syslog's."""
    _check_level(params, "level")


def _check_level(params: Params, name: str) -> None:
    if string(params, name) not in _LOG_LEVELS:
        raise invalid(f"{name} must be one of {', '.join(sorted(_LOG_LEVELS))}")


def check_cursor(params: Params) -> None:
    """Every list fits one page here, so no cursor can be one of ours."""
    if params.get("cursor") is not None:
        raise invalid("unknown cursor")


# --- subscriptions --------------------------------------------------------------------------------------------------

_FILTERS: Final = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")


def notification_filter(params: Params) -> frozenset[str]:
    """The kinds of notice that a `subscriptions/listen` asks for and gets; resource updates are never sent here."""
    if "notifications" not in params:
        raise invalid("notifications must be an object")
    wanted = mapping(params, "notifications")
    for name in _FILTERS:
        if not isinstance(wanted.get(name, False), bool):
            raise invalid(f"notifications.{name} must be a boolean")
    uris = wanted.get("resourceSubscriptions", [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise invalid("notifications.resourceSubscriptions must be an array of strings")
    return frozenset(name for name in _FILTERS if wanted.get(name))


# --- tasks ----------------------------------------------------------------------------------------------------------

TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
_MAX_WATCHED: Final = 64  # tasks of one subscription


def knows_tasks(capabilities: Params) -> bool:
    """Whether the client has declared that it takes a task for an answer."""
    extensions = capabilities.get("extensions")
    return isinstance(extensions, dict) and isinstance(extensions.get(TASKS_EXTENSION), dict)


def check_knows_tasks(capabilities: Params) -> None:
    """Raises Fault, -32021."""
    if not knows_tasks(capabilities):
        data: Params = {"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}
        raise Fault(MISSING_CAPABILITY, "The client has not declared the capability: extensions", data)


def watched_tasks(params: Params) -> tuple[str, ...]:
    """The tasks that a `subscriptions/listen` names, each once."""
    ids = mapping(params, "notifications").get("taskIds", [])
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise invalid("notifications.taskIds must be an array of strings")
    if len(ids) > _MAX_WATCHED:
        raise invalid(f"notifications.taskIds may have at most {_MAX_WATCHED} entries")
    return tuple(dict.fromkeys(ids))


def _task_asked(call: Call, params: Params) -> Work:
    check_knows_tasks(call.capabilities)
    verb = TaskVerb(call.method)
    responses: dict[str, Params] = {}
    if verb is TaskVerb.UPDATE:
        if "inputResponses" not in params:
            raise invalid("inputResponses must be an object")
        said = mapping(params, "inputResponses")
        responses = {name: mapping(said, name) for name in said}
    return TaskAsked(call=call, verb=verb, task_id=string(params, "taskId"), responses=responses)


# --- calls ----------------------------------------------------------------------------------------------------------


def read_work(call: Call, params: Params, server: Server) -> Work:
    """The typed event of a request that is the application's to answer."""
    match call.method:
        case "tools/call":
            return _tool_called(call, params, server)
        case "resources/read":
            return ResourceRead(call=call, uri=string(params, "uri"))
        case "prompts/get":
            return _prompt_asked(call, params, server)
        case "completion/complete":
            return _completion(call, params, server)
        case "tasks/get" | "tasks/update" | "tasks/cancel":
            return _task_asked(call, params)
        case _:
            return ExtensionCalled(call=call, params=params)


def _tool_called(call: Call, params: Params, server: Server) -> Work:
    name = string(params, "name")
    if all(tool.name != name for tool in server.tools):
        raise Fault(INVALID_PARAMS, f"Unknown tool: {shown(name)}")
    return ToolCalled(call=call, name=name, arguments=mapping(params, "arguments"))


def _prompt_asked(call: Call, params: Params, server: Server) -> Work:
    name = string(params, "name")
    prompt = next((prompt for prompt in server.prompts if prompt.name == name), None)
    if prompt is None:
        raise Fault(INVALID_PARAMS, f"Unknown prompt: {shown(name)}")
    arguments = strings(params, "arguments")
    for argument in prompt.arguments:
        if argument.required and argument.name not in arguments:
            raise invalid(f"prompt {name} needs the argument {argument.name}")
    return PromptAsked(call=call, name=name, arguments=arguments)


def _completion(call: Call, params: Params, server: Server) -> Work:
    """`completion/complete` is two methods: MCP's own has a `ref`, the extension a `prompt`."""
    extended = call.method in server.extensions
    if extended and "prompt" in params:
        if "ref" in params:
            raise invalid("ref asks for an argument's completion, prompt for a chat completion: give one of them")
        return ExtensionCalled(call=call, params=params)
    if "ref" not in params:
        raise invalid("ref is missing (or prompt, for a chat completion)" if extended else "ref is missing")
    return _completion_asked(call, params)


def _completion_asked(call: Call, params: Params) -> CompletionAsked:
    ref, argument = mapping(params, "ref"), mapping(params, "argument")
    kind = ref.get("type")
    if kind == RefType.PROMPT.value:
        ref_type, name = RefType.PROMPT, string(ref, "name")
    elif kind == RefType.RESOURCE.value:
        ref_type, name = RefType.RESOURCE, string(ref, "uri")
    else:
        raise invalid('ref.type must be "ref/prompt" or "ref/resource"')
    return CompletionAsked(
        call=call,
        ref_type=ref_type,
        ref=name,
        argument=string(argument, "name"),
        value=string(argument, "value"),
        context=strings(mapping(params, "context"), "arguments"),
    )


def method_not_found(method: str, era: Era) -> Fault:
    """-32601; the era is named, since a method may exist in the other one."""
    return Fault(METHOD_NOT_FOUND, f"Method not found: {shown(method)}", {"era": era.value})
