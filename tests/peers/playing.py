"""Runs a client's driver against our installed command, and says what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import attrs

from tests.installed import ambient
from tests.peers.fake_upstream import KEY, Entry, Upstream
from tests.peers.peers import Client
from tests.peers.record import Session, read_sessions

Json = Any

HERE: Final = Path(__file__).parent
COMMAND: Final = Path(sys.executable).with_name("openai-gateway-mcp")
DRIVER_SECONDS: Final = 90


@attrs.frozen(kw_only=True)
class Runtime:
    """`program` runs a driver; `packages` is the directory that a Node driver loads its client from."""

    program: Path
    packages: Path


@attrs.frozen(kw_only=True)
class Played:
    """`report` is the driver's; `client_log` what it wrote to stderr, `server_log` what our server did."""

    report: Json
    client_log: str
    server_log: str
    sessions: list[Session]
    journal: tuple[Entry, ...] = ()

    @property
    def session(self) -> Session:
        """The one that the client kept."""
        return self.sessions[0]


def command(*, record: Path | None, flags: tuple[str, ...] = ()) -> list[str]:
    """Our installed command; through the tee if it is to be recorded."""
    ours = [str(COMMAND), *flags]
    return ours if record is None else [sys.executable, str(HERE / "tee.py"), str(record), *ours]


def environment(home: Path, **more: str) -> dict[str, str]:
    """What our server gets: LOG_LEVEL=warn, so that a session in order leaves its stderr empty."""
    coverage = ambient("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    return {**ambient("PATH"), **coverage, "HOME": str(home), "LOG_LEVEL": "warn", **more}


def gateway(upstream: Upstream) -> dict[str, str]:
    """The upstream, and no clock of our server's own: when a caller leaves it, that is the client's doing."""
    return {
        "GATEWAY_URL": f"{upstream.url}/v1",
        "GATEWAY_API_KEY": KEY,
        "TIMEOUT": "600",
        "SOFT_DEADLINE": "0",
    }


def play(client: Client, runtime: Runtime, room: Path, *, upstream: Upstream | None) -> Played:
    """One session from connect to close: with the upstream and the tee, or with --embedded and nothing in between."""
    record = room / "record"
    record.mkdir()
    server_log = room / "server.log"
    server_log.touch()
    job = {
        "command": command(record=record) if upstream else command(record=None, flags=("--embedded",)),
        "env": environment(room, **(gateway(upstream) if upstream else {})),
        "mode": client.mode,
        "packages": str(runtime.packages),
        "server_log": str(server_log),
        "upstream": upstream.url if upstream else None,
    }
    done = drive(client, runtime, room, job)
    assert done.returncode == 0, f"{client.name} failed:\n{done.stderr}\nthe server said:\n{server_log.read_text()}"
    return Played(
        report=json.loads(done.stdout),
        client_log=done.stderr,
        server_log=server_log.read_text(),
        sessions=read_sessions(record),
        journal=upstream.journal.entries if upstream else (),
    )


def drive(client: Client, runtime: Runtime, room: Path, job: Json) -> subprocess.CompletedProcess[str]:
    """The driver's run through a job."""
    return subprocess.run(
        [runtime.program, HERE / "clients" / client.driver, json.dumps(job)],
        env={**ambient("PATH"), "HOME": str(room)},
        capture_output=True,
        text=True,
        timeout=DRIVER_SECONDS,
        check=False,
    )
