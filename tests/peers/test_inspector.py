"""The MCP Inspector's command line, one short session a question, in each era."""

from __future__ import annotations

import json
import signal
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import pytest

from openai_gateway_mcp.features.tools import MODEL_VARIABLES
from tests.installed import ambient
from tests.peers import fake_upstream
from tests.peers.fake_upstream import SOUND, Kind
from tests.peers.playing import Runtime, command, environment, gateway
from tests.peers.record import read_sessions

# The first test waits for the installations, which have their own bound.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

Json = Any

# The `--protocol-era` of each, and the revision that must come of it.
ERAS: Final = {"legacy": "2025-11-25", "auto": "2026-07-28", "modern": "2026-07-28"}
BOTH: Final = ("legacy", "modern")
LISTS: Final = {
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
SECONDS: Final = 60


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    """Each era that the Inspector can be told to speak."""
    chosen: str = request.param
    return chosen


def inspecting(inspector: Runtime, target: list[str], env: dict[str, str], *options: str) -> list[str]:
    package = inspector.packages / "node_modules" / "@modelcontextprotocol" / "inspector"
    launcher = package / "clients" / "launcher" / "build" / "index.js"
    settings = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    return [str(inspector.program), str(launcher), "--cli", *target, *settings, "--format", "json", *options]


def inspect(inspector: Runtime, era: str, room: Path, *options: str, **upstream: str) -> Json:
    """The result of one question to the embedded echo model, or to an upstream; the session that it took is judged."""
    record = room / "record"
    record.mkdir()
    target = command(record=record, flags=() if upstream else ("--embedded",))
    done = subprocess.run(
        inspecting(inspector, target, environment(room, **upstream), "--protocol-era", era, *options),
        env={**ambient("PATH"), "HOME": str(room)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    sessions = read_sessions(record)
    for session in sessions:
        session.judge()
    opening = sessions[0].client_lines()[0]
    assert ('"initialize"' in opening) is (era == "legacy")
    assert ERAS[era] in opening
    return json.loads(done.stdout)["result"]


def test_the_inspector_lists_tools_and_finds_no_fault_in_their_schemas(
    inspector: Runtime, era: str, tmp_path: Path
) -> None:
    listed = inspect(inspector, era, tmp_path, "--method", "tools/list", "--strict")
    assert [tool["name"] for tool in listed["tools"]] == ["chat", "list_models", "compare_models"]


@pytest.mark.parametrize(("method", "field"), LISTS.items())
def test_the_inspector_lists_what_else_is_offered(
    method: str, field: str, inspector: Runtime, era: str, tmp_path: Path
) -> None:
    assert inspect(inspector, era, tmp_path, "--method", method)[field]


def test_the_inspector_calls_chat(inspector: Runtime, era: str, tmp_path: Path) -> None:
    arguments = json.dumps({"prompt": "Hello ✓"})
    called = inspect(
        inspector, era, tmp_path, "--method", "tools/call", "--tool-name", "chat", "--tool-args-json", arguments
    )
    (block,) = called["content"]
    assert block["text"].endswith("Hello ✓")


MODELS: Final = {variable: "echo" for variable in MODEL_VARIABLES.values() if variable is not None}
USES: Final[dict[str, tuple[Json, list[str], str]]] = {
    "chat": ({"prompt": "Hello", "model": "echo", "thread_id": "new"}, ["text"], "Hello\n\n[thread_id: "),
    "list_models": ({"query": "ech"}, ["text"], '"echo"'),
    "compare_models": ({"prompt": "Hello", "models": ["echo", "refuse"]}, ["text"], "## refuse"),
    "embed": ({"input": ["a", "b"]}, ["text", "resource_link"], '"count": 2'),
    "generate_image": ({"prompt": "a cat"}, ["text", "image"], "1 picture by echo."),
    "speak": ({"text": "Hello", "format": "wav"}, ["text", "audio", "resource_link"], "audio/wav by echo"),
    "transcribe": ({"audio": b64encode(SOUND).decode()}, ["text"], "one two"),
    "moderate": ({"input": ["good", "bad"]}, ["text"], '"flagged": true'),
}
"""Tool → its arguments, the sorts of blocks that come, and words of the first one."""


@pytest.mark.parametrize("era", BOTH)
@pytest.mark.parametrize("tool", MODEL_VARIABLES)
def test_the_inspector_uses_every_tool(tool: str, inspector: Runtime, era: str, tmp_path: Path) -> None:
    arguments, sorts, words = USES[tool]
    with fake_upstream.running() as upstream:
        called = inspect(
            inspector,
            era,
            tmp_path,
            *("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)),
            **gateway(upstream),
            **MODELS,
        )
    assert not called.get("isError")
    assert [block["type"] for block in called["content"]] == sorts
    assert words in called["content"][0]["text"]
    assert ("structuredContent" in called) is (tool in {"list_models", "moderate"})


@pytest.mark.parametrize("era", BOTH)
@pytest.mark.parametrize(
    ("name", "arguments"), [("ask", ["question=Why?", "model=echo"]), ("second_opinion", ["text=Why?"])]
)
def test_the_inspector_fills_every_prompt(
    name: str, arguments: list[str], inspector: Runtime, era: str, tmp_path: Path
) -> None:
    options = [word for argument in arguments for word in ("--prompt-args", argument)]
    filled = inspect(inspector, era, tmp_path, "--method", "prompts/get", "--prompt-name", name, *options)
    assert "Why?" in filled["messages"][0]["content"]["text"]


@pytest.mark.parametrize("era", BOTH)
@pytest.mark.parametrize("uri", ["openai://models", "openai://models/echo"])
def test_the_inspector_reads_every_resource(uri: str, inspector: Runtime, era: str, tmp_path: Path) -> None:
    read = inspect(inspector, era, tmp_path, "--method", "resources/read", "--uri", uri)
    assert "echo" in read["contents"][0]["text"]


def test_interrupting_the_inspector_in_a_call_closes_the_upstream_connection(
    inspector: Runtime, era: str, tmp_path: Path
) -> None:
    """The upstream never answers this model, so its caller can only have left."""
    arguments = json.dumps({"prompt": "Wait", "model": "stuck"})
    call = ["--method", "tools/call", "--tool-name", "chat", "--tool-args-json", arguments]
    with fake_upstream.running() as upstream:
        env = environment(tmp_path, **gateway(upstream))
        line = inspecting(inspector, command(record=None), env, "--protocol-era", era, *call)
        host = {**ambient("PATH"), "HOME": str(tmp_path)}
        with subprocess.Popen(line, env=host, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                upstream.wait_for(Kind.ASKED, "stuck")
                process.send_signal(signal.SIGINT)
                upstream.wait_for(Kind.GONE, "stuck")
            finally:
                process.kill()
    assert upstream.journal.kinds("stuck") == ["asked", "gone"]
