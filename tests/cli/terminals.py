"""A person at a terminal: a command with a pseudo-terminal of some width before it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

from tests.gateway_service.process import environment


def on_a_terminal(
    *argv: str,
    program: str = "openai_gateway_mcp",
    columns: int = 80,
    status: int = 0,
    home: Path | None = None,
    stderr: bool = False,
) -> str:
    """What a person sees who types this; what goes to stderr if it is asked for."""
    import fcntl  # not there on Windows, as pseudo-terminals are not
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    at = {} if home is None else {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_DATA_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-m", program, *argv],
        env=environment(TERM="xterm-256color", **at),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if stderr else subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
        assert process.wait(60) == status, seen.decode()
    return seen.decode()
