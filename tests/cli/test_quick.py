"""The quick path and typer read the same flags to the same settings, from one table."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from openai_gateway.errors import ConfigError
from openai_gateway_mcp import cli
from openai_gateway_mcp.config import SETTINGS
from openai_gateway_mcp.quick import maybe_flags, refuse_keys
from openai_gateway_mcp.said import Sort

FLAGS = [row for row in SETTINGS if row.flag]
SWITCHES = [str(row.flag) for row in FLAGS if row.sort is Sort.SWITCH]
VALUED = [str(row.flag) for row in FLAGS if row.sort is not Sort.SWITCH]


def typers_flags(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str] | None:
    """What typer hands to serving; None if it does not come to that."""
    seen: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(cli, "read", lambda flags: seen.append(dict(flags)))
        patch.setattr(cli, "claim", lambda: None)
        patch.setattr(cli, "serve", lambda *_: 0)
        CliRunner().invoke(cli.app, argv)
    return seen[0] if seen else None


WORD = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=5).filter(lambda w: w[0] != "-")
ARGV = st.lists(
    st.sampled_from(SWITCHES).map(lambda flag: [flag])
    | st.tuples(st.sampled_from(VALUED), WORD).map(list)
    | st.tuples(st.sampled_from(VALUED), WORD).map(lambda pair: [f"{pair[0]}={pair[1]}"])
    | st.sampled_from([["--help"], ["--nope"], ["--embedded=1"], ["--config"], ["--timeout", "--embedded"], ["-x"]])
    | st.sampled_from([["--gateway-ur", "x"], ["--"], ["chats"], ["--timeout="]]),
    max_size=4,
).map(lambda parts: [word for part in parts for word in part])


@given(ARGV)
@example([])
@example(["--config"])
@example(["--timeout="])
@example(["--embedded=1"])
@example(["--gateway-ur", "x"])
def test_what_the_quick_path_takes_typer_takes_alike(argv: list[str]) -> None:
    quick = maybe_flags(argv)
    if quick is not None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            assert typers_flags(argv, monkeypatch) == quick


def test_every_flag_of_the_table_is_taken_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [word for flag in VALUED for word in (flag, "v")] + SWITCHES
    expected = {row.name: "true" if row.sort is Sort.SWITCH else "v" for row in FLAGS}
    assert maybe_flags(argv) == expected
    assert typers_flags(argv, monkeypatch) == expected


def test_typer_has_no_option_that_the_table_lacks() -> None:
    command: Any = typer.main.get_command(cli.app)
    options = {option for parameter in command.params for option in parameter.opts}
    assert options == {str(row.flag) for row in FLAGS} | {"--version", "--install-completion", "--show-completion"}


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["chat", "hi"],
        ["models"],
        ["--embeded"],
        ["--embed"],
        ["--embedded=true"],
        ["--timeout"],
        ["--timeout", "--embedded"],
        ["--embedded", "extra"],
        ["--"],
        [""],
    ],
)
def test_all_but_known_flags_spelled_out_goes_to_typer(argv: list[str]) -> None:
    assert maybe_flags(argv) is None


@pytest.mark.parametrize(
    "word",
    [
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "--gateway-url=sk-ant-REDACTED",
        "--api-key=abcdefghijkl",
        "ogw_0123456789abcdef0123456789abcdef",
        "https://user:hunter22@gateway.example/v1",
    ],
)
def test_an_argument_that_looks_like_a_key_is_refused_and_not_quoted(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_keys(["--embedded", word])
    assert "Argument 2" in str(caught.value)
    assert "GATEWAY_API_KEY" in str(caught.value)
    for piece in ("abcdef", "hunter22"):
        assert piece not in str(caught.value)


def test_ordinary_arguments_are_no_keys() -> None:
    refuse_keys(
        ["--gateway-url", "https://gateway.example/v1", "chat", "What is an API key: sk-abcdefgh12 like?", "-m"]
    )
