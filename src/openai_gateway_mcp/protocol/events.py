"""What the core hands to the application: one event a thing to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

Json = Any


class Era(enum.Enum):
    LEGACY = "legacy"
    MODERN = "modern"


@attrs.frozen(kw_only=True, eq=False)
class Call:
    """The handle of one call in flight. Two calls are never equal: wire ids belong to the peer and are reused.

    `wants_progress`: the client gave a progress token. `meta` is the request's `_meta`, untouched. `capabilities` are
    the client's; the legacy era declares none with a request. `input_responses` and `state` come with a request that
    is made again for an `InputRequired`: what the client answered by name, unchecked, and the state, which is ours.
    """

    id: str | int
    method: str
    revision: str
    era: Era
    wants_progress: bool
    meta: Mapping[str, Json]
    capabilities: Mapping[str, Json] = attrs.field(factory=dict)
    input_responses: Mapping[str, Mapping[str, Json]] = attrs.field(factory=dict)
    state: str | None = None


@attrs.frozen(kw_only=True)
class ToolCalled:
    call: Call
    name: str
    arguments: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class ResourceRead:
    call: Call
    uri: str


@attrs.frozen(kw_only=True)
class PromptAsked:
    call: Call
    name: str
    arguments: Mapping[str, str]


class RefType(enum.Enum):
    PROMPT = "ref/prompt"
    RESOURCE = "ref/resource"


@attrs.frozen(kw_only=True)
class CompletionAsked:
    """`ref` is the prompt's name or the resource template's URI; `value` what has been typed so far."""

    call: Call
    ref_type: RefType
    ref: str
    argument: str
    value: str
    context: Mapping[str, str]


@attrs.frozen(kw_only=True)
class ExtensionCalled:
    """A method outside MCP; `params` is untouched, and {} if there were none."""

    call: Call
    params: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class CallCancelled:
    """The client withdrew the call. Nothing more may be sent for it, and `Connection` sees to that."""

    call: Call
    reason: str


class Level(enum.Enum):
    DEBUG = enum.auto()
    WARNING = enum.auto()


@attrs.frozen(kw_only=True)
class Remark:
    """Something for the log (a response nobody asked for, a request that came as a notification)."""

    level: Level
    text: str


class TaskVerb(enum.Enum):
    GET = "tasks/get"
    UPDATE = "tasks/update"
    CANCEL = "tasks/cancel"


@attrs.frozen(kw_only=True)
class TaskAsked:
    """`responses` come with UPDATE: what the client answered by name, unchecked."""

    call: Call
    verb: TaskVerb
    task_id: str
    responses: Mapping[str, Mapping[str, Json]]


@attrs.frozen(kw_only=True)
class TasksWatched:
    """A subscription names these tasks: what becomes of them is told (`Connection.task_changed`) until it is cancelled.

    It is no request of its own: its result goes nowhere.
    """

    call: Call
    task_ids: tuple[str, ...]


Work = ToolCalled | ResourceRead | PromptAsked | CompletionAsked | ExtensionCalled | TaskAsked | TasksWatched
Event = Work | CallCancelled | Remark
