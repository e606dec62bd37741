"""Real MCP clients play a whole session with our installed command over stdio (PROTOCOL: "Facts from the wire")."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.fake_upstream import Manner
from tests.peers.peers import Client
from tests.peers.playing import Played, Runtime, play
from tests.schema_oracle import MODERN

# The first test waits for the installations, which have their own bound.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(func_only=True)]

SIGTERM_EXIT = 143


def test_the_client_ends_up_with_the_revision_it_is_meant_to_speak(client: Client, played: Played) -> None:
    assert played.report["version"] == client.revision


def test_the_client_sees_all_that_is_offered(client: Client, played: Played) -> None:
    report = played.report
    if client.asks:
        assert report["server"] == "openai-gateway-mcp"
        assert "chat" in report["instructions"]
    assert report["tools"] == ["chat", "list_models", "compare_models"]
    assert report["resources"] == ["openai://models"]
    assert report["templates"] == ["openai://models/{id}"]
    assert "ask" in report["prompts"]
    assert "Why?" in report["prompt"]


def test_the_client_learns_which_models_the_upstream_has(client: Client, played: Played) -> None:
    names = {manner.value for manner in Manner}
    assert all(name in played.report["read"] for name in names)
    assert played.report["completed"] == ["echo"]
    if client.revision >= "2025-06-18":  # older ones have no structured content
        assert {model["id"] for model in played.report["listed"]["models"]} == names


def test_chat_answers_with_the_upstreams_words(played: Played) -> None:
    assert played.report["chat"] == {"text": "Hello ✓", "is_error": False}


def test_a_refusal_of_the_upstream_is_a_result_to_read(played: Played) -> None:
    assert played.report["refused"]["is_error"]
    assert "This model refuses" in played.report["refused"]["text"]


def test_progress_reaches_the_client_while_the_call_runs(client: Client, played: Played) -> None:
    """The upstream ends its answer only when the client has two reports: they cannot have come with the answer."""
    first, second, *_ = played.report["progress"]
    assert first["progress"] < second["progress"]
    assert bool(first.get("message")) is (client.revision >= "2025-03-26")
    assert set(played.report["dripped"]["text"].split()) == {"drop"}


@pytest.mark.parametrize("model", ["mute", "stuck"])
def test_a_cancelled_call_closes_the_upstream_connection_while_the_session_goes_on(model: str, played: Played) -> None:
    """The upstream never answers: its caller can only have left. The client saw that before it went on and closed."""
    assert [entry.kind.value for entry in played.journal if entry.model == model] == ["asked", "gone"]
    assert {"model": model, "answers": []} in played.report["cancelled"]
    assert played.journal[-1].model == "echo"
    assert played.report["alive"] == {"text": "Still there?", "is_error": False}


def test_a_modern_client_opens_a_subscription_and_closes_it_and_the_session_goes_on(
    client: Client, played: Played
) -> None:
    listens = [line for line in played.session.client_lines() if '"subscriptions/listen"' in line]
    assert len(listens) == (1 if client.revision in MODERN else 0)
    assert ("honored" in played.report) is (client.revision in MODERN)


def test_neither_the_client_nor_our_server_has_anything_to_complain_of(played: Played) -> None:
    assert played.report["complaints"] == []
    assert played.report.get("faults", []) == []
    assert played.client_log == ""
    assert played.server_log == ""


def test_every_line_our_server_sent_is_valid_in_the_revision_in_use(played: Played) -> None:
    for session in played.sessions:
        session.judge()
    assert played.session.judged >= 12


def test_our_server_ends_by_itself_when_the_client_closes(client: Client, played: Played) -> None:
    assert played.session.exit_code in ({0, SIGTERM_EXIT} if client.kills else {0})
    twins = {session.exit_code for session in played.sessions[1:]}
    assert twins <= {0, SIGTERM_EXIT, None}, "a twin is told to go by SIGTERM"


def test_the_client_talks_to_the_embedded_echo_model_with_nothing_in_between(
    client: Client, runtime: Runtime, tmp_path: Path
) -> None:
    played = play(client, runtime, tmp_path, upstream=None)
    assert played.report["version"] == client.revision
    assert played.report["chat"]["text"].endswith("Hello ✓")
    assert played.report["completed"] == ["echo"]
    assert played.report["complaints"] == []
    assert played.client_log == ""
    assert played.server_log == ""
