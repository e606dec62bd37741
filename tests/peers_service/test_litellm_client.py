"""LiteLLM's client works against the service, and raises its own errors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.installed import ambient
from tests.peers_service.conftest import Service
from tests.peers_upstream.upstreams import SEALED

pytestmark = pytest.mark.peers

SCRIPT = Path(__file__).with_name("litellm_client.py")


def test_it_is_answered_whole_and_streamed_and_told_what_is_wrong(service: Service, litellm: Path) -> None:
    done = subprocess.run(
        [litellm, SCRIPT, service.url, service.key],
        env={**ambient("PATH"), **SEALED},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "whole": "Hello!",
        "tokens": 5,
        "streamed": "Hello!",
        "errors": ["AuthenticationError", "NotFoundError", "BadRequestError"],
    }
