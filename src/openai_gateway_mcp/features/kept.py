"""What the tools leave for later: results too long for an answer, and conversations that go on."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from openai_gateway_mcp.features.shelf import Shelf
from openai_gateway_mcp.protocol.model import ResourceBlob, ResourceLink, ResourceResult, ResourceText

if TYPE_CHECKING:
    from openai_gateway_mcp.features.state import State

RESULTS_URI: Final = "openai://results/"
SECONDS: Final = 3600.0
A_MESSAGE: Final = 512
"""Bytes that a message takes beyond its JSON."""
_THREAD: Final = "thread"


@attrs.frozen
class Parked:
    """A result that is read as a resource; text is text, everything else bytes."""

    name: str
    content: str | bytes = attrs.field(repr=False)
    mime_type: str

    @property
    def size(self) -> int:
        """In bytes, near enough for text."""
        return len(self.content)


@attrs.frozen(kw_only=True)
class Thread:
    """A conversation so far, as OpenAI messages without the system's."""

    model: str
    system: str | None
    messages: tuple[Mapping[str, Any], ...] = attrs.field(repr=False)


def size_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """Of a conversation, in bytes, near enough: its JSON, and what an object takes beyond that."""
    return sum(len(json.dumps(message)) + A_MESSAGE for message in messages)


@attrs.frozen
class Kept:
    """Of all callers; each finds its own."""

    results: Shelf[Parked] = attrs.field(factory=lambda: Shelf(SECONDS))
    threads: Shelf[Thread] = attrs.field(factory=lambda: Shelf(SECONDS))
    state: State | None = None

    async def load(self) -> None:
        """The conversations that the state kept of an earlier process. Called once, before any other use."""
        for row in [] if self.state is None else await self.state.load(_THREAD):
            value = dict(row.value)
            messages = tuple(value.pop("messages"))
            thread = Thread(messages=messages, **value)
            self.threads.put(row.owner, thread, size_of(messages), row.id)

    async def save(self, owner: str, handle: str) -> None:
        """A conversation, once it has a new turn."""
        thread = None if self.state is None else self.threads.get(owner, handle)
        if self.state is None or thread is None:
            await trio.lowlevel.checkpoint()
            return
        from openai_gateway_mcp.features.state import Row  # noqa: PLC0415 - SQLite, for --state alone

        value = {"model": thread.model, "system": thread.system, "messages": list(thread.messages)}
        await self.state.save(Row(kind=_THREAD, id=handle, owner=owner, until=time.time() + SECONDS, value=value))

    def park(self, owner: str, parked: Parked) -> ResourceLink | None:
        """Where it can be read for the next hour; None where it is too large for that."""
        handle = self.results.put(owner, parked, parked.size)
        if handle is None:
            return None
        return ResourceLink(uri=RESULTS_URI + handle, name=parked.name, mime_type=parked.mime_type)

    def read(self, owner: str, uri: str) -> ResourceResult | None:
        """What was parked under this URI, for its owner."""
        parked = self.results.get(owner, uri.removeprefix(RESULTS_URI))
        if parked is None:
            return None
        contents: ResourceText | ResourceBlob
        if isinstance(parked.content, str):
            contents = ResourceText(uri=uri, text=parked.content, mime_type=parked.mime_type)
        else:
            blob = base64.b64encode(parked.content).decode("ascii")
            contents = ResourceBlob(uri=uri, blob=blob, mime_type=parked.mime_type)
        return ResourceResult(contents=(contents,))
