"""A message that came by POST: it is that of its bytes, under headers that say the same, or is refused in JSON-RPC."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.damage import encode, mutated
from openai_gateway_mcp.protocol import jsonrpc
from openai_gateway_mcp.protocol.events import Era
from openai_gateway_mcp.protocol.jsonrpc import Request
from openai_gateway_mcp.protocol.over_http import METHOD, NAME, NAMED, VERSION, Posted, Refused, encoded, read_post
from tests.fuzz.offer import SERVER
from tests.fuzz.oracle import LEGACY, MODERN
from tests.fuzz.traffic import MESSAGES
from tests.guided.target import Target, by_choices, examples

Fields = Mapping[str, Sequence[str]]
_VALUES = st.sampled_from(
    [
        *LEGACY,
        MODERN,
        "1999",
        "tools/call",
        "chat",
        "=?base64?Y2hhdA==?=",
        "=?base64?%?=",
        "\xe9",
        "",
        "openai://models",
    ]
)
_MORE = st.dictionaries(
    st.sampled_from([VERSION, METHOD, NAME, "mcp-param-model"]), st.lists(_VALUES, max_size=2), max_size=2
)


@st.composite
def posts(draw: st.DrawFn) -> bytes:
    """A message under headers that say what it says, but for what was put in their place."""
    message = draw(MESSAGES)
    fields = {**(true_fields(message) if isinstance(message, dict) else {}), **draw(_MORE)}
    lines = [f"{name}: {value}" for name, values in fields.items() for value in values]
    return "\n".join((*lines, "", "")).encode("latin-1", "replace") + encode(message)


def true_fields(message: Mapping[str, Any]) -> dict[str, list[str]]:
    method, params = message.get("method"), message.get("params")
    named = params.get(NAMED.get(str(method), "")) if isinstance(params, dict) else None
    said = {METHOD: method, NAME: named, VERSION: MODERN}
    return {name: [encoded(value)] for name, value in said.items() if isinstance(value, str)}


def target(read: Callable[..., Posted] = read_post) -> Target:
    def check(data: bytes) -> None:
        fields, body = taken_apart(data)
        try:
            posted = read(body, fields, SERVER)
        except Refused as refused:
            is_an_error(refused)
            return
        assert repr(posted.message) == repr(jsonrpc.read_line(body))
        if posted.era is Era.MODERN and isinstance(posted.message, Request):
            assert fields.get(VERSION) == [MODERN]
            assert [encoded(posted.message.method)] == fields.get(METHOD)

    return Target(
        name="posts",
        of_bytes=check,
        of_choices=by_choices(check, data=posts() | mutated(posts())),
        sound=lambda: examples(posts(), 120),
    )


def is_an_error(refused: Refused) -> None:
    assert 400 <= refused.status < 500
    error = json.loads(refused.body.decode("ascii"))["error"]
    assert isinstance(error["code"], int)
    assert error["message"].isprintable()


def taken_apart(data: bytes) -> tuple[Fields, bytes]:
    """`name: value` lines up to an empty one, and what is behind it."""
    head, _, body = data.partition(b"\n\n")
    fields: dict[str, list[str]] = {}
    for line in head.decode("latin-1").split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip(" \t"))
    return fields, body
