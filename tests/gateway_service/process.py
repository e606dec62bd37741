"""`openai-gateway serve` as a process of its own, and its commands; in an environment that says only what is given."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from typer.testing import CliRunner

from openai_gateway.cli import app
from tests.peers.fake_upstream import KEY

ROOT = Path(__file__).parent.parent.parent
_KEPT = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}  # noqa: TID251 - a test is a composition root
_SERVING = re.compile(r"Serving on (https?)://\S+:(\d+)")
PATIENCE = 60


def environment(**more: str) -> dict[str, str]:
    return {**_KEPT, "PYTHONPATH": str(ROOT / "src"), "HOME": "/nowhere", **more}


def command(*argv: str, data: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `openai-gateway` with these arguments to its end."""
    where = [] if data is None else ["--data", str(data)]
    return subprocess.run(
        [sys.executable, "-m", "openai_gateway", *argv, *where],
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def made_key(data: Path, *argv: str) -> str:
    """A new key, by the command, without a process of its own."""
    done = CliRunner().invoke(app, ["keys", "create", *argv, "--data", str(data)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@attrs.define
class Served:
    """A running service. `log` is what it has said so far."""

    process: subprocess.Popen[str]
    url: str
    log: list[str]

    def until(self, words: str) -> str:
        """The next line of the log with these words. AssertionError where the process ends without."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if words in line:
                return line
        raise AssertionError("".join(self.log))

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(signum)
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)
        return self.process.wait(PATIENCE)


@contextmanager
def served(data: Path, *argv: str, **more: str) -> Iterator[Served]:
    """A service on a free port of this machine."""
    process = subprocess.Popen(
        [sys.executable, "-m", "openai_gateway", "serve", "--port", "0", "--data", str(data), *argv],
        env=environment(**more),
        stderr=subprocess.PIPE,
        text=True,
    )
    service = Served(process, "", [])
    try:
        found = _SERVING.search(service.until("Serving on"))
        assert found is not None
        service.url = f"{found[1]}://127.0.0.1:{found[2]}"
        yield service
    except BaseException as failure:
        ended = process.poll()  # by itself, before it is killed below
        process.kill()
        said = "".join([*service.log, process.communicate()[1]])
        failure.add_note(f"The service's status was {ended}; it said:\n{said}")
        raise
    process.kill()
    process.communicate()


def configuration(path: Path, upstream: str, more: str = "") -> Path:
    """A file whose every model is served by the fake upstream, with the prices of a dear model."""
    key = path.parent / "upstream-key"
    key.write_text(KEY)
    key.chmod(0o600)
    path.write_text(f"""
[providers.up]
kind = "openai"
base_url = "{upstream}/v1"
api_key = {{ file = "{key}" }}

[[models]]
name = "*"
provider = "up"
model = "*"
price = {{ input = 1000.0, output = 2000.0 }}
max_output_tokens = 100

[retries]
max_retries = 0
{more}
""")
    path.chmod(0o600)
    return path
