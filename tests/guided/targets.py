"""The targets, by their names: a row a thing that reads bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.guided import (
    answers,
    arguments,
    config,
    conversations,
    dialects,
    heads,
    jsonrpc,
    lines,
    litellm,
    posts,
    requests,
    sse,
    strict_json,
)
from tests.guided.target import Target

TARGETS: Final[Mapping[str, Target]] = {
    one.name: one
    for one in (
        lines.target(),
        strict_json.target(),
        jsonrpc.target(),
        conversations.target(),
        posts.target(),
        sse.target(),
        dialects.target(),
        requests.target(),
        arguments.target(),
        config.target(),
        litellm.target(),
        heads.target(),
        answers.target(),
    )
}
