"""llama.cpp's own HTTP server on a free loopback port, with the tiny model; runs in the peer's environment.

`python llama_server.py MODEL KEY SLOTS` makes the model, prints the server's address on one line and lives as long as
its stdin is open, so that it cannot outlive the test run, however that ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import xllamacpp  # type: ignore[import-not-found, unused-ignore] # lives in the peer's environment

sys.path.insert(0, str(Path(__file__).parent))
import tiny_model  # type: ignore[import-not-found, unused-ignore] # found through the line above, which mypy does not run


def parameters(model: Path, key: str, slots: int) -> xllamacpp.CommonParams:
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(model)
    chosen.model_alias = {"tiny"}
    chosen.n_parallel = slots
    chosen.n_ctx = slots * tiny_model.CONTEXT
    chosen.api_keys = [key]
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = 0
    chosen.offline = True  # never a download
    chosen.ui = False
    chosen.warmup = False
    chosen.fit_params = False
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = 1  # more would only fight over so small a model
    return chosen


def main() -> None:
    model = Path(sys.argv[1])
    tiny_model.write(model)
    server = xllamacpp.Server(parameters(model, sys.argv[2], int(sys.argv[3])))
    print(server.listening_address, flush=True)  # noqa: T201 - the one line the fixture waits for
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
