"""Starts the scripted server over real descriptors, and talks to it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.transports.conversation import ping

Json = Any

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, "-m", "tests.transports.scripted_server"]

# A bound for what takes milliseconds, so that a hang fails; nothing is measured by it.
PATIENCE = 30


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path}  # noqa: TID251 - the child needs the rest of it, coverage's part too


def lines(*messages: Json) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def call(id_: int, tool: str, text: str = "") -> Json:
    params = {"name": tool, "arguments": {"text": text}}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


def run(
    *messages: Json, stdin: int | IO[bytes] | None = None, stdout: int | IO[bytes] = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """Run the server on these messages, or on a stdin, to its end."""
    given: dict[str, Any] = {"input": lines(*messages)} if stdin is None else {"stdin": stdin}
    return subprocess.run(
        SERVER,
        **given,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )


def shell(script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script in which $SERVER is the server."""
    return subprocess.run(
        ["/bin/sh", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env={**environment(), "SERVER": " ".join(SERVER)},
        timeout=PATIENCE,
        check=False,
    )


class Peer:
    """A running server. `stdin` and `stdout` are the client's ends; they may be pipes, sockets or a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.process = process
        self.stdin = stdin
        self.stdout = stdout
        self.said: list[str] = []

    def send(self, *messages: Json) -> None:
        self.stdin.write(lines(*messages))
        self.stdin.flush()

    def receive(self) -> Json:
        return json.loads(self.stdout.readline())

    def until_it_says(self, text: str) -> None:
        """Read stderr up to a line that starts so."""
        assert self.process.stderr is not None
        while not (self.said and self.said[-1].startswith(text)):
            line = self.process.stderr.readline().decode()
            assert line, f"never said {text!r}, but {self.said}"
            self.said.append(line)

    def until_it_answers(self) -> None:
        self.send(ping("are you there?"))
        assert self.receive()["id"] == "are you there?"

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)

    def rest_of_stderr(self) -> str:
        assert self.process.stderr is not None
        self.said.append(self.process.stderr.read().decode())
        return "".join(self.said)


@contextmanager
def server(
    *, stdin: int | None = None, stdout: int | None = None, client: tuple[IO[bytes], IO[bytes]] | None = None
) -> Iterator[Peer]:
    """A server over pipes; or over the given descriptors, with the client's ends of them."""
    process = subprocess.Popen(
        SERVER,
        stdin=subprocess.PIPE if stdin is None else stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    )
    try:
        if client is None:
            assert process.stdin is not None
            assert process.stdout is not None
            client = (process.stdin, process.stdout)
        yield Peer(process, *client)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        for end in (process.stdin, process.stdout, process.stderr):
            if end is not None:
                try:
                    end.close()
                except BrokenPipeError:
                    continue
