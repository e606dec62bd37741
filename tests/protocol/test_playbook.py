"""The playbook itself: it fails where it should."""

from __future__ import annotations

import pytest
from tests.playbook import Playbook, Remarked, Withdrawn, failure, handed, initialize, playbook, request, response
from tests.protocol.offering import FULL

from openai_gateway_mcp.protocol.events import ExtensionCalled, Level, ToolCalled
from openai_gateway_mcp.protocol.model import ExtensionResult


def test_a_playbook_with_an_unclaimed_line_fails() -> None:
    with pytest.raises(AssertionError, match="unclaimed lines"), playbook(FULL) as play:
        play >> request(1, "ping")


def test_a_playbook_with_an_unclaimed_event_fails() -> None:
    with pytest.raises(AssertionError, match="unclaimed events"), playbook(FULL) as play:
        play >> request(1, "tools/call", name="chat")


def test_a_line_has_to_be_claimed_before_the_next_step() -> None:
    play = Playbook(FULL) >> request(1, "ping")
    with pytest.raises(AssertionError, match="unclaimed lines"):
        play >> request(2, "ping")


@pytest.mark.parametrize(
    "expected",
    [response(1, {}), failure(1, -32601), handed(ToolCalled, 1), Withdrawn(1), Remarked(Level.DEBUG)],
    ids=lambda expected: type(expected).__name__,
)
def test_a_playbook_that_expects_more_than_comes_fails(expected: object) -> None:
    with pytest.raises(AssertionError):
        Playbook(FULL) << expected


@pytest.mark.parametrize("expected", [response("1", {}), response(1.0, {}), response(1, {"a": 1}), failure(1, -32601)])
def test_a_playbook_tells_a_different_answer(expected: object) -> None:
    with pytest.raises(AssertionError):
        Playbook(FULL) >> request(1, "ping") << expected


@pytest.mark.parametrize(
    "expected", [handed(ToolCalled, "1"), handed(ToolCalled, 1, name="other"), Withdrawn(1), Remarked(Level.DEBUG)]
)
def test_a_playbook_tells_a_different_event(expected: object) -> None:
    with pytest.raises(AssertionError):
        Playbook(FULL) >> request(1, "tools/call", name="chat") << expected


def test_a_message_outside_its_revisions_schema_fails() -> None:
    play = Playbook(FULL) >> request(1, "models/list") << handed(ExtensionCalled, 1)
    with pytest.raises(AssertionError, match="legacy results have no ttlMs"):
        play.answer(1, ExtensionResult(value={"ttlMs": 1}))


def test_a_message_is_judged_by_the_revision_that_was_negotiated() -> None:
    play = Playbook(FULL) >> initialize(0, "2024-11-05")
    play.result(0)
    play >> request(1, "models/list") << handed(ExtensionCalled, 1)
    with pytest.raises(AssertionError, match="exists since 2025-06-18"):
        play.answer(1, ExtensionResult(value={"structuredContent": {}}))
