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
    """All that the core needs to answer discovery and the lists. `extensions` are methods beside MCP's own."""

    name: str
    title: str
    version: str
    instructions: str
    tools: tuple[Tool, ...] = ()
    resources: tuple[Resource, ...] = ()
    resource_templates: tuple[ResourceTemplate, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    extensions: frozenset[str] = frozenset()
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


Block = Text | Image | Audio | ResourceLink


@attrs.frozen(kw_only=True)
class ToolResult:
    """`structured` is sent from 2025-06-18 on. `meta` keys carry our own prefix; the client's model sees none of it."""

    content: tuple[Block, ...]
    structured: Mapping[str, Json] | None = None
    is_error: bool = False
    meta: Mapping[str, Json] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ResourceText:
    uri: str
    text: str
    mime_type: str = "application/json"


@attrs.frozen(kw_only=True)
class ResourceResult:
    contents: tuple[ResourceText, ...]
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


Result = ToolResult | ResourceResult | PromptResult | CompletionResult | ExtensionResult
