"""Two eras in one process: how a request chooses its revision, and what each era answers."""

from __future__ import annotations

import pytest
from tests.playbook import (
    CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    SERVER_INFO,
    VERSION,
    Playbook,
    failure,
    handed,
    initialize,
    meta,
    modern,
    notification,
    request,
    response,
)
from tests.protocol.offering import HELLO, HELLO_LEGACY

from openai_gateway_mcp.protocol.errors import ResourceNotFound
from openai_gateway_mcp.protocol.events import Era, ResourceRead, ToolCalled
from openai_gateway_mcp.protocol.revisions import LEGACY, MODERN, REVISIONS

LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]
LEGACY_ONLY = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"]
MODERN_ONLY = ["server/discover", "subscriptions/listen"]


def test_five_revisions_are_spoken() -> None:
    assert LEGACY == ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    assert MODERN == ("2026-07-28",)
    assert set(REVISIONS) == {*LEGACY, *MODERN}


# --- opening and version --------------------------------------------------------------------------------------------


@pytest.mark.requirement("lifecycle/initialize-answered")
@pytest.mark.requirement("lifecycle/same-version")
@pytest.mark.parametrize("version", LEGACY)
def test_an_initialize_gets_the_legacy_revision_it_asks_for(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    result = play.result(0)
    assert result["protocolVersion"] == version
    assert result["serverInfo"]["name"] == "openai-gateway-mcp"
    assert result["serverInfo"]["version"] == "1.2.3"
    assert result["instructions"] == "Ask other models."
    assert "resultType" not in result
    assert "_meta" not in result


@pytest.mark.requirement("lifecycle/other-version")
@pytest.mark.parametrize("version", ["2026-07-28", "1900-01-01", "draft", ""])
def test_an_initialize_for_another_version_gets_the_newest_legacy_revision(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    assert play.result(0)["protocolVersion"] == "2025-11-25"


@pytest.mark.requirement("lifecycle/respect-version")
@pytest.mark.parametrize("version", LEGACY)
def test_a_legacy_call_is_made_in_the_negotiated_revision(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    play.result(0)
    play >> notification("notifications/initialized")
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    assert (play.calls[1].revision, play.calls[1].era) == (version, Era.LEGACY)
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)


def test_a_request_with_neither_initialize_nor_meta_is_served_by_the_newest_legacy_revision(play: Playbook) -> None:
    play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    assert play.calls[1].revision == "2025-11-25"
    play.answer(1, HELLO) << response(1, HELLO_LEGACY)


def test_a_second_initialize_settles_the_version_anew(play: Playbook) -> None:
    for version in ("2024-11-05", "2025-06-18"):
        play >> initialize(0, version)
        assert play.result(0)["protocolVersion"] == version
        play >> request(1, "tools/list")
        assert ("title" in play.result(1)["tools"][0]) is (version == "2025-06-18")


def test_a_call_keeps_the_revision_it_was_made_in(play: Playbook) -> None:
    play >> request(1, "resources/read", uri="x") << handed(ResourceRead, 1)
    play >> initialize(0, "2024-11-05")
    play.result(0)
    assert play.calls[1].revision == "2025-11-25"
    play.fail(1, ResourceNotFound("x")) << failure(1, -32002)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"protocolVersion": None},
        {"protocolVersion": 20251125},
        {"protocolVersion": "2025-11-25", "capabilities": []},
        {"protocolVersion": "2025-11-25", "clientInfo": "me"},
    ],
)
def test_an_initialize_without_sense_is_refused(play: Playbook, params: dict[str, object]) -> None:
    play >> request(0, "initialize", **params) << failure(0, -32602)


def test_an_initialize_needs_no_more_than_a_version(play: Playbook) -> None:
    play >> request(0, "initialize", protocolVersion="2025-06-18")
    assert play.result(0)["protocolVersion"] == "2025-06-18"


# --- modern _meta ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("base/patterns")
@pytest.mark.requirement("base/stateless")
def test_a_modern_request_needs_no_opening(play: Playbook) -> None:
    play >> modern(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    assert (play.calls[1].revision, play.calls[1].era) == ("2026-07-28", Era.MODERN)
    assert play.calls[1].meta == meta()
    play.answer(1, HELLO)
    assert play.result(1)["resultType"] == "complete"


@pytest.mark.requirement("base/meta-assumptions")
@pytest.mark.requirement("base/missing-meta")
@pytest.mark.parametrize("method", ["tools/list", "tools/call", "server/discover", "subscriptions/listen"])
@pytest.mark.parametrize(
    "broken",
    [
        {CAPABILITIES: None},
        {CAPABILITIES: []},
        {CAPABILITIES: "all"},
        {VERSION: None},
        {VERSION: 20260728},
        {CLIENT_INFO: "me"},
        {CLIENT_INFO: None},
    ],
)
def test_malformed_modern_meta_is_refused(play: Playbook, method: str, broken: dict[str, object]) -> None:
    play >> request(1, method, _meta={**meta(), **broken}) << failure(1, -32602)


@pytest.mark.requirement("base/missing-meta")
def test_modern_meta_without_capabilities_is_refused(play: Playbook) -> None:
    incomplete = meta()
    del incomplete[CAPABILITIES]
    play >> request(1, "tools/list", _meta=incomplete) << failure(1, -32602, CAPABILITIES)


@pytest.mark.requirement("logging/level-unknown")
@pytest.mark.parametrize(
    "method", ["tools/list", "tools/call", "models/list", "server/discover", "subscriptions/listen"]
)
@pytest.mark.parametrize("level", ["loud", "DEBUG", "warn", "", None, 3, [], {}])
def test_a_request_for_log_messages_of_no_level_is_refused(play: Playbook, method: str, level: object) -> None:
    params = {"name": "chat", "notifications": {}}
    play >> request(1, method, _meta=meta() | {LOG_LEVEL: level}, **params) << failure(1, -32602, LOG_LEVEL)


@pytest.mark.parametrize(
    "level", ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
)  # fmt: skip
def test_a_request_for_log_messages_of_a_level_is_served_like_any_other(play: Playbook, level: str) -> None:
    play >> modern(1, "tools/list")
    usual = play.result(1)
    play >> request(2, "tools/list", _meta=meta() | {LOG_LEVEL: level}) << response(2, usual)


def test_in_the_legacy_era_a_log_level_is_not_for_meta_to_say(play: Playbook) -> None:
    play >> request(1, "ping", _meta={LOG_LEVEL: "loud"}) << response(1, {})


@pytest.mark.requirement("base/client-info")
@pytest.mark.parametrize("method", ["server/discover", *LISTS])
def test_what_a_client_says_of_itself_changes_nothing(play: Playbook, method: str) -> None:
    play >> modern(1, method)
    usual = play.result(1)
    for name in ("claude-code", "openai-gateway-mcp", ""):
        play >> request(2, method, _meta=meta() | {CLIENT_INFO: {"name": name, "version": "0"}})
        assert play.result(2) == usual


@pytest.mark.requirement("base/client-info")
def test_modern_meta_needs_no_client_info(play: Playbook) -> None:
    anonymous = meta()
    del anonymous[CLIENT_INFO]
    play >> request(1, "tools/list", _meta=anonymous)
    assert play.result(1)["resultType"] == "complete"


@pytest.mark.requirement("base/meta-assumptions")
@pytest.mark.requirement("legacy/meta")
@pytest.mark.parametrize("method", ["tools/list", "ping", "tools/call", "models/list"])
@pytest.mark.parametrize("value", [[], "x", 1, True])
def test_meta_that_is_no_object_is_refused(play: Playbook, method: str, value: object) -> None:
    play >> request(1, method, _meta=value) << failure(1, -32602, "_meta")


@pytest.mark.requirement("base/missing-meta")
@pytest.mark.requirement("discover/implemented")
@pytest.mark.parametrize("method", MODERN_ONLY)
@pytest.mark.parametrize("params", [{}, {"_meta": {}}, {"_meta": {"progressToken": 1}}])
def test_the_modern_methods_without_modern_meta_lack_their_params(
    play: Playbook, method: str, params: dict[str, object]
) -> None:
    play >> request(1, method, **params) << failure(1, -32602, VERSION)


@pytest.mark.requirement("versioning/unsupported")
@pytest.mark.parametrize("version", [*LEGACY, "1900-01-01", "2099-01-01", ""])
@pytest.mark.parametrize("method", ["server/discover", "tools/call", "no/such"])
def test_an_unsupported_version_is_answered_with_the_modern_ones(play: Playbook, version: str, method: str) -> None:
    data = {"supported": ["2026-07-28"], "requested": version}
    play >> request(1, method, _meta=meta(version)) << failure(1, -32022, data=data)


@pytest.mark.requirement("base/stateless")
@pytest.mark.requirement("versioning/eras-by-opening")
def test_both_eras_interleave_on_one_connection(play: Playbook) -> None:
    play >> modern("d", "server/discover")
    play.result("d")
    play >> initialize(0, "2024-11-05")
    assert play.result(0)["protocolVersion"] == "2024-11-05"
    play >> modern(1, "tools/call", name="chat") << handed(ToolCalled, 1)
    play >> request(2, "tools/call", name="chat") << handed(ToolCalled, 2)
    assert [play.calls[n].revision for n in (1, 2)] == ["2026-07-28", "2024-11-05"]
    play.answer(2, HELLO) << response(2, HELLO_LEGACY)
    play.answer(1, HELLO)
    assert play.result(1).keys() == {"content", "isError", "resultType", "_meta"}
    play >> request(3, "ping") << response(3, {})
    play >> modern(4, "ping") << failure(4, -32601)


# --- discovery ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("base/server-info")
@pytest.mark.requirement("versioning/discover")
@pytest.mark.requirement("discover/implemented")
@pytest.mark.requirement("tools/capability")
@pytest.mark.requirement("resources/capability")
@pytest.mark.requirement("prompts/capability")
@pytest.mark.requirement("completion/capability")
def test_discovery_tells_versions_capabilities_and_identity(play: Playbook) -> None:
    (
        play
        >> modern("probe", "server/discover")
        << response(
            "probe",
            {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {
                    "tools": {"listChanged": True},
                    "prompts": {"listChanged": True},
                    "resources": {"listChanged": True},
                    "completions": {},
                },
                "instructions": "Ask other models.",
                "ttlMs": 60_000,
                "cacheScope": "public",
                "resultType": "complete",
                "_meta": {
                    SERVER_INFO: {"name": "openai-gateway-mcp", "title": "OpenAI gateway", "version": "1.2.3"},
                },
            },
        )
    )


# --- methods of one era ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LEGACY_ONLY)
def test_what_the_modern_era_removed_is_an_unknown_method_there(play: Playbook, method: str) -> None:
    params = {"protocolVersion": "2025-11-25", "level": "info", "uri": "openai://models"}
    play >> modern(1, method, **params) << failure(1, -32601, data={"era": "modern"})


@pytest.mark.requirement("ping/answered")
@pytest.mark.parametrize("version", LEGACY)
def test_the_legacy_era_answers_ping_and_the_calls_that_have_no_effect(play: Playbook, version: str) -> None:
    play >> initialize(0, version)
    play.result(0)
    play >> request("ping-1", "ping") << response("ping-1", {})
    play >> request(1, "logging/setLevel", level="warning") << response(1, {})
    play >> request(2, "resources/subscribe", uri="openai://models") << response(2, {})
    play >> request(3, "resources/unsubscribe", uri="openai://models") << response(3, {})


@pytest.mark.requirement("legacy/log-level")
@pytest.mark.parametrize("level", ["loud", "DEBUG", "", None, 3])
def test_a_log_level_that_is_none_is_refused(play: Playbook, level: object) -> None:
    play >> request(1, "logging/setLevel", level=level) << failure(1, -32602, "level")


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
def test_a_subscription_without_a_uri_is_refused(play: Playbook, method: str) -> None:
    play >> request(1, method) << failure(1, -32602, "uri")


@pytest.mark.parametrize("message", [request(1, "no/such"), request(1, ""), request(1, "rpc.discover")])
def test_an_unknown_method_is_told_so_with_its_era(play: Playbook, message: object) -> None:
    play >> message << failure(1, -32601, "Method not found", data={"era": "legacy"})


def test_an_unknown_method_is_quoted_without_control_characters_and_not_at_length(play: Playbook) -> None:
    play >> modern(1, "\x1b[31m\n" + "x" * 10_000)
    message = play.line()["error"]["message"]
    assert "\x1b" not in message
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize("method", ["notifications/cancelled", "notifications/initialized"])
def test_a_notification_method_with_an_id_is_an_unknown_request(play: Playbook, method: str) -> None:
    play >> request(1, method) << failure(1, -32601)


# --- what results carry ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("base/server-info")
@pytest.mark.requirement("base/result-type")
@pytest.mark.requirement("caching/hints")
@pytest.mark.requirement("caching/ttl")
@pytest.mark.parametrize("method", [*LISTS, "server/discover"])
def test_modern_lists_are_complete_and_cacheable_and_name_the_server(play: Playbook, method: str) -> None:
    play >> modern(1, method)
    result = play.result(1)
    assert result["resultType"] == "complete"
    assert result["_meta"][SERVER_INFO]["name"] == "openai-gateway-mcp"
    assert (result["ttlMs"], result["cacheScope"]) == (60_000, "public")


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize("method", LISTS)
def test_legacy_lists_carry_nothing_of_the_modern_era(play: Playbook, version: str, method: str) -> None:
    play >> initialize(0, version)
    play.result(0)
    play >> request(1, method)
    assert len(play.result(1)) == 1


@pytest.mark.requirement("base/retired-codes")
@pytest.mark.requirement("resources/not-found")
@pytest.mark.requirement("resources/legacy-not-found")
def test_a_missing_resource_has_a_code_of_its_own_in_each_era(play: Playbook) -> None:
    data = {"uri": "openai://models/nope"}
    play >> request(1, "resources/read", uri="openai://models/nope") << handed(ResourceRead, 1)
    play.fail(1, ResourceNotFound("openai://models/nope")) << failure(1, -32002, "not found", data=data)
    play >> modern(1, "resources/read", uri="openai://models/nope") << handed(ResourceRead, 1)
    play.fail(1, ResourceNotFound("openai://models/nope")) << failure(1, -32602, "not found", data=data)
