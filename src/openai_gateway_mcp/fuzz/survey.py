"""What a server is like, by asking it: the revisions that it speaks, and what may be called on it without harm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import attrs

from openai_gateway_mcp.fuzz import messages
from openai_gateway_mcp.fuzz.conversation import Await, Conversation, Finish, Line, Say
from openai_gateway_mcp.fuzz.damage import encode
from openai_gateway_mcp.fuzz.messages import Facts
from openai_gateway_mcp.fuzz.shapes import MODERN, REVISIONS

Json = Any
_MOST_PAGES = 20


class NoServer(Exception):
    """What answers, if anything does, speaks no revision of MCP that is known."""


@attrs.frozen
class Survey:
    facts: Facts
    left_alone: tuple[str, ...]
    """Tools that do not say of themselves that they change nothing."""


def survey(opening: Callable[[], Line], *, patience: float, calls: Collection[str] = ()) -> Survey:
    """Ask it. Tools are called that say `readOnlyHint`, and those in `calls`. Raises NoServer."""
    revisions = tuple(revision for revision in REVISIONS if _speaks(opening, patience, revision))
    if not revisions:
        raise NoServer
    conversation, result = _opened(opening, patience, revisions[-1])
    has = result.get("capabilities")
    asking = _Asking(conversation, revisions[-1], frozenset(has) if isinstance(has, dict) else frozenset())
    tools = list(asking.listed("tools"))
    read_only = {tool.get("name") for tool in tools if _is_read_only(tool)}
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    facts = Facts(
        revisions=revisions,
        tools=tuple(name for name in names if name in read_only or name in calls),
        prompts=tuple(one["name"] for one in asking.listed("prompts") if isinstance(one.get("name"), str)),
        resources=tuple(one["uri"] for one in asking.listed("resources") if isinstance(one.get("uri"), str)),
    )
    conversation.do(Finish())
    return Survey(facts, tuple(name for name in names if name not in facts.tools))


def _speaks(opening: Callable[[], Line], patience: float, revision: str) -> bool:
    conversation, result = _opened(opening, patience, revision)
    conversation.do(Finish())
    if revision in MODERN:
        versions = result.get("supportedVersions")
        return isinstance(versions, list) and revision in versions
    return result.get("protocolVersion") == revision


def _opened(opening: Callable[[], Line], patience: float, revision: str) -> tuple[Conversation, dict[str, Json]]:
    conversation = Conversation(opening(), patience=patience)
    first = messages.probe(revision, 0) if revision in MODERN else messages.initialize(revision)
    result = _ask(conversation, first)
    if revision not in MODERN and result:
        conversation.do(Say(encode(messages.INITIALIZED) + b"\n"))
    return conversation, result


def _ask(conversation: Conversation, request: dict[str, Json]) -> dict[str, Json]:
    """The result; empty where there is none."""
    conversation.do(Say(encode(request) + b"\n"))
    conversation.do(Await(request["id"]))
    result = (conversation.answer(request["id"]) or {}).get("result")
    return result if isinstance(result, dict) else {}


def _is_read_only(tool: dict[str, Json]) -> bool:
    hints = tool.get("annotations")
    return isinstance(hints, dict) and hints.get("readOnlyHint") is True


@attrs.define
class _Asking:
    _conversation: Conversation
    _revision: str
    _has: frozenset[str]
    _number: int = 0

    def listed(self, what: str) -> Iterator[dict[str, Json]]:
        """What `what`/list names, on all its pages."""
        cursor: dict[str, Json] = {}
        for _ in range(_MOST_PAGES if what in self._has else 0):
            self._number += 1
            params = {**messages.meta_params(self._revision), **cursor}
            request = {"jsonrpc": "2.0", "id": f"list {self._number}", "method": f"{what}/list", "params": params}
            result = _ask(self._conversation, request)
            entries = result.get(what)
            yield from (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()
            if not isinstance(result.get("nextCursor"), str):
                return
            cursor = {"cursor": result["nextCursor"]}
