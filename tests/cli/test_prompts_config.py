"""`[[prompts]]` of the configuration file: what may stand there, what comes of it, and that a reload is announced."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.config import load
from openai_gateway_mcp.features.prompts import PROMPTS, fill_prompt
from openai_gateway_mcp.protocol.model import PromptArgument, Text
from tests.gateway_service.process import environment
from tests.playbook import SUBSCRIPTION_ID, initialize, modern, notification

Json = Any
ECHO = '[providers.echo]\nkind = "echo"\n[[models]]\nname = "echo"\nprovider = "echo"\nmodel = "echo"\n'
REVIEW = """
[[prompts]]
name = "review"
title = "Review"
description = "Have a change reviewed."
text = '''Ask {model} to review {change}.
Show me { braces } as they are.'''

[[prompts.arguments]]
name = "change"
description = "The change."
required = true

[[prompts.arguments]]
name = "model"
"""


def written(path: Path, prompts: str) -> Path:
    path.write_text(ECHO + prompts)
    return path


def test_the_files_prompts_come_behind_those_that_are_always_there(tmp_path: Path) -> None:
    specs = load({}, {"config": str(written(tmp_path / "g.toml", REVIEW))}).features.prompts
    assert specs[: len(PROMPTS)] == PROMPTS
    (spec,) = specs[len(PROMPTS) :]
    assert (spec.prompt.name, spec.prompt.title, spec.prompt.description) == (
        "review",
        "Review",
        "Have a change reviewed.",
    )
    assert spec.prompt.arguments == (
        PromptArgument(name="change", description="The change.", required=True),
        PromptArgument(name="model", description=""),
    )
    (message,) = fill_prompt("review", {"change": "a {model} b", "model": "m1"}, specs).messages
    assert message.content == Text("Ask m1 to review a {model} b.\nShow me { braces } as they are.")


def test_without_a_file_there_are_those_that_are_always_there() -> None:
    assert load({}, {"embedded": "true"}).features.prompts == PROMPTS


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ('[[prompts]]\nname = "x"\n', "line 7: [[prompts]] has no 'text'"),
        ('[[prompts]]\ntext = "x"\n', "has no 'name'"),
        ('[[prompts]]\nname = "a b"\ntext = "x"\n', "line 8: name in [[prompts]] is 'a b'"),
        ('[[prompts]]\nname = "ask"\ntext = "x"\n', "there is a prompt 'ask' already"),
        ('[[prompts]]\nname = "x"\ntext = "a {b}"\n', "line 9: text has a place for {b}"),
        ('[[prompts]]\nname = "x"\ntext = "a"\nwords = 1\n', "unknown key 'words' in [[prompts]]"),
        ('[[prompts]]\nname = "x"\ntext = "a"\n[[prompts.arguments]]\nname = "1"\n', "is '1'; allowed are letters"),
        ('[[prompts]]\nname = "x"\ntext = "a"\n[[prompts.arguments]]\nname = "b"\nrequired = 1\n', "true or false"),
        ('[prompts]\nname = "x"\n', "[[prompts]] tables"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(prompts: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, {"config": str(written(tmp_path / "g.toml", prompts))})
    assert words in str(caught.value)


@contextmanager
def server(config: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "openai_gateway_mcp", "--config", str(config)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP; --watch does the same")
def test_a_reload_announces_the_new_prompts_in_both_eras(tmp_path: Path) -> None:
    config = written(tmp_path / "g.toml", "")
    with server(config) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(*messages: Json) -> Json:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        ask(initialize(0))
        ask(
            notification("notifications/initialized"),
            modern(1, "subscriptions/listen", notifications={"promptsListChanged": True}),
        )
        written(config, REVIEW)
        process.send_signal(signal.SIGHUP)
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [one["method"] for one in told] == ["notifications/prompts/list_changed"] * 2
        assert [one.get("params", {}).get("_meta", {}).get(SUBSCRIPTION_ID) for one in told] == [None, 1]
        listed = ask(modern(2, "prompts/list"))["result"]["prompts"]
        assert [prompt["name"] for prompt in listed] == ["ask", "second_opinion", "review"]
        filled = ask(modern(3, "prompts/get", name="review", arguments={"change": "c", "model": "echo"}))
        assert filled["result"]["messages"][0]["content"]["text"].startswith("Ask echo to review c.")
        completion = {"ref": {"type": "ref/prompt", "name": "review"}, "argument": {"name": "model", "value": "e"}}
        assert ask(modern(4, "completion/complete", **completion))["result"]["completion"]["values"] == ["echo"]
