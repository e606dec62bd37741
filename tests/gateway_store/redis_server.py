"""A Redis or a Valkey of the tests' own, on a Unix socket, which may be killed and started again."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio


@attrs.define(eq=False)
class RedisServer:
    """Its data lie in `directory`, whose path must be short: that of a Unix socket may have 107 bytes."""

    directory: Path
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/r"

    def start(self) -> None:
        """Returns once it answers."""
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            pytest.fail("The tests need redis-server or valkey-server; `apt-get install redis-server` brings it.")
        options = ["--port", "0", "--unixsocket", str(self.directory / "r"), "--dir", str(self.directory)]
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        self._process = subprocess.Popen([program, *options, *durable], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        said = b""
        while b"ready to accept connections" not in said:  # "at unix_socket", or of older ones "at /the/path"
            said = self._process.stdout.readline()
            if not said:
                pytest.fail(f"{program} did not start.")
        self._process.stdout.close()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    async def start_again(self) -> None:
        await trio.to_thread.run_sync(self.start)

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="ogw", dir="/tmp") as directory:
        server = RedisServer(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()
