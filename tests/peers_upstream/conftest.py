"""The upstreams, started once a run; a peer that cannot be had is said in one loud line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import installed
from tests.installed import LITELLM, LLAMA_CPP, Peer
from tests.peers_upstream import upstreams
from tests.peers_upstream.upstreams import NotStarted, Upstream


@pytest.fixture(scope="session")
def pythons() -> dict[str, Path | str]:
    return installed.install_all([LLAMA_CPP, LITELLM])


def _python_of(peer: Peer, pythons: dict[str, Path | str]) -> Path:
    python = pythons[peer.name]
    if isinstance(python, str):
        installed.missing(peer, python)
    return python


@pytest.fixture(scope="session")
def llama_cpp(pythons: dict[str, Path | str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    try:
        with upstreams.llama_cpp(_python_of(LLAMA_CPP, pythons), tmp_path_factory.mktemp("llama")) as upstream:
            yield upstream
    except NotStarted as error:
        installed.missing(LLAMA_CPP, str(error))


@pytest.fixture(scope="session")
def litellm(
    llama_cpp: Upstream, pythons: dict[str, Path | str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upstream]:
    try:
        with upstreams.litellm(_python_of(LITELLM, pythons), tmp_path_factory.mktemp("litellm"), llama_cpp) as upstream:
            yield upstream
    except NotStarted as error:
        installed.missing(LITELLM, str(error))


@pytest.fixture(params=["llama_cpp", "litellm"])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    """Each real upstream in turn."""
    chosen: Upstream = request.getfixturevalue(request.param)
    return chosen
