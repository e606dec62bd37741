"""The official conformance suite, its stable release and its newest, against both servers that we have for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests import installed
from tests.conformance_excluded import EXCLUDED, UNSCORED, WITHOUT_TEST_TOOLS
from tests.gateway_service.process import ROOT, environment
from tests.installed import Peer, ambient
from tests.peers import npm

# The first test waits for the installations, which have their own bound.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

NEWEST: Final = Peer(name="npm-conformance-newest", requirements=("@modelcontextprotocol/conformance@0.2.0-alpha.12",))
STABLE: Final = Peer(name="npm-conformance-stable", requirements=("@modelcontextprotocol/conformance@0.1.16",))
SECONDS: Final = 110

# What is about HTTP itself says nothing about a server behind a bridge.
OF_THE_TRANSPORT: Final = frozenset(
    {
        "dns-rebinding-protection",
        "http-custom-header-server-validation",
        "http-header-validation",
        "server-session-lifecycle",
        "server-stateless",
        "tasks-request-headers",
    }
)

Outcome = Mapping[str, bool]
"""Scenario → whether all its checks passed."""


@attrs.frozen(kw_only=True)
class Suite:
    """The suite as it is installed."""

    node: Path
    newest: Path
    stable: Path

    def run(self, url: str, *options: str, room: Path | None = None) -> Outcome:
        """Run it; what became of each scenario. AssertionError where it has no summary."""
        package = (room or self.newest) / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
        done = subprocess.run(
            [self.node, package, "server", "--url", url, *options],
            env={**ambient("PATH"), "HOME": "/nowhere"},
            cwd=self.newest,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        _, found, summary = done.stdout.partition("=== SUMMARY ===")
        assert found, done.stdout[-2000:] + done.stderr[-2000:]
        outcome = {
            name: mark == "✓" for mark, name in re.findall(r"^([✓✗]) ([\w-]+): \d+ passed", summary, re.MULTILINE)
        }
        assert outcome, summary
        return outcome


@pytest.fixture(scope="session")
def suite() -> Suite:
    node = installed.install_all([npm.NODE])[npm.NODE.name]
    if isinstance(node, str):
        installed.missing(npm.NODE, node)
    rooms = npm.install_all([NEWEST, STABLE], node)
    for peer in (NEWEST, STABLE):
        if isinstance(why := rooms[peer.name], str):
            installed.missing(peer, why)
    newest, stable = rooms[NEWEST.name], rooms[STABLE.name]
    assert isinstance(newest, Path)
    assert isinstance(stable, Path)
    return Suite(node=npm.node_of(node), newest=newest, stable=stable)


@contextmanager
def started(*argv: str, says: str, stream: str) -> Iterator[str]:
    """A server, and the URL that it says it serves at."""
    with subprocess.Popen(
        [sys.executable, "-m", *argv],
        env={**environment(), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE if stream == "stdout" else None,
        stderr=subprocess.PIPE if stream == "stderr" else None,
    ) as process:
        try:
            lines = process.stdout if stream == "stdout" else process.stderr
            assert lines is not None
            found = next(match for line in lines if (match := re.search(says, line)))
            yield found[0]
        finally:
            process.kill()


def ours() -> list[str]:
    return ["openai_gateway_mcp", "http", "--embedded", "--port", "0"]


URL: Final = r"http://127\.0\.0\.1:\d+/mcp"


@pytest.mark.parametrize("revision", EXCLUDED)
def test_our_server_for_it_passes_all_but_the_excluded(suite: Suite, revision: str) -> None:
    with started("tests.conformance_server", "http", says=URL, stream="stdout") as url:
        outcome = suite.run(url, "--requirements", revision)
    failed = {name for name, passed in outcome.items() if not passed}
    assert failed == EXCLUDED[revision].keys() | UNSCORED[revision].keys()
    assert len(outcome) - len(failed) >= 27


@pytest.mark.parametrize("revision", EXCLUDED)
def test_over_stdio_it_passes_as_many(suite: Suite, revision: str) -> None:
    with started("tests.conformance_bridge", says=URL, stream="stdout") as url:
        outcome = suite.run(url, "--requirements", revision)
    failed = {name for name, passed in outcome.items() if not passed}
    assert failed - OF_THE_TRANSPORT == EXCLUDED[revision].keys() | UNSCORED[revision].keys()


@pytest.mark.parametrize("revision", WITHOUT_TEST_TOOLS)
def test_the_product_passes_what_needs_no_tools_of_the_suite(suite: Suite, revision: str) -> None:
    with started(*ours(), says=URL, stream="stderr") as url:
        outcome = suite.run(url, "--requirements", revision)
    assert {name: outcome.get(name) for name in WITHOUT_TEST_TOOLS[revision]} == dict.fromkeys(
        WITHOUT_TEST_TOOLS[revision], True
    )


def test_the_stable_release_agrees(suite: Suite) -> None:
    with started("tests.conformance_server", "http", says=URL, stream="stdout") as url:
        outcome = suite.run(url, "--spec-version", "2025-11-25", room=suite.stable)
    failed = {name for name, passed in outcome.items() if not passed}
    assert failed == EXCLUDED["2025-11-25"].keys()
