"""Stands between a client and a server, and writes down every line that passes: `tee.py DIRECTORY COMMAND ARGUMENT…`.

The server gets what it would get without this: socket pairs where the client gave sockets (as Node clients do) and
pipes where it gave pipes, the end of its input, signals, and its exit code becomes this one's. One file a process,
because some clients start the server twice. A row is {"from": "client" | "server", "line": …}, and the last one
{"exit": CODE}.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

READ_BYTES = 65536
FORWARDED = (signal.SIGTERM, signal.SIGINT)


class Record:
    """Both directions in one file, a row a line, in the order in which they passed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._lock = threading.Lock()

    def write(self, row: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def scribe(self, who: str) -> Callable[[bytes], None]:
        """Takes one direction's bytes and writes down each line that they complete; b"" is the end."""
        unfinished = bytearray()

        def take(data: bytes) -> None:
            nonlocal unfinished
            *lines, rest = (unfinished + data).split(b"\n")
            if not data and rest:
                lines, rest = [rest], bytearray()
            unfinished = rest
            for line in lines:
                self.write({"from": who, "line": line.decode(errors="surrogateescape")})

        return take


def pump(source: int, sink: int, take: Callable[[bytes], None]) -> None:
    """Until the source ends or the sink breaks. A line is written down before it is passed on."""
    while data := os.read(source, READ_BYTES):
        take(data)
        try:
            while data:
                data = data[os.write(sink, data) :]
        except BrokenPipeError:
            return
    take(b"")


def pair_like(fd: int, *, inward: bool) -> tuple[int, int]:
    """Two new ends of the same kind as `fd`: the server's and ours."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        ours, theirs = socket.socketpair()
        return theirs.detach(), ours.detach()
    reading, writing = os.pipe()
    return (reading, writing) if inward else (writing, reading)


def main() -> int:
    directory, *command = sys.argv[1:]
    record = Record(Path(directory) / f"{os.getpid()}.jsonl")
    server_in, to_server = pair_like(0, inward=True)
    server_out, from_server = pair_like(1, inward=False)
    server = subprocess.Popen(command, stdin=server_in, stdout=server_out)
    os.close(server_in)
    os.close(server_out)
    for number in FORWARDED:
        signal.signal(number, lambda number, _frame: server.send_signal(number))

    def inward() -> None:
        pump(0, to_server, record.scribe("client"))
        os.close(to_server)

    # A daemon: the client's end may stay open when the server is gone.
    threading.Thread(target=inward, daemon=True).start()
    outward = threading.Thread(target=pump, args=(from_server, 1, record.scribe("server")))
    outward.start()
    code = server.wait()
    outward.join()
    record.write({"exit": code})
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os._exit(main())  # the daemon may hold stdin's lock, on which a usual exit would wait
