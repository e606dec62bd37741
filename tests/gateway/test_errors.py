"""The one shape of the gateway's errors."""

from __future__ import annotations

import pytest

from openai_gateway.errors import GatewayError, Kind


@pytest.mark.parametrize(
    ("message", "hint", "shown"),
    [
        ("It broke", "", "It broke"),
        ("It broke", "Mend it.", "It broke. Mend it."),
        ("It broke.", "Mend it.", "It broke. Mend it."),
        ("It broke: why…", "Mend it.", "It broke: why… Mend it."),
    ],
)
def test_the_message_ends_before_the_hint_begins(message: str, hint: str, shown: str) -> None:
    assert str(GatewayError(kind=Kind.UPSTREAM, message=message, hint=hint)) == shown
