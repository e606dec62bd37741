"""LiteLLM's configuration: it becomes one of ours that can be read, or is refused by ConfigError; no key is copied."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from openai_gateway.config.litellm import convert
from openai_gateway.config.litellm.yaml_file import read_yaml
from openai_gateway.config.writing import toml
from openai_gateway.errors import ConfigError
from tests.gateway_config.test_litellm import CANARY, CONTENT, PROXY
from tests.guided.target import Target, by_choices, examples

Read = Callable[[str], tuple[Mapping[str, Any], tuple[str, ...]]]
# JSON is YAML, but for the names of what is no number.
FILES = CONTENT.map(lambda content: json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf").encode())
# Other damage could move a key to where a name belongs, which may be shown.
CUT_OFF = st.builds(lambda data, part: data[: int(part * len(data))], FILES | st.just(PROXY.encode()), st.floats(0, 1))
ODD = (
    b"a: !!int ''\nb: 0o7\nc: 1:30\nd: 2001-01-01\n",
    b"<<: *a\n? [1]\n: |\n  x\n",
    b"&a [*a]",
    b"%YAML 1.2\n---\n- a\n...",
)


def target(read: Read = read_yaml) -> Target:
    def check(content: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
            file.write(content)
            file.flush()
            try:
                found, twice = read(file.name)
            except ConfigError as error:
                shows_no_key(str(error))
                return
        imported = convert(found, {"BASE": "https://base.example/v1"})
        text = toml(imported.document)
        shows_no_key("\n".join((text, *twice, *imported.notes)))
        assert tomllib.loads(text).get("models", []) == imported.document["models"]

    return Target(
        name="litellm",
        of_bytes=check,
        of_choices=by_choices(check, content=FILES | CUT_OFF),
        sound=lambda: [PROXY.replace(CANARY, "a-key").encode(), *ODD, *examples(FILES, 40)],
    )


def shows_no_key(words: str) -> None:
    assert CANARY not in words
