"""`subscriptions/listen`: acknowledged first, tagged always, ended with a farewell; and the legacy era's notices."""

from __future__ import annotations

import attrs
import pytest
from tests.playbook import (
    EOF,
    SERVER_INFO,
    SUBSCRIPTION_ID,
    Json,
    Playbook,
    Remarked,
    cancel,
    failure,
    handed,
    initialize,
    modern,
    notification,
    playbook,
    request,
    response,
)
from tests.protocol.offering import BARE, FULL, HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.errors import OVERLOADED
from openai_gateway_mcp.protocol.events import Level, ToolCalled

ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
TOOLS = {"toolsListChanged": True}
INFO = {"name": "openai-gateway-mcp", "title": "OpenAI gateway", "version": "1.2.3"}
FEWER_TOOLS = attrs.evolve(FULL, tools=FULL.tools[:1])


def listen(id_: Json, **wanted: Json) -> Json:
    return modern(id_, "subscriptions/listen", notifications=wanted)


def tagged(id_: Json, method: str, **params: Json) -> Json:
    return notification(method, **params, _meta={SUBSCRIPTION_ID: id_})


def acknowledged(id_: Json, **granted: Json) -> Json:
    return tagged(id_, "notifications/subscriptions/acknowledged", notifications=granted)


def farewell(id_: Json) -> tuple[Json, Json]:
    notice = tagged(id_, "notifications/cancelled", requestId=id_)
    result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: id_, SERVER_INFO: INFO}}
    return notice, response(id_, result)


def changed(name: str) -> str:
    return f"notifications/{name}/list_changed"


# --- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("base/patterns")
@pytest.mark.requirement("base/subscription-id")
@pytest.mark.requirement("subscriptions/acknowledged-first")
@pytest.mark.parametrize("id_", [1, 0, "1", "", 2**70])
def test_a_listen_is_acknowledged_first_under_its_own_id(play: Playbook, id_: int | str) -> None:
    play >> listen(id_, **TOOLS) << acknowledged(id_, **TOOLS)
    play.offer(FEWER_TOOLS) << tagged(id_, changed("tools"))


@pytest.mark.parametrize(
    ("wanted", "granted"),
    [
        ({}, {}),
        ({"toolsListChanged": False}, {}),
        ({"toolsListChanged": True, "promptsListChanged": False}, TOOLS),
        (ALL, ALL),
        ({"resourceSubscriptions": ["openai://models"], **TOOLS}, TOOLS),
        ({"resourceSubscriptions": []}, {}),
        ({"somethingNew": True}, {}),
    ],
)
def test_the_acknowledgement_tells_what_is_granted(play: Playbook, wanted: Json, granted: Json) -> None:
    play >> listen(1, **wanted) << acknowledged(1, **granted)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"notifications": []},
        {"notifications": "all"},
        {"notifications": {"toolsListChanged": "yes"}},
        {"notifications": {"toolsListChanged": 1}},
        {"notifications": {"promptsListChanged": None}},
        {"notifications": {"resourceSubscriptions": "openai://models"}},
        {"notifications": {"resourceSubscriptions": [1]}},
        {"notifications": {"resourceSubscriptions": None}},
    ],
)
def test_a_malformed_listen_is_refused(play: Playbook, params: dict[str, Json]) -> None:
    play >> modern(1, "subscriptions/listen", **params) << failure(1, -32602, "notifications")
    play.offer(FEWER_TOOLS)


def test_a_listen_takes_its_id(play: Playbook) -> None:
    play >> listen(1, **TOOLS) << acknowledged(1, **TOOLS)
    play >> listen(1, **ALL) << failure(1, -32600, "in flight")
    play >> request(1, "ping") << failure(1, -32600, "in flight")
    play >> listen("1") << acknowledged("1")


def test_at_most_64_listens_are_open(play: Playbook) -> None:
    for id_ in range(64):
        play >> listen(id_) << acknowledged(id_)
    play >> listen(64) << failure(64, OVERLOADED, "64")
    play >> cancel(7)
    play >> listen(64) << acknowledged(64)


def test_a_listen_is_no_call_in_flight() -> None:
    with playbook(FULL, max_in_flight=1, max_parked=0) as play:
        play >> listen("a") << acknowledged("a")
        assert play.connection.calls_in_flight == 0
        play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
        play >> request(2, "tools/call", name="chat") << failure(2, OVERLOADED)
        play >> listen("b") << acknowledged("b")


# --- notices --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools/list-changed")
@pytest.mark.requirement("base/subscription-id")
@pytest.mark.requirement("subscriptions/only-requested")
def test_each_listen_gets_what_it_asked_for_and_nothing_else(play: Playbook) -> None:
    play >> listen("t", toolsListChanged=True) << acknowledged("t", toolsListChanged=True)
    play >> listen("pr", promptsListChanged=True, resourcesListChanged=True)
    play << acknowledged("pr", promptsListChanged=True, resourcesListChanged=True)
    play >> listen("none") << acknowledged("none")
    play.offer(FEWER_TOOLS) << tagged("t", changed("tools"))
    play.offer(attrs.evolve(FEWER_TOOLS, prompts=())) << tagged("pr", changed("prompts"))
    play.offer(attrs.evolve(FEWER_TOOLS, prompts=(), resources=())) << tagged("pr", changed("resources"))
    play >> modern(1, "tools/list")
    assert [tool["name"] for tool in play.result(1)["tools"]] == ["chat"]


@pytest.mark.requirement("tools/list-changed")
@pytest.mark.requirement("resources/list-changed")
@pytest.mark.requirement("prompts/list-changed")
def test_a_change_of_everything_is_told_list_by_list(play: Playbook) -> None:
    play >> listen(1, **ALL) << acknowledged(1, **ALL)
    play.offer(BARE)
    for name in ("tools", "prompts", "resources"):
        play << tagged(1, changed(name))


def test_the_same_offer_again_is_no_change(play: Playbook) -> None:
    play >> listen(1, **ALL) << acknowledged(1, **ALL)
    play.offer(attrs.evolve(FULL, instructions="new"))
    play >> modern(2, "server/discover")
    assert play.result(2)["instructions"] == "new"


@pytest.mark.requirement("tools/list-answered")
@pytest.mark.requirement("resources/list-answered")
@pytest.mark.requirement("prompts/list-answered")
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
def test_a_list_is_new_after_a_new_offer(play: Playbook, method: str) -> None:
    for build in (request, modern):
        play >> build(1, method)
        (key,) = play.result(1).keys() - {"ttlMs", "cacheScope", "resultType", "_meta"}
        play.offer(BARE)
        play >> build(1, method)
        assert play.result(1)[key] == []
        play.offer(FULL)


@pytest.mark.requirement("lifecycle/no-early-requests")
@pytest.mark.requirement("legacy/list-changed")
def test_a_legacy_client_is_told_of_changes_once_it_is_initialized(play: Playbook) -> None:
    play.offer(FEWER_TOOLS)
    play >> initialize(0)
    play.result(0)
    play.offer(FULL)
    play >> notification("notifications/initialized")
    play.offer(FEWER_TOOLS) << notification(changed("tools"))
    play.offer(BARE)
    for name in ("tools", "prompts", "resources"):
        play << notification(changed(name))


@pytest.mark.requirement("legacy/list-changed")
def test_both_eras_are_told_each_in_its_way(play: Playbook) -> None:
    play >> notification("notifications/initialized")
    play >> listen("l", **TOOLS) << acknowledged("l", **TOOLS)
    play.offer(FEWER_TOOLS) << notification(changed("tools")) << tagged("l", changed("tools"))


def test_what_nobody_asked_for_is_no_response(play: Playbook) -> None:
    play >> notification("notifications/initialized")
    play >> listen("l", **TOOLS) << acknowledged("l", **TOOLS)
    play.connection.offer(FEWER_TOOLS)
    told = play.connection.messages_to_send()
    assert [(one.is_response, one.code) for one in told] == [(False, None), (False, None)]
    play.connection.close()
    assert [one.is_response for one in play.connection.messages_to_send()] == [False, True]


# --- the end of a listen --------------------------------------------------------------------------------------------


@pytest.mark.requirement("cancellation/nothing-more")
def test_a_cancelled_listen_ends_without_a_word(play: Playbook) -> None:
    play >> listen(1, **TOOLS) << acknowledged(1, **TOOLS)
    play >> cancel(1)
    play.offer(FEWER_TOOLS)
    play >> cancel(1) << Remarked(Level.DEBUG, "not in flight")
    play >> listen(1, **TOOLS) << acknowledged(1, **TOOLS)


@pytest.mark.requirement("subscriptions/graceful")
@pytest.mark.requirement("cancellation/listen-teardown")
@pytest.mark.requirement("cancellation/server-sent")
def test_at_the_end_of_input_every_listen_gets_its_farewell(play: Playbook) -> None:
    play >> listen("a") << acknowledged("a")
    play >> listen(2, **ALL) << acknowledged(2, **ALL)
    play >> EOF
    for id_ in ("a", 2):
        notice, result = farewell(id_)
        play << notice << result
    play.offer(FEWER_TOOLS)


def test_the_farewell_does_not_wait_for_the_calls() -> None:
    with playbook(FULL, max_in_flight=1) as play:
        play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
        play >> request(2, "tools/call", name="chat")
        play >> listen("a") << acknowledged("a")
        play >> EOF
        notice, result = farewell("a")
        play << notice << result
        play.answer(1, HELLO) << response(1, HELLO_LEGACY) << handed(ToolCalled, 2)


@pytest.mark.requirement("cancellation/listen-teardown")
@pytest.mark.requirement("cancellation/server-sent")
def test_when_we_close_every_listen_gets_its_farewell_and_the_calls_do_not(play: Playbook) -> None:
    play >> listen("a", **ALL) << acknowledged("a", **ALL)
    play >> modern(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    notice, result = farewell("a")
    play.close() << notice << result
    play.answer(1, HELLO)
