"""The commands for people, in this process, over the built-in echo model or a scripted upstream."""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import openai_gateway
from openai_gateway import open_gateway
from openai_gateway_mcp import cli
from openai_gateway_mcp.features import door
from openai_gateway_mcp.serve import say
from tests.features.scripted import (
    CANARY,
    DONE,
    FOREVER,
    Upstream,
    answers,
    delta,
    lists,
    refuses,
    says,
    streams,
)

Run = Callable[..., Result]


@pytest.fixture
def log_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, log_as_before: None) -> Run:
    """Runs a command in an environment that says nothing but what is given, over a scripted upstream."""

    def run(*argv: str, upstream: Upstream | None = None, stdin: str | bytes = "", **environ: str) -> Result:
        if upstream is not None:
            opener = functools.partial(open_gateway, transport=upstream, random=lambda: 0.0)
            monkeypatch.setattr(door, "_open_gateway", opener)
            environ = {
                "GATEWAY_URL": "https://gateway.example",
                "GATEWAY_API_KEY": CANARY,
                "MAX_RETRIES": "0",
            } | environ
        return CliRunner().invoke(cli.app, argv, input=stdin, env=environ, catch_exceptions=True)

    return run


# --- chat -----------------------------------------------------------------------------------------------------------


def test_chat_answers_through_the_whole_path_without_any_key(run: Run) -> None:
    done = run("chat", "--embedded", "Hello!")
    assert done.exit_code == 0
    assert "Hello!" in done.stdout
    assert "echo" in done.stderr


def test_chat_without_a_gateway_says_what_to_set_and_nothing_else(run: Run) -> None:
    done = run("chat", "Hello!")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "set GATEWAY_URL" in line
    assert "--embedded" in line


def test_flags_work_before_the_command_too_and_the_nearer_one_wins(run: Run) -> None:
    assert run("--embedded", "chat", "Hello!").exit_code == 0
    upstream = Upstream(b=says("hi"))
    done = run("--default-model", "a", "chat", "x", "--default-model", "b", upstream=upstream)
    assert (done.exit_code, done.stdout) == (0, "hi\n")


def test_the_model_may_be_named_and_several_words_are_one_prompt(run: Run) -> None:
    upstream = Upstream(m1=says("Yes", ", sir."))
    done = run("chat", "Hello", "there", "-m", "m1", upstream=upstream)
    assert done.stdout == "Yes, sir.\n"
    assert done.stderr == ""
    assert upstream.bodies[0]["messages"] == [{"role": "user", "content": "Hello there"}]


def test_what_is_piped_in_is_the_prompt_or_stands_below_it(run: Run) -> None:
    upstream = Upstream(m1=says("ok"))
    run("chat", "-m", "m1", upstream=upstream, stdin="all of it\n")
    run("chat", "-m", "m1", "Sum up:", upstream=upstream, stdin="a text\n")
    assert [body["messages"][0]["content"] for body in upstream.bodies] == ["all of it", "Sum up:\n\na text"]


def test_nothing_to_ask_and_no_text_are_wrong(run: Run) -> None:
    for stdin in ("", b"\xff\xfe"):
        done = run("chat", "--embedded", stdin=stdin)
        assert isinstance(done.exception, openai_gateway.errors.ConfigError)


def test_a_failure_is_one_line_on_stderr_and_exit_code_one_without_the_key(run: Run) -> None:
    refused = refuses(401, f"bad key {CANARY}", code="invalid_api_key")
    done = run("chat", "x", "-m", "m1", upstream=Upstream(m1=refused))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "failed" in done.stderr
    assert CANARY not in done.output


def test_a_stream_that_breaks_after_text_is_a_failure_after_a_line_end(run: Run) -> None:
    done = run("chat", "x", "-m", "m1", upstream=Upstream(m1=streams(delta("half"))))
    assert done.exit_code == 1
    assert done.stdout == "half\n"


def test_a_default_that_is_not_served_names_what_there_is(run: Run) -> None:
    missing = refuses(404, "no such model", code="model_not_found")
    done = run("chat", "x", upstream=Upstream(any=missing, models=lists("a", "b")))
    assert done.exit_code == 1
    assert "Served are: a, b" in done.stderr


def test_no_gateway_says_what_to_set(run: Run) -> None:
    done = run("chat", "x")
    assert done.exit_code == 1
    assert "GATEWAY_URL" in done.stderr


def test_an_answer_cut_by_length_says_so_on_stderr(run: Run) -> None:
    done = run("chat", "x", "-m", "m1", upstream=Upstream(m1=says("abc", finish="length")))
    assert (done.exit_code, done.stdout) == (0, "abc\n")
    assert "length" in done.stderr


def test_an_empty_answer_is_a_failure_that_is_explained(run: Run) -> None:
    for text in ("", "\n"):
        done = run("chat", "x", "-m", "m1", upstream=Upstream(m1=streams(delta(text, finish="length"), DONE)))
        assert (done.exit_code, done.stdout.strip()) == (1, "")
        assert "max_tokens" in done.stderr


def test_control_characters_of_a_model_do_not_reach_the_terminal(run: Run) -> None:
    done = run("chat", "x", "-m", "m1", upstream=Upstream(m1=says("a\x1b[2Jb\tc\nd")))
    assert done.stdout == "a\\x1b[2Jb\tc\nd\n"


def test_control_characters_of_a_provider_s_error_do_not_reach_the_terminal_either(run: Run) -> None:
    done = run("chat", "x", "-m", "m1", upstream=Upstream(m1=refuses(400, "no \x1b[2J")))
    assert "no \\x1b[2J" in done.stderr


@pytest.fixture
def python_s_own_ctrl_c() -> Iterator[None]:
    """As the start of a command has it. A shell lets what it runs in the background ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_closes_the_upstream_and_exits_with_130(run: Run, python_s_own_ctrl_c: None) -> None:
    class Interrupted(Upstream):
        async def handle_async_request(self, request: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            return await super().handle_async_request(request)

    upstream = Interrupted(m1=streams(delta("a"), FOREVER))
    done = run("chat", "x", "-m", "m1", upstream=upstream)
    assert done.exit_code == 130
    assert all(stream.closed for stream in upstream.streams)
    assert "Traceback" not in done.output


def test_warnings_of_the_configuration_are_said_once(run: Run) -> None:
    done = run("chat", "--embedded", "x", GATEWAY_URL="https://gateway.example")
    assert done.exit_code == 0
    assert done.stderr.count("GATEWAY_URL is set and not used") == 1


def test_no_stdin_at_all_is_nothing_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert cli._piped(wait=True) == ""


def test_a_pipe_that_nobody_writes_to_is_left_out_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "STDIN_PATIENCE", 0.0)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as writer, os.fdopen(reading) as reader:
        monkeypatch.setattr("sys.stdin", reader)
        assert cli._piped(wait=False) == ""
        assert "end the prompt with -" in capsys.readouterr().err
        writer.write("late\n")
        writer.close()
        assert cli._piped(wait=False) == "late"


def test_a_dash_waits_for_stdin_and_is_no_part_of_the_prompt(run: Run) -> None:
    upstream = Upstream(m1=says("ok"))
    run("chat", "-m", "m1", "Sum up:", "-", upstream=upstream, stdin="a text")
    run("chat", "-m", "m1", "-", upstream=upstream, stdin="a text")
    assert [body["messages"][0]["content"] for body in upstream.bodies] == ["Sum up:\n\na text", "a text"]


# --- models ---------------------------------------------------------------------------------------------------------


def test_models_is_a_table(run: Run) -> None:
    done = run("models", upstream=Upstream(models=lists("gpt-5", "a")))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "MODEL  OWNED BY  CREATED",
        "gpt-5  them      1970-01-01",
        "a      them      1970-01-01",
    ]


def test_a_time_that_is_none_is_left_out_of_the_table(run: Run) -> None:
    data = [{"id": "a", "created": 10**30, "owned_by": "x"}, {"id": "b"}]
    done = run("models", upstream=Upstream(models=answers(200, {"data": data})))
    assert done.stdout.splitlines()[1:] == ["a      x", "b      gateway"]


def test_models_as_json_is_what_the_gateway_gave(run: Run) -> None:
    done = run("models", "--json", upstream=Upstream(models=lists("a")))
    assert json.loads(done.stdout)[0]["context_window"] == 8


def test_a_list_that_cannot_be_had_is_a_failure(run: Run) -> None:
    done = run("models", upstream=Upstream(models=refuses(403, f"no {CANARY}")))
    assert done.exit_code == 1
    assert CANARY not in done.output


# --- the rest -------------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_with_echo(run: Run) -> None:
    done = run("doctor", "--embedded")
    assert done.exit_code == 0
    assert "ok " in done.stdout
    assert "WRONG" not in done.stdout


def test_doctor_says_what_is_missing_and_exits_with_one(run: Run) -> None:
    done = run("doctor")
    assert done.exit_code == 1
    assert "WRONG" in done.stdout
    assert "→ No gateway is configured: set GATEWAY_URL" in done.stdout


def test_doctor_says_each_thing_once(run: Run) -> None:
    done = run("doctor", "--embedded", GATEWAY_URL="https://gateway.example")
    assert done.stdout.count("GATEWAY_URL is set and not used") == 1
    assert done.stderr == ""


def test_doctor_speaks_json(run: Run) -> None:
    findings = json.loads(run("doctor", "--json").stdout)
    assert findings[0]["health"] == "wrong"
    assert set(findings[0]) == {"health", "about", "text", "mend"}


def test_a_stderr_that_nobody_reads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for stderr in (Gone(), None):
        monkeypatch.setattr("sys.stderr", stderr)
        say("x")


def test_the_version_is_shown(run: Run) -> None:
    assert run("--version").stdout == f"openai-gateway-mcp {openai_gateway.__version__}\n"


def test_help_names_every_command_and_flag(run: Run) -> None:
    text = run("--help").stdout
    assert all(word in text for word in ("chat", "models", "doctor", "--embedded", "--gateway-url", "--config"))


def test_a_typo_is_a_usage_error(run: Run) -> None:
    assert run("--embeded").exit_code == 2
    assert run("chta").exit_code == 2
