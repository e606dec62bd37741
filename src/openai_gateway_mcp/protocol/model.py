"""The shapes of MCP that a server makes: what it offers and what it answers, independent of the revision."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

Json = Any


# --- what a server offers -------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Tool:
    """`input_schema` and `output_schema` are JSON Schemas of type object; `annotations` are MCP's hints."""

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Json]
    output_schema: Mapping[str, Json] | None = None
    annotations: Mapping[str, Json] | None = None
    meta: Mapping[str, Json] | None = None


@attrs.frozen(kw_only=True)
class Resource:
    uri: str
    name: str
    title: str
    description: str
    mime_type: str


@attrs.frozen(kw_only=True)
class ResourceTemplate:
    uri_template: str
    name: str
    title: str
    description: str
    mime_type: str


@attrs.frozen(kw_only=True)
class PromptArgument:
    name: str
    description: str
    required: bool = False


@attrs.frozen(kw_only=True)
class Prompt:
    name: str
    title: str
    description: str
    arguments: tuple[PromptArgument, ...] = ()


class CacheScope(enum.Enum):
    PUBLIC = "public"
    PRIVATE = "private"


@attrs.frozen(kw_only=True, eq=False)
class Server:
    """All that the core needs to answer discovery and the lists. `extensions` are methods beside MCP's own.

    `offers_tasks`: a call may be answered with a task, for clients that declare the extension (2026-07-28).
    """

    name: str
    title: str
    version: str
    instructions: str
    tools: tuple[Tool, ...] = ()
    resources: tuple[Resource, ...] = ()
    resource_templates: tuple[ResourceTemplate, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    extensions: frozenset[str] = frozenset()
    offers_tasks: bool = False
    cache_scope: CacheScope = CacheScope.PUBLIC
    ttl_ms: int = 300_000


# --- what a server answers ------------------------------------------------------------------------------------------


@attrs.frozen
class Text:
    text: str


@attrs.frozen(kw_only=True)
class Image:
    """`data` is base64."""

    data: str
    mime_type: str


@attrs.frozen(kw_only=True)
class Audio:
    """`data` is base64. Before 2025-03-26 there is no audio; there it is left out, with a text that says so."""

    data: str
    mime_type: str


@attrs.frozen(kw_only=True)
class ResourceLink:
    """Known from 2025-06-18 on; before, it is a text that names the URI."""

    uri: str
    name: str
    description: str = ""
    mime_type: str = ""


@attrs.frozen(kw_only=True)
class ResourceText:
    uri: str
    text: str
    mime_type: str = "application/json"


@attrs.frozen(kw_only=True)
class ResourceBlob:
    """`blob` is base64."""

    uri: str
    blob: str
    mime_type: str


Contents = ResourceText | ResourceBlob


@attrs.frozen
class Embedded:
    """A resource's contents as a part of an answer."""

    resource: Contents


Block = Text | Image | Audio | ResourceLink | Embedded


@attrs.frozen(kw_only=True)
class ToolResult:
    """`structured` is sent from 2025-06-18 on. `meta` keys carry our own prefix; the client's model sees none of it."""

    content: tuple[Block, ...]
    structured: Mapping[str, Json] | None = None
    is_error: bool = False
    meta: Mapping[str, Json] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ResourceResult:
    contents: tuple[Contents, ...]
    ttl_ms: int = 0
    cache_scope: CacheScope = CacheScope.PRIVATE


class Role(enum.Enum):
    USER = "user"
    ASSISTANT = "assistant"


@attrs.frozen(kw_only=True)
class PromptMessage:
    role: Role
    content: Block


@attrs.frozen(kw_only=True)
class PromptResult:
    description: str
    messages: tuple[PromptMessage, ...]


@attrs.frozen(kw_only=True)
class CompletionResult:
    """At most 100 values, best first; `total` counts all that matched."""

    values: tuple[str, ...]
    total: int
    has_more: bool


@attrs.frozen(kw_only=True)
class ExtensionResult:
    """The result object of an extension method, as it goes on the wire (the core adds what a revision demands)."""

    value: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class InputRequest:
    """What the client is asked for: `elicitation/create`, `sampling/createMessage` or `roots/list`, and its params."""

    method: str
    params: Mapping[str, Json] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class InputRequired:
    """A tool, a prompt or a resource needs something of the client's first (2026-07-28, multi round-trip requests).

    `requests`: name → what is asked. The client sends the call again, with an answer of each name, and with `state`,
    which it can read and cannot change: it comes back as `Call.state` to the same caller's same request alone.
    """

    requests: Mapping[str, InputRequest] = attrs.field(factory=dict)
    state: str | None = None


class TaskStatus(enum.Enum):
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED}


@attrs.frozen(kw_only=True)
class Task:
    """A call that goes on after its request was answered (the extension `io.modelcontextprotocol/tasks`).

    `created` and `updated` are ISO 8601. `result` is the `result` member that the call would have been answered with,
    `error` the `error` member. `requests`: what the client is asked for while the status is INPUT_REQUIRED.
    """

    id: str
    status: TaskStatus
    created: str
    updated: str
    ttl_ms: int | None
    poll_ms: int
    message: str = ""
    result: Mapping[str, Json] | None = None
    error: Mapping[str, Json] | None = None
    requests: Mapping[str, InputRequest] = attrs.field(factory=dict)


@attrs.frozen
class TaskCreated:
    """The answer to a call that goes on as a task. `tasks/get` has to find it already."""

    task: Task


@attrs.frozen
class TaskShown:
    """The answer to `tasks/get`."""

    task: Task


Answered = ToolResult | ResourceResult | PromptResult | CompletionResult | ExtensionResult | TaskShown
"""What answers a request for good."""

Result = Answered | InputRequired | TaskCreated
