"""Whether the run's examples met all that there is to meet; the conftest puts it last."""

from __future__ import annotations

import pytest

from tests.fuzz.census import CENSUS

PROPERTIES = {"any bytes", "cuts", "realistic", "damaged", "state machine", "schemas"}


def test_every_event_and_every_error_code_was_reached() -> None:
    if PROPERTIES - set(CENSUS.examples):
        pytest.skip("only a part of the fuzz tests ran")
    assert CENSUS.missing() == []
