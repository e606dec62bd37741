"""Progress: only where it is wanted, only upwards, only while the call is open."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from tests.playbook import Json, Playbook, failure, handed, initialize, meta, modern, notification, request, response
from tests.protocol.offering import HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.errors import LocalProtocolError
from openai_gateway_mcp.protocol.events import ToolCalled
from openai_gateway_mcp.protocol.revisions import REVISIONS


def progress(token: int | str, value: float, **more: Json) -> Json:
    return notification("notifications/progress", progressToken=token, progress=value, **more)


def opened(play: Playbook, version: str, token: Json = "t") -> Playbook:
    """A call with a progress token, made in this revision."""
    if version == "2026-07-28":
        message = modern(1, "tools/call", name="chat", _meta=meta(progressToken=token))
    else:
        play >> initialize(0, version)
        play.result(0)
        message = request(1, "tools/call", name="chat", _meta={"progressToken": token})
    play >> message << handed(ToolCalled, 1)
    return play


@pytest.mark.requirement("progress/active-token")
@pytest.mark.requirement("progress/legacy-increases")
@pytest.mark.parametrize("version", REVISIONS)
@pytest.mark.parametrize("token", ["t", "", 0, 7, -1, 2**70])
def test_progress_goes_out_under_the_clients_token(play: Playbook, version: str, token: int | str) -> None:
    opened(play, version, token)
    assert play.calls[1].wants_progress
    play.progress(1, 1) << progress(token, 1)
    play.progress(1, 2.5, 10) << progress(token, 2.5, total=10)


@pytest.mark.requirement("progress/message")
@pytest.mark.parametrize("version", REVISIONS)
def test_a_message_goes_with_progress_from_2025_03_26_on(play: Playbook, version: str) -> None:
    opened(play, version)
    more = {} if version == "2024-11-05" else {"message": "thinking"}
    play.progress(1, 1, message="thinking") << progress("t", 1, **more)


@pytest.mark.requirement("progress/active-token")
@pytest.mark.parametrize("build", [request, modern])
def test_without_a_token_there_is_no_progress(play: Playbook, build: Callable[..., Json]) -> None:
    play >> build(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    assert not play.calls[1].wants_progress
    play.progress(1, 1, 2, "nobody hears it")


@pytest.mark.requirement("progress/token-type")
@pytest.mark.parametrize("token", [None, True, 1.5, [], {}])
@pytest.mark.parametrize("build_meta", [dict, meta])
def test_a_token_that_is_neither_string_nor_integer_is_refused(
    play: Playbook, token: Json, build_meta: Callable[..., Json]
) -> None:
    message = request(1, "tools/call", name="chat", _meta=build_meta(progressToken=token))
    play >> message << failure(1, -32602, "progressToken")


def test_progress_is_no_response(play: Playbook) -> None:
    opened(play, "2025-11-25")
    play.connection.progress(play.calls[1], 1)
    assert [one.is_response for one in play.connection.messages_to_send()] == [False]


@pytest.mark.requirement("progress/increases")
@pytest.mark.requirement("progress/legacy-increases")
@pytest.mark.parametrize("version", REVISIONS)
def test_progress_only_ever_grows(play: Playbook, version: str) -> None:
    opened(play, version)
    play.progress(1, -1) << progress("t", -1)
    play.progress(1, 0) << progress("t", 0)
    play.progress(1, 0)
    play.progress(1, -0.5, message="steps back")
    play.progress(1, 0.25) << progress("t", 0.25)
    play.progress(1, 0.25, total=1)


@pytest.mark.requirement("tasks/no-progress")
@pytest.mark.requirement("progress/stops")
@pytest.mark.requirement("progress/legacy-stops")
def test_no_progress_follows_the_answer(play: Playbook) -> None:
    opened(play, "2025-11-25")
    play.progress(1, 1) << progress("t", 1)
    play.connection.answer(play.calls[1], HELLO)
    play.connection.progress(play.calls[1], 2)
    play.pump() << response(1, HELLO_LEGACY)
    play.finish(1)


def test_progress_and_answer_go_out_in_the_order_they_were_made(play: Playbook) -> None:
    opened(play, "2025-11-25")
    play.connection.progress(play.calls[1], 1)
    play.connection.progress(play.calls[1], 2)
    play.answer(1, HELLO) << progress("t", 1) << progress("t", 2) << response(1, HELLO_LEGACY)


def test_two_calls_count_their_progress_apart(play: Playbook) -> None:
    for id_ in (1, 2):
        play >> request(id_, "tools/call", name="chat", _meta={"progressToken": f"t{id_}"})
        play << handed(ToolCalled, id_)
    play.progress(1, 5) << progress("t1", 5)
    play.progress(2, 3) << progress("t2", 3)


@pytest.mark.parametrize(("value", "total"), [(math.nan, None), (math.inf, None), (1, math.nan), (1, -math.inf)])
def test_progress_is_a_finite_number(play: Playbook, value: float, total: float | None) -> None:
    opened(play, "2025-11-25")
    with pytest.raises(LocalProtocolError, match="finite"):
        play.progress(1, value, total)
    play.progress(1, 0, 0) << progress("t", 0, total=0)
