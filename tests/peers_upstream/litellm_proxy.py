"""LiteLLM's proxy as its own command starts it, but ended by the end of its stdin; runs in the peer's environment."""

from __future__ import annotations

import os
import sys
import threading

from litellm import run_server  # type: ignore[import-not-found, unused-ignore] # lives in the peer's environment


def end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # it keeps nothing, and its own shutdown may wait for a stream that nobody reads


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    run_server(sys.argv[1:])
