"""What somebody reads who did it wrong, to the letter: people and models mend their requests by these words."""

from __future__ import annotations

import json

import attrs
import pytest
from tests.playbook import (
    CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    VERSION,
    Json,
    Playbook,
    handed,
    initialize,
    meta,
    modern,
    notification,
    playbook,
    request,
)
from tests.protocol.offering import BARE, FULL, HELLO

from openai_gateway_mcp.protocol.errors import Fault, LocalProtocolError, ResourceNotFound
from openai_gateway_mcp.protocol.events import Remark, ToolCalled
from openai_gateway_mcp.protocol.model import Server
from openai_gateway_mcp.protocol.params import TASKS_EXTENSION

ARGUMENT = {"name": "model", "value": ""}
TASKS = meta() | {CAPABILITIES: {"extensions": {TASKS_EXTENSION: {}}}}
WITH_TASKS = attrs.evolve(FULL, offers_tasks=True)
LEVELS = "alert, critical, debug, emergency, error, info, notice, warning"


def told(message: Json, server: Server = FULL) -> str:
    """The one error that comes of a message."""
    play = Playbook(server)
    play >> message
    error = play.line()["error"]
    play.assert_finished()
    return str(error["message"])


@pytest.mark.requirement("base/error-words")
@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"[NaN]\n", "Parse error: NaN is not JSON at character 1"),
        (1, "Invalid Request: a message is a JSON object"),
        (request(None, "ping"), "Invalid Request: id must be a string or an integer"),
        ({"id": 1, "method": "ping"}, 'Invalid Request: jsonrpc must be "2.0"'),
        ({**request(1, "ping"), "result": {}}, "Invalid Request: a request has neither result nor error"),
        ({"jsonrpc": "2.0", "id": 1, "method": 3}, "Invalid Request: method must be a string"),
        ({**request(1, "ping"), "params": []}, "Invalid params: params must be an object"),
        ([request(1, "ping")], "Invalid Request: a message is one JSON object, 2025-11-25 has no batches"),
        (request(1, "no/such"), "Method not found: 'no/such'"),
    ],
)  # fmt: skip
def test_what_is_no_request(message: Json, words: str) -> None:
    assert told(message) == words


@pytest.mark.requirement("base/error-words")
@pytest.mark.parametrize(
    ("message", "words"),
    [
        (request(0, "initialize"), "protocolVersion must be a string"),
        (request(0, "initialize", protocolVersion="1", capabilities=[]), "capabilities must be an object"),
        (request(0, "initialize", protocolVersion="1", clientInfo=[]), "clientInfo must be an object"),
        (request(1, "logging/setLevel", level="loud"), f"level must be one of {LEVELS}"),
        (request(1, "logging/setLevel"), "level must be a string"),
        (request(1, "resources/subscribe"), "uri must be a string"),
        (request(1, "resources/read"), "uri must be a string"),
        (request(1, "tools/list", cursor="x"), "unknown cursor"),
        (request(1, "tools/list", _meta=3), "_meta must be an object"),
        (request(1, "tools/call"), "name must be a string"),
        (request(1, "tools/call", name="chat", arguments=[]), "arguments must be an object"),
        (
            request(1, "tools/call", name="chat", _meta={"progressToken": None}),
            "_meta.progressToken must be a string or an integer",
        ),
        (request(1, "prompts/get"), "name must be a string"),
        (request(1, "prompts/get", name="ask"), "prompt ask needs the argument question"),
        (request(1, "prompts/get", name="ask", arguments={"a": 1}), "arguments['a'] must be a string"),
        (request(1, "prompts/get", name="ask", arguments=[]), "arguments must be an object"),
        (request(1, "server/discover"), f"server/discover needs _meta with {VERSION} and {CAPABILITIES}"),
        (request(1, "tools/list", _meta={VERSION: 3}), f"{VERSION} must be a string"),
        (request(1, "tools/list", _meta={VERSION: "2026-07-28"}), f"_meta must have {CAPABILITIES}, an object"),
        (request(1, "tools/list", _meta=meta() | {CLIENT_INFO: 3}), f"{CLIENT_INFO} must be an object"),
        (request(1, "tools/list", _meta=meta() | {LOG_LEVEL: "loud"}), f"{LOG_LEVEL} must be one of {LEVELS}"),
        (request(1, "tools/list", _meta=meta() | {LOG_LEVEL: 3}), f"{LOG_LEVEL} must be a string"),
        (modern(1, "subscriptions/listen"), "notifications must be an object"),
        (modern(1, "subscriptions/listen", notifications=[]), "notifications must be an object"),
        (
            modern(1, "subscriptions/listen", notifications={"promptsListChanged": 1}),
            "notifications.promptsListChanged must be a boolean",
        ),
        (
            modern(1, "subscriptions/listen", notifications={"resourceSubscriptions": [1]}),
            "notifications.resourceSubscriptions must be an array of strings",
        ),
        (
            request(1, "completion/complete", ref={}, prompt=""),
            "ref asks for an argument's completion, prompt for a chat completion: give one of them",
        ),
        (request(1, "completion/complete"), "ref is missing (or prompt, for a chat completion)"),
        (request(1, "completion/complete", ref={}), 'ref.type must be "ref/prompt" or "ref/resource"'),
        (request(1, "completion/complete", ref=[]), "ref must be an object"),
        (request(1, "completion/complete", ref={"type": "ref/prompt"}), "name must be a string"),
        (request(1, "completion/complete", ref={"type": "ref/resource"}), "uri must be a string"),
        (
            request(1, "completion/complete", ref={"type": "ref/prompt", "name": "ask"}, argument=[]),
            "argument must be an object",
        ),
        (
            request(1, "completion/complete", ref={"type": "ref/prompt", "name": "ask"}, argument={"name": "a"}),
            "value must be a string",
        ),
        (
            request(
                1, "completion/complete", ref={"type": "ref/prompt", "name": "a"}, argument=ARGUMENT, context=3
            ),
            "context must be an object",
        ),
        (
            request(
                1,
                "completion/complete",
                ref={"type": "ref/prompt", "name": "a"},
                argument=ARGUMENT,
                context={"arguments": {"b": 1}},
            ),
            "arguments['b'] must be a string",
        ),
        (modern(1, "tools/call", name="chat", inputResponses=3), "inputResponses must be an object"),
        (modern(1, "tools/call", name="chat", inputResponses={"a": 3}), "inputResponses['a'] must be an object"),
        (modern(1, "tools/call", name="chat", requestState=3), "requestState must be a string"),
        (
            modern(1, "tools/call", name="chat", requestState="s"),
            "requestState is not what this server sent with this request",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_params(message: Json, words: str) -> None:
    assert told(message) == f"Invalid params: {words}"


@pytest.mark.requirement("tasks/words")
@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("tasks/get", {}, "taskId must be a string"),
        ("tasks/update", {"taskId": "t"}, "inputResponses must be an object"),
        ("tasks/update", {"taskId": "t", "inputResponses": 3}, "inputResponses must be an object"),
        ("tasks/update", {"taskId": "t", "inputResponses": {"a": 3}}, "a must be an object"),
        (
            "subscriptions/listen",
            {"notifications": {"taskIds": "t"}},
            "notifications.taskIds must be an array of strings",
        ),
        (
            "subscriptions/listen",
            {"notifications": {"taskIds": ["t"] * 65}},
            "notifications.taskIds may have at most 64 entries",
        ),
    ],
)
def test_what_is_wrong_about_tasks(method: str, params: dict[str, Json], words: str) -> None:
    assert told(request(1, method, _meta=TASKS, **params), WITH_TASKS) == f"Invalid params: {words}"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (request(1, "tools/call", name="x"), "Unknown tool: 'x'"),
        (request(1, "prompts/get", name="x"), "Unknown prompt: 'x'"),
        (modern(1, "tools/list", _meta=meta("2031-01-01")), "Unsupported protocol version: '2031-01-01'"),
    ],
)
def test_what_is_not_there(message: Json, words: str) -> None:
    assert told(message) == words


def test_what_a_client_has_not_declared() -> None:
    words = "The client has not declared the capability: extensions"
    assert told(modern(1, "tasks/get", taskId="t"), WITH_TASKS) == words
    assert told(modern(1, "subscriptions/listen", notifications={"taskIds": ["t"]}), WITH_TASKS) == words


def test_without_the_chat_extension_it_is_not_spoken_of() -> None:
    assert told(request(1, "completion/complete"), BARE) == "Invalid params: ref is missing"


def test_what_comes_of_the_limits() -> None:
    with playbook(FULL, max_message_bytes=200, max_in_flight=1, max_parked=0, max_listens=0) as play:
        play >> b"x" * 201
        assert play.line()["error"]["message"] == "Parse error: a message is longer than 200 bytes"
        play >> b"\n"
        play >> request(1, "tools/call", name="chat") << handed(ToolCalled, 1)
        play >> request(1, "ping")
        assert play.line()["error"]["message"] == "Invalid Request: this id is in flight already"
        play >> request(2, "tools/call", name="chat")
        words = "Too many calls are waiting; try again when some are answered"
        assert play.line()["error"]["message"] == words
    with playbook(FULL, max_listens=0) as play:
        play >> modern(3, "subscriptions/listen", notifications={})
        assert play.line()["error"]["message"] == "At most 0 subscriptions may be open"


@pytest.mark.parametrize(
    ("batch", "words"),
    [([], "a batch has at least one message"), ([1] * 1_001, "a batch has at most 1000 messages")],
)
def test_what_is_no_batch(play: Playbook, batch: Json, words: str) -> None:
    play >> initialize(0, "2025-03-26")
    play.result(0)
    play >> batch
    error = {"code": -32600, "message": f"Invalid Request: {words}"}
    assert play.line() == {"jsonrpc": "2.0", "id": None, "error": error}


def test_what_is_no_part_of_a_batch(play: Playbook) -> None:
    play >> initialize(0, "2025-03-26")
    play.result(0)
    play >> [initialize(1)]
    (reply,) = play.line()
    assert reply["error"]["message"] == "Invalid Request: this cannot be part of a batch"


def test_what_a_call_failed_with(play: Playbook) -> None:
    for id_ in (1, 2, 3):
        play >> request(id_, "tools/call", name="chat") << handed(ToolCalled, id_)
    play.finish(1)
    assert play.line()["error"] == {"code": -32603, "message": "Internal error"}
    play.fail(2, ResourceNotFound("a:b"))
    assert play.line()["error"]["message"] == "Resource not found: 'a:b'"
    play.fail(3, Fault(7, "as it is", {"a": 1}))
    assert play.line()["error"] == {"code": 7, "message": "as it is", "data": {"a": 1}}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"jsonrpc": "2.0", "id": 7, "result": {}}, "ignored a response that nobody asked for: id 7"),
        (notification("no/such"), "ignored the notification 'no/such'"),
        (notification("notifications/cancelled"), "ignored a cancellation of what is not in flight"),
        (
            notification("tools/call"),
            "tools/call came without an id: that makes it a notification, which is never answered",
        ),
    ],
)
def test_what_the_log_is_told(message: Json, words: str) -> None:
    play = Playbook(FULL)
    play.connection.receive_data(json.dumps(message).encode() + b"\n")
    remark = play.connection.next_event()
    assert isinstance(remark, Remark)
    assert remark.text == words


def test_what_our_own_code_did_wrong(play: Playbook) -> None:
    play >> request("a", "tools/call", name="chat") << handed(ToolCalled, "a")
    call = play.calls["a"]
    with pytest.raises(LocalProtocolError, match=r"^progress must be a finite number$"):
        play.connection.progress(call, float("inf"))
    play.connection.answer(call, HELLO)
    with pytest.raises(LocalProtocolError, match=r"^tools/call 'a' is answered already$"):
        play.connection.answer(call, HELLO)
    play.finish("a")
    play.result("a")
    with pytest.raises(LocalProtocolError, match=r"^tools/call 'a' is not running$"):
        play.connection.answer(call, HELLO)
    play.connection.receive_data(b"")
    with pytest.raises(LocalProtocolError, match=r"^data after the end$"):
        play.connection.receive_data(b"x")
