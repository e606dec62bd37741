"""The import contracts bite: each is broken once, in a copy of the source, and must be reported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Breach:
    """An import that a contract forbids: put into `module`, it must fail `contract` and no other."""

    contract: str
    module: str
    line: str


BREACHES = (
    Breach("the gateway knows nothing of MCP", "openai_gateway/routing/calls.py", "import openai_gateway_mcp"),
    Breach("the gateway's floors", "openai_gateway/wire/sse.py", "import openai_gateway.routing.calls"),
    Breach("the MCP layer's floors", "openai_gateway_mcp/protocol/lines.py", "import openai_gateway_mcp.transports"),
    Breach("pure floors decide and never await", "openai_gateway_mcp/protocol/lines.py", "import trio"),
    Breach(
        "the protocol core sees of the gateway only wire and errors",
        "openai_gateway_mcp/protocol/lines.py",
        "import openai_gateway.secret",
    ),
    Breach("the gateway's floors", "openai_gateway/net/words.py", "import openai_gateway.engine.clocks"),
    Breach("httpx beneath the engine alone", "openai_gateway_mcp/doctor.py", "import httpx"),
    Breach("httpx beneath the engine alone", "openai_gateway/engine/upstream.py", "import httpx"),
    Breach("httpx beneath the engine alone", "openai_gateway/net/connection.py", "import httpx"),
    Breach("h11 is the oracle of the tests alone", "openai_gateway/net/connection.py", "import h11"),
    Breach("h11 is the oracle of the tests alone", "openai_gateway/engine/upstream.py", "import h11"),
    Breach("one room speaks the bytes of HTTP", "openai_gateway_mcp/relay.py", "import openai_gateway.wire.http1"),
    Breach(
        "MCP uses the gateway by its public face",
        "openai_gateway_mcp/features/application.py",
        "import openai_gateway.engine.router",
    ),
    Breach(
        "the judge of servers shares no code with ours",
        "openai_gateway_mcp/fuzz/judge.py",
        "import openai_gateway_mcp.protocol.lines",
    ),
    Breach(
        "dialects are independent of each other",
        "openai_gateway/routing/dialects/echo.py",
        "import openai_gateway.routing.dialects.openai",
    ),
)


def lint(directory: Path) -> str:
    """The report of import-linter on the source in `directory`."""
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run(
        [command, "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": os.defpath, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def broken(report: str) -> set[str]:
    """The names before BROKEN; behind it the number of excepted imports may stand."""
    return {line.rsplit(" BROKEN", 1)[0].strip() for line in report.splitlines() if " BROKEN" in line}


def test_every_contract_has_its_breach() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == {breach.contract for breach in BREACHES}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.contract}: {breach.module}")
def test_a_breach_of_the_contract_is_reported(breach: Breach, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path, dirs_exist_ok=True)
    assert broken(lint(tmp_path)) == set()
    path = tmp_path / breach.module
    path.write_text(path.read_text() + f"\n{breach.line}\n")
    assert breach.contract in broken(lint(tmp_path))
