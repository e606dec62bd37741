"""Environments of their own for the peers of --peers, made once in `.cache/peers/` and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import attrs
import pytest

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "peers"
INSTALL_SECONDS = 420


@attrs.frozen(kw_only=True)
class Peer:
    """What is installed, in a virtual environment named after it. The versions are those the tests were written on."""

    name: str
    requirements: tuple[str, ...]


LLAMA_CPP = Peer(name="llama.cpp", requirements=("xllamacpp==2026.10.11549", "gguf==0.19.0"))
LITELLM = Peer(name="litellm", requirements=("litellm[proxy]==1.106.2",))
SCHEMATHESIS = Peer(name="schemathesis", requirements=("schemathesis==4.32.5",))


def is_ci() -> bool:
    return bool(os.environ.get("CI"))  # noqa: TID251 - the suite's own switch, not a setting of the project


def ambient(*names: str) -> dict[str, str]:
    """Those of the variables that are set: a child gets what it is given and nothing else."""
    return {name: os.environ[name] for name in names if name in os.environ}  # noqa: TID251 - for a child, not for us


def missing(peer: Peer, why: str) -> NoReturn:
    """One loud line: a failure in CI, a skip elsewhere."""
    line = f"PEER MISSING: {peer.name} could not be had: {' '.join(why.split())}"
    if is_ci():
        pytest.fail(line, pytrace=False)
    pytest.skip(line)


def install_all(peers: Sequence[Peer]) -> dict[str, Path | str]:
    """For each peer's name its Python, or why there is none; installed side by side."""
    with ThreadPoolExecutor(max_workers=len(peers)) as pool:
        return dict(zip((peer.name for peer in peers), pool.map(_install, peers), strict=True))


def _install(peer: Peer) -> Path | str:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{peer.name}.lock").open("w") as lock:  # two runs in one checkout install once
        fcntl.flock(lock, fcntl.LOCK_EX)
        room = CACHE / f"{peer.name}-{sys.version_info.major}.{sys.version_info.minor}"
        python, stamp = room / "bin" / "python", room / "installed.txt"
        wanted = "\n".join(peer.requirements)
        if python.exists() and stamp.exists() and stamp.read_text() == wanted:
            return python
        shutil.rmtree(room, ignore_errors=True)
        try:
            for command in _commands(room, python, peer.requirements):
                subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        except subprocess.CalledProcessError as error:
            return f"{' '.join(map(str, error.cmd[:4]))} … failed: {error.stderr.decode(errors='replace')[-300:]!r}"
        except subprocess.TimeoutExpired:
            return f"its installation took more than {INSTALL_SECONDS} s"
        stamp.write_text(wanted)
        return python


def _commands(room: Path, python: Path, requirements: Sequence[str]) -> list[list[str | Path]]:
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "-q", "--python", sys.executable, room],
            [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, *requirements],
        ]
    return [
        [sys.executable, "-m", "venv", room],
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements],
    ]
