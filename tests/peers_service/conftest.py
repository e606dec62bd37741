"""Programs of others in front of the service, and the service itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests import installed
from tests.gateway_service.process import configuration, made_key, served
from tests.installed import LITELLM, SCHEMATHESIS, Peer
from tests.peers import fake_upstream


@attrs.frozen(kw_only=True)
class Service:
    """`url` is without /v1; the key is an admin's."""

    url: str
    key: str


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with fake_upstream.running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        key = made_key(tmp_path, "--admin")
        with served(tmp_path, "--config", str(config)) as started:
            yield Service(url=started.url, key=key)
            assert started.stop() == 0


@pytest.fixture(scope="session")
def pythons() -> dict[str, Path | str]:
    return installed.install_all([LITELLM, SCHEMATHESIS])


def _python_of(peer: Peer, pythons: dict[str, Path | str]) -> Path:
    python = pythons[peer.name]
    if isinstance(python, str):
        installed.missing(peer, python)
    return python


@pytest.fixture
def litellm(pythons: dict[str, Path | str]) -> Path:
    return _python_of(LITELLM, pythons)


@pytest.fixture
def schemathesis(pythons: dict[str, Path | str]) -> Path:
    return _python_of(SCHEMATHESIS, pythons)
