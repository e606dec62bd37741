"""What several modules of this room need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway_net.certificates import CA


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    """The file of the authority that the tests' servers have their certificates of."""
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")
