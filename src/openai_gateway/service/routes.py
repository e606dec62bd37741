"""All that the service answers to: a row a path, and nothing that has no row."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import attrs


class Who(enum.Enum):
    """Whom a route is for."""

    NOBODY = "whoever asks"
    KEY = "whoever has a key"
    ADMIN = "whoever has an admin's key"
    PAGE = "whoever has an admin's key, also as a browser's password"
    METRICS = "whoever has the token of the metrics, and this machine"


class Does(enum.Enum):
    """What is done with a request."""

    GENERATE = enum.auto()
    """It is a call of the endpoint, whole or streamed."""
    LIST_MODELS = enum.auto()
    SHOW_MODEL = enum.auto()
    LIVENESS = enum.auto()
    READINESS = enum.auto()
    METRICS = enum.auto()
    OPENAPI = enum.auto()
    CREATE_KEY = enum.auto()
    LIST_KEYS = enum.auto()
    REVOKE_KEY = enum.auto()
    ROTATE_KEY = enum.auto()
    USAGE = enum.auto()
    DASHBOARD = enum.auto()
    CREATE_FILE = enum.auto()
    LIST_FILES = enum.auto()
    SHOW_FILE = enum.auto()
    DELETE_FILE = enum.auto()
    FILE_CONTENT = enum.auto()
    CREATE_BATCH = enum.auto()
    LIST_BATCHES = enum.auto()
    SHOW_BATCH = enum.auto()
    CANCEL_BATCH = enum.auto()


@attrs.frozen(kw_only=True)
class Route:
    """`template` may end in `{id}` (one segment) or `{id...}` (all that follows), or hold `{id}` between slashes.

    `endpoint` is what a key must be allowed. `takes_forms`: a call may come as multipart/form-data. `title` is a
    sentence for the API's description.
    """

    method: str
    template: str
    who: Who
    does: Does
    title: str
    endpoint: str = ""
    takes_forms: bool = False


def _generates(path: str, title: str, *, takes_forms: bool = False) -> Route:
    return Route(
        method="POST",
        template=f"/v1/{path}",
        who=Who.KEY,
        does=Does.GENERATE,
        endpoint=path,
        title=title,
        takes_forms=takes_forms,
    )


def _keeps(method: str, path: str, does: Does, title: str) -> Route:
    """Of files and batches."""
    takes_forms = does is Does.CREATE_FILE
    endpoint = path.partition("/")[0]
    template = f"/v1/{path}"
    return Route(
        method=method,
        template=template,
        who=Who.KEY,
        does=does,
        endpoint=endpoint,
        title=title,
        takes_forms=takes_forms,
    )


ROUTES: Final = (
    _generates("chat/completions", "Answer a conversation."),
    _generates("completions", "Go on with a text."),
    _generates("responses", "Answer by the Responses API."),
    _generates("embeddings", "Turn texts into vectors."),
    _generates("images/generations", "Make images."),
    _generates("images/edits", "Change images.", takes_forms=True),
    _generates("audio/speech", "Speak a text."),
    _generates("audio/transcriptions", "Write down what is said.", takes_forms=True),
    _generates("audio/translations", "Write down in English what is said.", takes_forms=True),
    _generates("moderations", "Judge whether texts are harmful."),
    _generates("rerank", "Order documents by a query."),
    _keeps("POST", "files", Does.CREATE_FILE, "Upload a file."),
    _keeps("GET", "files", Does.LIST_FILES, "List the key's files."),
    _keeps("GET", "files/{id}", Does.SHOW_FILE, "Show one of them."),
    _keeps("DELETE", "files/{id}", Does.DELETE_FILE, "Delete one of them."),
    _keeps("GET", "files/{id}/content", Does.FILE_CONTENT, "Get what is in it."),
    _keeps("POST", "batches", Does.CREATE_BATCH, "Have a file of calls made."),
    _keeps("GET", "batches", Does.LIST_BATCHES, "List the key's batches."),
    _keeps("GET", "batches/{id}", Does.SHOW_BATCH, "Show one of them."),
    _keeps("POST", "batches/{id}/cancel", Does.CANCEL_BATCH, "Cancel one of them."),
    Route(method="GET", template="/v1/models", who=Who.KEY, does=Does.LIST_MODELS, title="List the models."),
    Route(method="GET", template="/v1/models/{id...}", who=Who.KEY, does=Does.SHOW_MODEL, title="Show one model."),
    Route(method="GET", template="/", who=Who.PAGE, does=Does.DASHBOARD, title="The page for people (--dashboard)."),
    Route(method="GET", template="/health", who=Who.NOBODY, does=Does.LIVENESS, title="Whether it runs."),
    Route(method="GET", template="/health/liveness", who=Who.NOBODY, does=Does.LIVENESS, title="Whether it runs."),
    Route(method="GET", template="/health/liveliness", who=Who.NOBODY, does=Does.LIVENESS, title="Whether it runs."),
    Route(
        method="GET",
        template="/health/readiness",
        who=Who.NOBODY,
        does=Does.READINESS,
        title="Whether it takes work: 503 while it drains, or its store cannot be asked.",
    ),
    Route(method="GET", template="/metrics", who=Who.METRICS, does=Does.METRICS, title="Counters, for Prometheus."),
    Route(method="GET", template="/openapi.json", who=Who.NOBODY, does=Does.OPENAPI, title="This description."),
    Route(method="POST", template="/admin/keys", who=Who.ADMIN, does=Does.CREATE_KEY, title="Create a key."),
    Route(method="GET", template="/admin/keys", who=Who.ADMIN, does=Does.LIST_KEYS, title="List the keys."),
    Route(method="DELETE", template="/admin/keys/{id}", who=Who.ADMIN, does=Does.REVOKE_KEY, title="Revoke a key."),
    Route(
        method="POST",
        template="/admin/keys/{id}/rotate",
        who=Who.ADMIN,
        does=Does.ROTATE_KEY,
        title="Give a key a new secret; the old one dies.",
    ),
    Route(method="GET", template="/admin/usage", who=Who.ADMIN, does=Does.USAGE, title="What was used."),
)


@attrs.frozen(kw_only=True)
class Match:
    """A row, and what stands for its `{id}`, decoded."""

    route: Route
    id: str = ""


@attrs.frozen(kw_only=True)
class NoMatch:
    """No row. `allowed` are the methods that the path has; none where it is no path of ours."""

    allowed: tuple[str, ...] = ()


def match(method: str, path: str) -> Match | NoMatch:
    """The row of a request. HEAD is answered by the row of GET."""
    wanted = "GET" if method == "HEAD" else method
    found = _EXACT.get(path) or _by_template(path)
    if wanted in found:
        return found[wanted]
    return NoMatch(allowed=tuple(sorted({*found, *(["HEAD"] if "GET" in found else [])})))


def _by_template(path: str) -> Mapping[str, Match]:
    found: dict[str, Match] = {}
    for route in _WITH_ID:
        before, _, rest = route.template.partition("{id")
        is_open, after = rest.startswith("...}"), rest.partition("}")[2]
        if not path.startswith(before) or not path.endswith(after) or len(path) <= len(before) + len(after):
            continue
        middle = path[len(before) : len(path) - len(after)]
        if is_open or "/" not in middle:
            found.setdefault(route.method, Match(route=route, id=unquote(middle, errors="replace")))
    return found


_EXACT: Final[Mapping[str, Mapping[str, Match]]] = {
    template: {route.method: Match(route=route) for route in ROUTES if route.template == template}
    for template in {route.template for route in ROUTES if "{" not in route.template}
}
_WITH_ID: Final = tuple(route for route in ROUTES if "{" in route.template)
