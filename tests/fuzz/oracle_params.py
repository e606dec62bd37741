"""The oracle's word on one request: which revision it is made in, and whether its params will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OVERLOADED = 1008
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"

_LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
_LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
_BOTH = {*_LISTS, "tools/call", "prompts/get", "resources/read", "completion/complete", "models/list"}
_LEGACY = _BOTH | {"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
_TASKS = ("tasks/get", "tasks/update", "tasks/cancel")
_MODERN = _BOTH | {"server/discover", "subscriptions/listen", *_TASKS}
_EXTENSION = "io.modelcontextprotocol/tasks"

Params = dict[str, Any]


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def read_id(value: Any) -> str | int | None:
    """1.0 is the number 1, so it is that id, as far as floats are exact; true is none."""
    if isinstance(value, float):
        return int(value) if value % 1 == 0 and abs(value) < 2**53 else None
    return value if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def revision_of(method: str, params: Params, legacy: str) -> str:
    """The revision that a request is made in."""
    meta = params.get("_meta")
    _demand(isinstance(meta, (dict, type(None))))
    if not meta or VERSION not in meta:
        _demand(method not in ("server/discover", "subscriptions/listen"))
        return legacy
    _demand(isinstance(meta[VERSION], str))
    if meta[VERSION] != "2026-07-28":
        raise Refused(-32022)
    _demand(isinstance(meta.get(CAPABILITIES), dict) and (CLIENT not in meta or isinstance(meta[CLIENT], dict)))
    if LOG_LEVEL in meta:
        _is_level(meta[LOG_LEVEL])
    return "2026-07-28"


def judge(method: str, params: Params, *, is_modern: bool) -> str | None:
    """The event that a request becomes; None for what the server answers by itself."""
    if method not in (_MODERN if is_modern else _LEGACY):
        raise Refused(-32601)
    if method in _LISTS:
        _demand(params.get("cursor") is None)
    if method not in _EVENTS:
        if method in _CHECKS:
            _CHECKS[method](params)
        return None
    meta = params.get("_meta") or {}
    _demand("progressToken" not in meta or read_id(meta["progressToken"]) is not None)
    return _EVENTS[method](params)


def _demand(condition: bool) -> None:
    if not condition:
        raise Refused(-32602)


def _optional(value: Any) -> Params:
    _demand(isinstance(value, (dict, type(None))))
    return value or {}


def _initialize(params: Params) -> None:
    _optional(params.get("capabilities"))
    _optional(params.get("clientInfo"))
    _demand(isinstance(params.get("protocolVersion"), str))


def _uri(params: Params) -> None:
    _demand(isinstance(params.get("uri"), str))


def _listen(params: Params) -> None:
    _demand("notifications" in params)
    wanted = _optional(params["notifications"])
    kinds = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
    _demand(all(isinstance(wanted[kind], bool) for kind in kinds if kind in wanted))
    uris = wanted.get("resourceSubscriptions", [])
    _demand(isinstance(uris, list) and all(isinstance(uri, str) for uri in uris))


def _level(params: Params) -> None:
    _is_level(params.get("level"))


def _is_level(value: Any) -> None:
    _demand(isinstance(value, str) and value in _LEVELS)


def _tool(params: Params) -> str:
    _demand(params.get("name") in ("chat", "list_models"))
    _optional(params.get("arguments"))
    return "ToolCalled"


def _prompt(params: Params) -> str:
    _demand(params.get("name") == "ask")
    arguments = _optional(params.get("arguments"))
    _demand(all(isinstance(value, str) for value in arguments.values()) and "question" in arguments)
    return "PromptAsked"


def _resource(params: Params) -> str:
    _uri(params)
    return "ResourceRead"


def _complete(params: Params) -> str:
    _demand(("ref" in params) != ("prompt" in params))
    if "prompt" in params:
        return "ExtensionCalled"
    ref, argument = _optional(params["ref"]), _optional(params.get("argument"))
    names = {"ref/prompt": "name", "ref/resource": "uri"}
    kind = ref.get("type")
    _demand(isinstance(kind, str) and kind in names and isinstance(ref.get(names[kind]), str))
    _demand(isinstance(argument.get("name"), str) and isinstance(argument.get("value"), str))
    context = _optional(_optional(params.get("context")).get("arguments"))
    _demand(all(isinstance(value, str) for value in context.values()))
    return "CompletionAsked"


def _task(params: Params) -> str:
    extensions = params["_meta"][CAPABILITIES].get("extensions")
    if not isinstance(extensions, dict) or not isinstance(extensions.get(_EXTENSION), dict):
        raise Refused(-32021)
    _demand(isinstance(params.get("taskId"), str))
    return "TaskAsked"


def _task_update(params: Params) -> str:
    event = _task(params)
    _demand("inputResponses" in params)
    for response in _optional(params["inputResponses"]).values():
        _optional(response)
    return event


_CHECKS: dict[str, Callable[[Params], None]] = {
    "initialize": _initialize,
    "resources/subscribe": _uri,
    "resources/unsubscribe": _uri,
    "subscriptions/listen": _listen,
    "logging/setLevel": _level,
}
_EVENTS: dict[str, Callable[[Params], str]] = {
    "tools/call": _tool,
    "prompts/get": _prompt,
    "resources/read": _resource,
    "completion/complete": _complete,
    "models/list": lambda _: "ExtensionCalled",
    "tasks/get": _task,
    "tasks/cancel": _task,
    "tasks/update": _task_update,
}
