"""What the tools leave for later: results too long for an answer, and conversations that go on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_gateway_mcp.features.shelf import Shelf
from openai_gateway_mcp.protocol.model import ResourceBlob, ResourceLink, ResourceResult, ResourceText

RESULTS_URI: Final = "openai://results/"
SECONDS: Final = 3600.0


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


@attrs.frozen
class Kept:
    """Of all callers; each finds its own."""

    results: Shelf[Parked] = attrs.field(factory=lambda: Shelf(SECONDS))
    threads: Shelf[Thread] = attrs.field(factory=lambda: Shelf(SECONDS))

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
