"""The process as a client starts it: what it answers before it is ready, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CANARY = "sk-canary-0123456789abcdef0123456789"
SLOW = (
    "httpx", "httpcore", "cattrs", "typer", "rich", "click", "tomllib", "keyring",
    "openai_gateway.engine.gateway", "openai_gateway.routing.attempts", "openai_gateway.routing.limits",
    "openai_gateway.routing.health", "openai_gateway.routing.accounts", "openai_gateway.routing.key_source",
    "openai_gateway.keystore.files",
)  # fmt: skip
INHERITED = dict(os.environ)  # noqa: TID251 - a child process needs a PATH, and coverage its own variables
ROOT = Path(__file__).parents[2]

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
CHAT = {
    "jsonrpc": "2.0",
    "id": 3,
    "method": "tools/call",
    "params": {"name": "chat", "arguments": {"prompt": "Hello!"}},
}


def start(
    *argv: str,
    messages: list[dict[str, Any]],
    python: tuple[str, ...] = ("-m", "openai_gateway_mcp"),
    environ: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it on a pipe in an environment that says only what is given; stdin is closed after the messages."""
    kept = {name: value for name, value in INHERITED.items() if name == "PATH" or name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, *python, *argv],
        input="".join(json.dumps(message) + "\n" for message in messages),
        env=kept | {"PYTHONPATH": str(ROOT / "src")} | (environ or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def answers_in(done: subprocess.CompletedProcess[str]) -> dict[Any, Any]:
    return {message["id"]: message for message in map(json.loads, done.stdout.splitlines())}


def test_the_handshake_needs_no_key_no_network_and_nothing_slow_to_import() -> None:
    """Where these modules cannot be imported at all, initialize and tools/list are answered all the same."""
    poison = (
        f"import sys; sys.modules.update(dict.fromkeys({SLOW!r})); from openai_gateway_mcp.__main__ import main; main()"
    )
    done = start(messages=[INITIALIZE, LIST], python=("-c", poison))
    answers = answers_in(done)
    assert answers[1]["result"]["serverInfo"]["name"] == "openai-gateway-mcp"
    assert [tool["name"] for tool in answers[2]["result"]["tools"]] == ["chat", "list_models", "compare_models"]
    assert len(json.dumps(answers[2]["result"])) <= 6 * 1024
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("module", "typed", "offered"),
    [
        ("openai_gateway_mcp", "ins", "install"),
        ("openai_gateway", "ser", "serve"),
        ("openai_gateway_mcp", "http --por", "--port"),
    ],
)
def test_a_shell_is_told_what_could_be_typed(module: str, typed: str, offered: str) -> None:
    program = module.replace("_", "-")
    asked = {
        f"_{module.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": f"{program} {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    done = start(messages=[], python=("-m", module), environ=asked)
    assert done.stdout.split() == [offered]


def test_by_the_time_tools_list_is_answered_nothing_slow_is_imported() -> None:
    code = f"""
import json, sys
before = set(sys.modules)  # a coverage tool brings some of its own
import openai_gateway_mcp.__main__, openai_gateway_mcp.quick, openai_gateway_mcp.serve
from openai_gateway_mcp.config import load
from openai_gateway_mcp.features.application import describe
from openai_gateway_mcp.protocol.connection import Connection
connection = Connection(describe(load({{}}, {{}}).features))
for line in sys.stdin.buffer:
    connection.receive_data(line)
    assert connection.next_event() is None
assert connection.data_to_send().count(b'"result"') == 2
print(json.dumps([name for name in {SLOW!r} if name in set(sys.modules) - before]))
"""
    done = start(messages=[INITIALIZE, LIST], python=("-c", code))
    assert done.stderr == ""
    assert json.loads(done.stdout) == []


def test_a_whole_conversation_with_the_echo_model() -> None:
    done = start("--embedded", "--drain", "30", messages=[INITIALIZE, LIST, CHAT])
    answer = answers_in(done)[3]["result"]
    assert "Hello!" in answer["content"][0]["text"]
    assert answer["isError"] is False
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_request_that_came_as_a_notification_is_logged_and_not_answered() -> None:
    message = {"jsonrpc": "2.0", "method": "completion/complete", "params": {"prompt": "hi"}}
    done = start("--embedded", messages=[message])
    assert done.stdout == ""
    assert "openai_gateway_mcp" in done.stderr
    assert done.returncode == 0


def test_a_warning_of_the_configuration_is_one_line_on_stderr() -> None:
    done = start("--embedded", messages=[INITIALIZE], environ={"GATEWAY_URL": "https://gateway.example"})
    assert done.stderr.count("\n") == 1
    assert "GATEWAY_URL is set and not used" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        ((), {"SOFT_DEADLINE": "soon"}, "SOFT_DEADLINE is 'soon'"),
        ((), {"TIMEOUT": CANARY}, "TIMEOUT is '[redacted]'"),
        (("chat", "x"), {"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud'"),
        (("chat",), {}, "nothing to ask"),
        (("--gateway-url", CANARY), {}, "looks like a key"),
        (("chat", "-m", CANARY), {}, "looks like a key"),
        (("--config", "/nonexistent.toml"), {}, "/nonexistent.toml"),
    ],
)
def test_a_wrong_setting_is_one_clean_line_and_exit_code_two(
    argv: tuple[str, ...], environ: dict[str, str], words: str
) -> None:
    done = start(*argv, messages=[], environ=environ)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("openai-gateway-mcp: ")
    assert words in done.stderr
    assert CANARY not in done.stderr


def test_a_command_runs_and_ends_with_its_code() -> None:
    done = start("--embedded", "models", messages=[])
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "MODEL  OWNED BY        CREATED")
    assert start("--embeded", messages=[]).returncode == 2
    assert start("--version", messages=[]).returncode == 0


def test_a_command_whose_output_nobody_reads_any_more_ends_without_a_traceback() -> None:
    output, unread = os.pipe()
    os.close(output)
    done = subprocess.run(
        [sys.executable, "-m", "openai_gateway_mcp", "--embedded", "models"],
        stdin=subprocess.DEVNULL,
        stdout=unread,
        stderr=subprocess.PIPE,
        env=INHERITED | {"PYTHONPATH": str(ROOT / "src")},
        check=False,
        timeout=60,
    )
    os.close(unread)
    assert (done.returncode, done.stderr) == (1, b"")


def test_typers_way_to_serving_serves_too() -> None:
    done = start("--embedded", "--drain=30", "--", messages=[INITIALIZE])
    assert answers_in(done)[1]["result"]["protocolVersion"] == "2025-11-25"
    assert done.returncode == 0


def test_on_a_terminal_it_tells_the_person_what_it_waits_for() -> None:
    master, slave = pty.openpty()
    try:
        kept = {name: value for name, value in INHERITED.items() if name == "PATH" or name.startswith("COVERAGE_")}
        command = [sys.executable, "-m", "openai_gateway_mcp", "--embedded"]
        with subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=kept | {"PYTHONPATH": str(ROOT / "src")}
        ) as process:
            assert process.stderr is not None
            said = iter(process.stderr.readline, b"")
            assert any(b"waiting for an MCP client" in line and b"--help" in line for line in said)
            process.terminate()
            assert process.wait(timeout=60) == 143
    finally:
        os.close(master)
        os.close(slave)
