"""The playbook that most of these tests are written in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.playbook import Playbook, playbook
from tests.protocol.offering import FULL

from openai_gateway_mcp.protocol import dress


@pytest.fixture(autouse=True)
def _no_list_is_left_from_another_test() -> None:
    """Lists are encoded once for all connections: without this only the first test to ask for one would look at it."""
    dress.list_bytes.cache_clear()


@pytest.fixture
def play() -> Iterator[Playbook]:
    """A fresh conversation with a server that offers everything; it has to be finished when the test ends."""
    with playbook(FULL) as play:
        yield play
