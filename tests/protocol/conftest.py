"""The playbook that most of these tests are written in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.playbook import Playbook, playbook
from tests.protocol.offering import FULL


@pytest.fixture
def play() -> Iterator[Playbook]:
    """A fresh conversation with a server that offers everything; it has to be finished when the test ends."""
    with playbook(FULL) as play:
        yield play
