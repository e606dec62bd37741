"""What holds for every line of a whole conversation, in every revision: the playbook's judge reads each one."""

from __future__ import annotations

import pytest
from tests.playbook import Json, Playbook, cancel, initialize, meta, modern, notification, playbook, request
from tests.protocol.offering import BARE, FULL, HELLO

from openai_gateway_mcp.protocol import errors
from openai_gateway_mcp.protocol.errors import Fault, ResourceNotFound
from openai_gateway_mcp.protocol.model import Result
from openai_gateway_mcp.protocol.revisions import REVISIONS

# The specification's own codes of its reserved range; anything else in it must not be sent.
DEFINED = {-32020, -32021, -32022}


def conversation(version: str) -> list[Json]:
    """Every line out of a conversation that touches every method of the revision, and every way it can go wrong."""
    play = Playbook(FULL)
    lines: list[Json] = []

    def say(message: Json) -> None:
        play >> message
        lines.extend(play.everything())

    is_modern = version == "2026-07-28"
    ask = modern if is_modern else request
    if not is_modern:
        say(initialize(0, version))
        say(notification("notifications/initialized"))
    for id_, method in enumerate(sorted(REVISIONS[version].methods | {"models/list", "no/such"}), 1):
        say(ask(id_, method))
        say(ask(f"{id_}-cursor", method, cursor="x", level="info", uri="a:b", notifications={"toolsListChanged": True}))
    token = meta(progressToken="t") if is_modern else {"progressToken": "t"}
    outcomes: list[Result | Fault | ResourceNotFound] = [HELLO, Fault(1002, "limited"), ResourceNotFound("a:b")]
    for id_, outcome in enumerate(outcomes, 100):
        say(ask(id_, "tools/call", name="chat", _meta=token))
        play.progress(id_, 1, 2, "half")
        if isinstance(outcome, Fault | ResourceNotFound):
            play.fail(id_, outcome)
        else:
            play.answer(id_, outcome)
        lines.extend(play.everything())
    say(ask("c", "tools/call", name="chat"))
    say(cancel("c"))
    say(b"{\n")
    say([ask("b", "ping"), ask("b2", "tools/list")])
    play.offer(BARE)
    play.close()
    lines.extend(play.everything())
    return lines


def entries(lines: list[Json]) -> list[Json]:
    return [entry for line in lines for entry in (line if isinstance(line, list) else [line])]


@pytest.mark.requirement("http/no-requests-on-streams")
@pytest.mark.requirement("base/response-shape")
@pytest.mark.requirement("base/notification-no-id")
@pytest.mark.requirement("patterns/no-server-requests")
@pytest.mark.requirement("mrtr/the-only-way-to-ask")
@pytest.mark.requirement("transports/directions")
@pytest.mark.requirement("stdio/only-messages-out")
@pytest.mark.requirement("stdio/no-requests")
@pytest.mark.requirement("legacy/result-or-error")
@pytest.mark.parametrize("version", REVISIONS)
def test_every_message_out_is_a_response_or_a_notification_and_never_a_request(version: str) -> None:
    sent = entries(conversation(version))
    assert len(sent) > 20
    for message in sent:
        shape = message.keys() - {"params"}
        assert shape in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}, {"jsonrpc", "method"})
        assert message["jsonrpc"] == "2.0"


@pytest.mark.requirement("base/error-shape")
@pytest.mark.requirement("base/legacy-codes")
@pytest.mark.requirement("base/reserved-codes")
@pytest.mark.requirement("legacy/error-shape")
@pytest.mark.parametrize("version", REVISIONS)
def test_the_core_sends_only_error_codes_that_are_defined_for_the_revision(version: str) -> None:
    standard = {-32700, -32600, -32601, -32602, -32603, 1002}
    of_the_revision = {-32022} if version == "2026-07-28" else {-32002}
    codes = [message["error"]["code"] for message in entries(conversation(version)) if "error" in message]
    assert len(codes) > 10
    assert all(type(code) is int for code in codes)
    assert set(codes) <= standard | of_the_revision


@pytest.mark.requirement("base/new-codes")
@pytest.mark.requirement("base/legacy-codes")
@pytest.mark.requirement("base/reserved-codes")
def test_every_code_of_the_core_lies_in_a_range_that_allows_it() -> None:
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert codes
    for code in codes:
        reserved_by_json_rpc = -32768 <= code <= -32000
        assert not -32099 <= code <= -32020 or code in DEFINED
        assert not -32019 <= code <= -32000 or code == errors.RESOURCE_NOT_FOUND
        assert not reserved_by_json_rpc or code in {-32700, -32600, -32601, -32602, -32603, -32002} | DEFINED


@pytest.mark.requirement("logging/not-without-level")
@pytest.mark.requirement("legacy/logging-not-declared")
@pytest.mark.parametrize("version", REVISIONS)
def test_log_messages_are_never_sent_on_the_wire(version: str) -> None:
    methods = {message.get("method") for message in entries(conversation(version))}
    assert "notifications/message" not in methods


def test_the_lists_of_a_server_without_anything_are_empty() -> None:
    with playbook(BARE) as play:
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            play >> request(1, method)
            assert list(play.result(1).values()) == [[]]
