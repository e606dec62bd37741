"""What the Python client drivers share: the job they are given, waiting for the upstream, and the report they print."""

from __future__ import annotations

import json
import logging
import sys
import urllib.request
from collections.abc import Callable, Coroutine
from typing import Any

import anyio  # noqa: TID251 - the peer's SDK runs on it, and this file runs in the peer's environment
import anyio.to_thread  # noqa: TID251 - the same

Json = Any
WAIT_SECONDS = 30


class Complaints(logging.Handler):
    """Collects whatever the client logs at warning or above: each one is a complaint about the server."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name}: {record.getMessage()} {record.exc_info or ''}".strip())


async def upstream_has(job: Json, kind: str, model: str) -> None:
    """Returns as soon as the fake upstream's journal holds such an entry; TimeoutError if it never does."""
    await anyio.to_thread.run_sync(_get, f"{job['upstream']}/await/{kind}/{model}")


async def release(job: Json, model: str) -> None:
    await anyio.to_thread.run_sync(_get, f"{job['upstream']}/release/{model}")


def _get(url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=WAIT_SECONDS) as answer:
        answer.read()


def run(drive: Callable[[Json], Coroutine[Any, Any, Json]]) -> None:
    """Reads the job from the command line, drives the client through it and prints the report."""
    complaints = Complaints()
    logging.basicConfig(level=logging.WARNING, handlers=[complaints])
    report = anyio.run(drive, json.loads(sys.argv[1]))
    print(json.dumps(report | {"complaints": complaints.texts}))  # noqa: T201 - the report is this program's output
