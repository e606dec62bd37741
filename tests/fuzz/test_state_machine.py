"""The state machine, run on the connection."""

from __future__ import annotations

from tests.fuzz.machine import Conversations


class Healthy(Conversations):
    fuzzed = "state machine"


TestConversations = Healthy.TestCase
