"""schemathesis reads /openapi.json, and asks what that allows and much that it does not: nothing is a fault of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.installed import ambient
from tests.peers_service.conftest import Service

pytestmark = pytest.mark.peers

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


def test_no_request_makes_a_server_error_and_all_is_as_it_is_described(
    service: Service, schemathesis: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(schemathesis.with_name("schemathesis"), "run", f"{service.url}/openapi.json"),
            *("-H", f"Authorization: Bearer {service.key}", "--checks", ",".join(CHECKS), "--max-examples", "40"),
            *("--seed", "1", "--no-color", "--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        env={**ambient("PATH", "LANG"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Test cases:" in done.stdout
