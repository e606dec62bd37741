"""`chat` in the terminal: JSON for programs, Markdown for people, and conversations that go on."""

from __future__ import annotations

import json
import re
import stat
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.chatting import Blocks
from tests.cli.terminals import on_a_terminal
from tests.cli.test_commands import Run, log_as_before, run
from tests.features.scripted import DONE, Upstream, delta, refuses, says, streams, usage

__all__ = ["log_as_before", "run"]


def test_json_has_the_answer_and_its_facts(run: Run) -> None:
    upstream = Upstream(m1=streams(delta("Hel"), delta("lo"), delta(finish="stop"), usage(prompt_tokens=3), DONE))
    done = run("chat", "-m", "m1", "--json", "Hi", upstream=upstream)
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["text"], said["model"], said["finish_reason"]) == ("Hello", "served-1", "stop")
    assert said["usage"]["input"] == 3


def test_json_of_an_answer_without_text_is_no_success(run: Run) -> None:
    upstream = Upstream(m1=streams(delta(reasoning_content="Hm."), delta(finish="length"), DONE))
    done = run("chat", "-m", "m1", "--json", "Hi", upstream=upstream)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["reasoning"] == "Hm."
    assert json.loads(done.stdout)["text"] == ""


def test_a_conversation_goes_on_by_its_name(run: Run, tmp_path: Path) -> None:
    upstream = Upstream(m1=[says("Ada."), refuses(400, "no"), says("In 1815.")], m2=says("Yes."))
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    assert run("chat", "-m", "m1", "--thread", "work", "Who?", upstream=upstream, **home).exit_code == 0
    assert run("chat", "--thread", "work", "What?", upstream=upstream, **home).exit_code == 1
    assert run("chat", "--thread", "work", "When?", upstream=upstream, **home).exit_code == 0
    assert run("chat", "-m", "m2", "--thread", "work", "Sure?", upstream=upstream, **home).exit_code == 0
    assert [message["content"] for message in upstream.bodies[-1]["messages"]] == [
        *("Who?", "Ada.", "When?", "In 1815."),
        "Sure?",
    ]
    (file,) = tmp_path.rglob("work.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["model"] == "m2"


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "m"}', "\0"])
def test_a_conversation_that_cannot_be_read_is_said(run: Run, tmp_path: Path, content: str) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    run("chat", "-m", "m1", "--thread", "work", "Who?", upstream=Upstream(m1=says("Ada.")), **home)
    (file,) = tmp_path.rglob("work.json")
    file.write_text(content)
    done = run("chat", "-m", "m1", "--thread", "work", "Who?", upstream=Upstream(m1=says("Ada.")), **home)
    assert done.exit_code != 0
    assert file.read_text() == content


def test_a_name_that_is_none_is_refused(run: Run) -> None:
    done = run("chat", "-m", "m1", "--thread", "../work", "Who?", upstream=Upstream(m1=says("Ada.")))
    assert done.exit_code != 0
    found: Any = done.exception
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, ConfigError)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not there on Windows")
def test_on_a_terminal_markdown_is_shown_as_what_it_means() -> None:
    text = "# Title\n\nSome **bold** words.\n\n- one\n- two\x1b[31m\n\n\nEnd"
    assert on_a_terminal("chat", "--embedded", text).split("\r\n\r\n") == [
        "[echo, the built-in test model] # Title",
        "Some \x1b[1mbold\x1b[0m words.",
        "\x1b[1m • \x1b[0mone\r\n\x1b[1m • \x1b[0mtwo\\x1b[31m",
        "End\r\n",
    ]
    plain = on_a_terminal("chat", "--embedded", "--plain", text)
    assert "Some **bold** words." in plain
    assert "\x1b[31m" not in plain


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not there on Windows")
def test_markdown_stands_on_the_terminal_s_own_ground_with_one_empty_line_between_blocks() -> None:
    code = "```python\ndef f(x: int) -> str:\n    return 'a' * 3\n```"
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    seen = on_a_terminal("chat", "--embedded", f"Use `f`.\n\n{code}\n\n{table}\n\n> said\n\nEnd")
    assert "return" in seen
    assert not re.search(r"\x1b\[[\d;]*\b4[0-8]\b", seen), "a ground of its own"
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip() for line in seen.split("\r\n")]
    assert "" not in [first or second for first, second in pairwise(lines[:-1])]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not there on Windows")
def test_a_link_shows_where_it_leads() -> None:
    seen = on_a_terminal("chat", "--embedded", "See [your bank](https://elsewhere.example/).")
    assert re.sub(r"\x1b\[[\d;]*m", "", seen).rstrip().endswith("See your bank (https://elsewhere.example/).")


def blocks_of(*pieces: str) -> list[str]:
    blocks = Blocks()
    return [*(block for piece in pieces for block in blocks.feed(piece)), blocks.rest()]


def test_a_block_is_whole_at_an_empty_line_but_not_within_a_fence() -> None:
    text = "# A\n\nb\nc\n\n```py\nx\n\ny\n```\n\n\nrest"
    assert blocks_of(text) == ["# A\n\n", "b\nc\n\n", "```py\nx\n\ny\n```\n\n", "rest"]
    assert blocks_of("~~~\n```\n\n~~~\n\n") == ["~~~\n```\n\n~~~\n\n", ""]
    assert blocks_of("") == [""]


@given(
    st.lists(st.sampled_from(["a\n", "\n", "```\n", "~~~\n", " \n", "b", "\r\n", "\x0b"]), max_size=12),
    st.integers(0, 40),
)
def test_blocks_lose_nothing_but_empty_lines_however_they_come(lines: list[str], cut: int) -> None:
    text = "".join(lines)
    *whole, rest = blocks_of(text)
    assert "".join("".join([*whole, rest]).split()) == "".join(text.split())
    assert blocks_of(text[:cut], text[cut:]) == [*whole, rest]
    assert blocks_of(*text) == [*whole, rest]


def test_a_block_without_end_is_read_once() -> None:
    """What reads all of it anew with each piece is at a million characters for hours."""
    assert blocks_of(*["```\n", *["x = 1\n"] * 160_000]) == ["```\n" + "x = 1\n" * 160_000]
