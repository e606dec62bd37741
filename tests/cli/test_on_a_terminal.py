"""Commands as a person sees them: no word broken at the edge, help that begins with what can be done, a verdict."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.cli.terminals import on_a_terminal
from tests.cli.test_commands import Run, log_as_before, run
from tests.features.scripted import Upstream, lists
from tests.gateway_service.process import command

__all__ = ["log_as_before", "run"]

NARROW = 60

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not there on Windows")


def lines(seen: str) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in seen.split("\r\n")]


@on_unix
@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["doctor"], 1),
        (["doctor", "--embedded"], 0),
        (["models", "--embedded"], 0),
        (["models"], 1),
        (["clients"], 0),
        (["chat", "--timeout", "abc", "Hi"], 2),
        (["install", "curser"], 2),
        (["chat", "--help"], 0),
        (["--help"], 0),
        (["keys", "--help"], 0),
        (["tokens", "create", "--help"], 0),
    ],
)
def test_nothing_is_broken_at_the_edge_of_a_narrow_terminal(argv: list[str], status: int, tmp_path: Path) -> None:
    home = tmp_path / "a-home-with-a-name-that-is-longer-than-most" / "and-one-below-it"
    seen = lines(on_a_terminal(*argv, columns=NARROW, status=status, home=home, stderr=True))
    too_long = [line for line in seen if len(line) > NARROW and len(line.split()) > 1]
    assert len(seen) > 1
    assert too_long == []


@on_unix
def test_what_is_wrong_is_bold_and_goes_on_under_itself() -> None:
    seen = on_a_terminal("doctor", columns=NARROW, status=1)
    assert seen.startswith("\x1b[1mWRONG  \x1b[0m  configuration: ")
    assert lines(seen)[1].startswith("         → No gateway is configured: ")
    assert lines(seen)[2].startswith(" " * 11)
    assert lines(seen)[2][11] != " "


@pytest.mark.parametrize(
    ("argv", "verdict"),
    [
        (["--embedded"], "All is well."),
        ([], "1 thing wrong. Mend the first, then look again."),
    ],
)
def test_doctor_ends_with_a_verdict(run: Run, argv: list[str], verdict: str) -> None:
    assert run("doctor", *argv).stdout.splitlines()[-2:] == ["", verdict]


def test_a_warning_is_no_ruin_and_is_counted(run: Run) -> None:
    done = run("doctor", "--embedded", GATEWAY_URL="https://gateway.example")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "Calls should be answered, and 1 warning."


def test_help_begins_with_the_commands(run: Run) -> None:
    text = run("--help").stdout
    assert text.index("Commands:\n") < text.index("Options:\n")
    assert text.count("Commands:\n") == 1
    assert "..." not in text.partition("Commands:\n")[2], "no description is cut short"
    theirs = command("--help").stdout
    assert theirs.index("Commands:\n") < theirs.index("Options:\n")
    assert "..." not in theirs.partition("Commands:\n")[2]


@pytest.mark.parametrize("name", ["chat", "models", "doctor"])
def test_the_help_of_a_single_call_leaves_out_what_only_a_server_heeds(run: Run, name: str) -> None:
    text = run(name, "--help").stdout
    assert "--gateway-url URL" in text
    assert "--max-in-flight" not in text
    assert "--timeout SECONDS" in text
    assert "--max-in-flight N" in run("--help").stdout


def test_a_single_call_takes_a_server_s_flags_all_the_same(run: Run) -> None:
    done = run("models", "--max-in-flight", "3", "--soft-deadline", "9", upstream=Upstream(models=lists("a")))
    assert done.exit_code == 0


@pytest.mark.parametrize("argv", [["--help"], ["http", "--help"], ["install", "--help"], ["tokens", "list", "--help"]])
def test_help_says_what_kind_of_value_an_option_takes(run: Run, argv: list[str]) -> None:
    text = run(*argv).stdout
    assert re.findall(r"^ +--[\w-]+ [A-Z]+", text, re.MULTILINE)
    assert "<str>" not in text
    assert "<int" not in text


@pytest.mark.parametrize("argv", [["serve"], ["keys", "create"], ["usage"], ["audit", "verify"], ["config", "detect"]])
def test_the_gateway_s_help_says_it_too(argv: list[str]) -> None:
    text = command(*argv, "--help").stdout
    assert "Usage:" in text
    assert not re.search("<(str|int|float)", text)
