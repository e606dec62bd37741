"""Results as handlers make them: every block, with and without each optional part."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from openai_gateway_mcp.protocol.events import Work
from openai_gateway_mcp.protocol.model import (
    Audio,
    CacheScope,
    CompletionResult,
    ExtensionResult,
    Image,
    PromptMessage,
    PromptResult,
    ResourceLink,
    ResourceResult,
    ResourceText,
    Result,
    Role,
    Text,
    ToolResult,
)

TEXT = st.one_of(st.text(max_size=8), st.sampled_from(["", "ünd\u2028\n", "\ud800", "x" * 500]))
DATA = st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9))
JSON: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), NUMBERS, TEXT, st.lists(NUMBERS, max_size=2), st.dictionaries(TEXT, TEXT, max_size=2)
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
META = st.dictionaries(st.sampled_from(["ogw/usage", "ogw/model", "ogw/cost"]), JSON, max_size=2)
URIS = st.sampled_from(["openai://models", "https://example.org/a%20b"])
TYPES = st.sampled_from(["text/plain", "application/json"])

BLOCKS = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Image, data=DATA, mime_type=st.just("image/png")),
    st.builds(Audio, data=DATA, mime_type=st.just("audio/wav")),
    st.builds(ResourceLink, uri=URIS, name=TEXT, description=TEXT, mime_type=st.one_of(st.just(""), TYPES)),
)
TOOL_RESULTS = st.builds(
    ToolResult,
    content=st.lists(BLOCKS, max_size=3).map(tuple),
    structured=st.one_of(st.none(), OBJECTS),
    is_error=st.booleans(),
    meta=META,
)
RESOURCE_RESULTS = st.builds(
    ResourceResult,
    contents=st.lists(st.builds(ResourceText, uri=URIS, text=TEXT, mime_type=TYPES), max_size=2).map(tuple),
    ttl_ms=st.integers(0, 10**9),
    cache_scope=st.sampled_from(CacheScope),
)
PROMPT_RESULTS = st.builds(
    PromptResult,
    description=TEXT,
    messages=st.lists(st.builds(PromptMessage, role=st.sampled_from(Role), content=BLOCKS), max_size=2).map(tuple),
)


def _chat(values: list[str]) -> Mapping[str, Any]:
    """The seed's completion: MCP's own result, and the answer's parts beside it."""
    return {
        "completion": {"values": values, "total": len(values), "hasMore": False},
        "message": {"role": "assistant", "content": values[0]},
        "usage": {"total_tokens": 3},
        "response": {"id": "chatcmpl-1", "choices": []},
    }


COMPLETION_RESULTS = st.builds(
    CompletionResult,
    values=st.one_of(st.lists(TEXT, max_size=3), st.just(["many"] * 150)).map(tuple),
    total=st.integers(0, 1000),
    has_more=st.booleans(),
)
EXTENSION_RESULTS = st.lists(TEXT, min_size=1, max_size=2).map(lambda values: ExtensionResult(value=_chat(values)))
MODEL_LISTS = st.lists(OBJECTS, max_size=2).map(lambda models: ExtensionResult(value={"models": models}))

KINDS: dict[str, st.SearchStrategy[Result]] = {
    "ToolCalled": TOOL_RESULTS,
    "ResourceRead": RESOURCE_RESULTS,
    "PromptAsked": PROMPT_RESULTS,
    "CompletionAsked": COMPLETION_RESULTS,
    "ExtensionCalled": EXTENSION_RESULTS,
    "models/list": MODEL_LISTS,
}


@st.composite
def makers(draw: Any) -> Callable[[Work], Result]:
    """A function that has a drawn result for each call, in turn."""
    drawn = {kind: itertools.cycle(draw(st.lists(results, min_size=1, max_size=2))) for kind, results in KINDS.items()}

    def make(work: Work) -> Result:
        method = work.call.method
        result: Result = next(drawn[method if method in drawn else type(work).__name__])
        return result

    return make
