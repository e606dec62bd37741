"""The command `fuzz`, as people use it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.cli import app

OURS = [sys.executable, "-m", "openai_gateway_mcp", "--embedded"]
FAULTY = """
import json, sys
print("I am ready", file=sys.stderr)
for line in sys.stdin:
    try:
        message = json.loads(line)
    except ValueError:
        continue
    if not isinstance(message, dict) or "id" not in message:
        continue
    result = {"tools": [{"name": "a"}]}
    if message.get("method") == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def fuzz(*arguments: str, input: str | None = None) -> Result:  # noqa: A002 - the runner's own name
    return CliRunner().invoke(app, ["fuzz", *arguments], input=input)


def refusal(result: Result) -> str:
    assert isinstance(result.exception, ConfigError)
    return str(result.exception)


@pytest.fixture
def faulty(tmp_path: Path) -> Sequence[str]:
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    return ["--", sys.executable, str(path)]


def test_against_our_own_server_there_is_nothing_to_find() -> None:
    result = fuzz("--examples", "3", "--seed", "1", "--patience", "60", "--", *OURS)
    assert result.exit_code == 0, result.output
    assert "it speaks 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28\n" in result.stderr
    assert "tools that are called: chat, list_models, compare_models\n" in result.stderr
    assert result.stdout.startswith("0 findings in 3 conversations, ")


def test_what_is_found_is_shown_kept_reported_and_had_again(tmp_path: Path, faulty: Sequence[str]) -> None:
    corpus, junit = tmp_path / "corpus", tmp_path / "junit.xml"
    options = ["--examples", "1", "--seed", "1", "--patience", "1", "--corpus", str(corpus)]
    first = fuzz(*options, "--junit", str(junit), *faulty)
    assert first.exit_code == 1, first.output
    assert "left alone, since they don't say that they change nothing (--call NAME calls one): a\n" in first.stderr
    kept = sorted(corpus.glob("result-*.jsonl"))
    assert kept
    for path in kept:
        assert path.read_text() in first.stdout
    assert int(ET.parse(junit).getroot().get("failures", "")) > 0  # noqa: S314 - we wrote it

    again = fuzz("--replay", str(kept[0]), *faulty)
    assert again.exit_code == 1
    assert '> {"jsonrpc":"2.0","id":"initialize"' in again.stdout
    assert '< {"jsonrpc": "2.0", "id": "initialize"' in again.stdout
    assert "stderr: I am ready\n" in again.stdout
    assert "MUST result: " in again.stdout

    assert fuzz("--replay", "-", "--", *OURS, input=kept[0].read_text()).stdout.endswith("nothing is against it\n")
    mended = fuzz("--seconds", "0", "--corpus", str(corpus), "--", *OURS)
    assert mended.exit_code == 0
    assert f"{kept[0].name} shows nothing any more\n" in mended.stderr
    assert fuzz("--seconds", "0", "--patience", "1", "--corpus", str(corpus), *faulty).exit_code == 1


def test_a_tool_that_may_be_called_is(faulty: Sequence[str]) -> None:
    assert "tools that are called: a\n" in fuzz("--seconds", "0", "--patience", "1", "--call", "a", *faulty).stderr


def test_what_cannot_be_done_is_said(tmp_path: Path, faulty: Sequence[str]) -> None:
    assert refusal(fuzz()) == "Give the command that starts a server, after --, or --url."
    assert refusal(fuzz("--url", "http://127.0.0.1:1/mcp", *faulty)).startswith("Give the command")
    assert "on this machine" in refusal(fuzz("--url", "http://example.com/mcp"))
    assert refusal(fuzz("--url", "http://127.0.0.1:1/", "--header", "x")) == "--header takes NAME:VALUE."
    assert "No such file" in refusal(fuzz("--", "/no/such/program"))
    assert "answers as no MCP server" in refusal(fuzz("--patience", "1", "--", sys.executable, "-c", ""))
    assert "can't be read" in refusal(fuzz("--replay", str(tmp_path / "nothing"), *faulty))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"sing": 1}\n')
    assert "no step" in refusal(fuzz("--replay", str(bad), *faulty))
    assert "no step" in refusal(fuzz("--patience", "1", "--corpus", str(tmp_path), *faulty))
    bad.unlink()
    assert "can't be written" in refusal(
        fuzz("--seconds", "0", "--patience", "1", "--junit", str(tmp_path / "no" / "j.xml"), *faulty)
    )
    assert "can't be written" in refusal(
        fuzz("--examples", "1", "--patience", "1", "--corpus", str(tmp_path / "faulty.py"), *faulty)
    )


def test_who_has_read_enough_ends_it_quietly(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"finish": true}\n')
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "openai_gateway_mcp", "fuzz", "--replay", str(script), "--", *OURS]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_where_nobody_listens_it_says_so() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        result = fuzz("--patience", "1", "--url", f"http://127.0.0.1:{nobody.getsockname()[1]}/mcp")
    assert "answers as no MCP server" in refusal(result)


def test_nothing_is_left_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fuzz("--examples", "1", "--patience", "60", "--", *OURS)
    assert list(tmp_path.iterdir()) == []
