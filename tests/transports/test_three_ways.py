"""One conversation over stdio, HTTP and a WebSocket: the same messages come of it, in the same order a request."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from tests.conformance_server import Changing, note
from tests.playbook import CAPABILITIES, CLIENT_INFO, VERSION, initialize, modern, notification, request
from tests.transports.memory import MemoryStream
from tests.transports.posting import BOTH, House, messages
from tests.transports.test_websocket import opened
from trio.testing import MockClock

from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import Bounds, HttpServer
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.over_http import NAMED, encoded
from openai_gateway_mcp.protocol.rounds import Seal
from openai_gateway_mcp.transports.callers import let_in_anybody
from openai_gateway_mcp.transports.http import Endpoint
from openai_gateway_mcp.transports.replies import refuse
from openai_gateway_mcp.transports.session import run_session

Json = Any
Said = list[Json]
"""What is said to one message, its answer last."""

Say = Callable[[Json], Awaitable[Said]]

ABLE = {VERSION: "2026-07-28", CAPABILITIES: {"elicitation": {}}, CLIENT_INFO: {"name": "t", "version": "1"}}


def legacy() -> list[Json]:
    ids = itertools.count(1)

    def ask(method: str, **params: Json) -> Json:
        return request(next(ids), method, **params)

    return [
        initialize(0, "2025-06-18"),
        notification("notifications/initialized"),
        ask("ping"),
        ask("tools/list"),
        ask("tools/call", name="test_simple_text"),
        ask("tools/call", name="test_multiple_content_types", arguments={}),
        ask("tools/call", name="test_error_handling"),
        ask("tools/call", name="test_tool_with_progress", _meta={"progressToken": "p"}),
        ask("tools/call", name="no_such_tool"),
        ask("tools/call", name="test_input_required_result_elicitation"),
        ask("prompts/get", name="test_prompt_with_arguments", arguments={"arg1": "a", "arg2": "ü"}),
        ask("prompts/get", name="test_prompt_with_arguments"),
        ask("resources/read", uri="test://static-binary"),
        ask("resources/read", uri="test://template/7/data"),
        ask("resources/read", uri="test://nowhere"),
        ask("completion/complete", ref={"type": "ref/prompt", "name": "x"}, argument={"name": "a", "value": "P"}),
        ask("no/such"),
        ask("logging/setLevel", level="loud"),
        request("é" * 40, "ping"),
        request(2**70, "ping"),
    ]


def modern_era() -> list[Json]:
    ids = itertools.count(1)

    def ask(method: str, **params: Json) -> Json:
        return modern(next(ids), method, **{"_meta": ABLE, **params})

    return [
        ask("server/discover"),
        ask("tools/list"),
        ask("resources/templates/list"),
        ask("tools/call", name="test_simple_text"),
        ask("tools/call", name="test_tool_with_progress", _meta={**ABLE, "progressToken": 5}),
        ask("tools/call", name="test_missing_capability"),
        ask("tools/call", name="test_input_required_result_elicitation"),
        ask(
            "tools/call",
            name="test_input_required_result_elicitation",
            inputResponses={"user_name": {"action": "accept", "content": {"name": "Ada"}}},
        ),
        ask("tools/call", name="test_input_required_result_request_state"),
        ask("resources/read", uri="test://static-text"),
        ask("resources/read", uri="test://nowhere"),
        ask("ping"),
        ask("initialize"),
    ]


def served() -> Changing:
    def refuse(*_: object) -> None:
        raise AssertionError("no call here becomes a task")

    return Changing(refuse)


def seal() -> Seal:
    """The same in each, so that their states are the same."""
    return Seal(b"k" * 32, now=lambda: 1_800_000_000.0)


async def over_stdio(conversation: list[Json]) -> list[Said]:
    wire, application = MemoryStream(), served()
    connection = Connection(application.server, seal=seal())
    said: list[Said] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_session(wire, connection, application.handle, remark=note))
        for message in conversation:
            wire.send(message)
            said.append([] if "id" not in message else await until_answer(wire.receive))
        nursery.cancel_scope.cancel()
    return said


async def until_answer(hear: Callable[[], Awaitable[Json]]) -> Said:
    said = [await hear()]
    while "method" in said[-1]:
        said.append(await hear())
    return said


def over_endpoint() -> House:
    house, application = House(), served()
    house.endpoint = Endpoint(
        application,
        verify=let_in_anybody,
        admission=Admission.of(bound="127.0.0.1", hosts=(), origins=()),
        remark=note,
        seal=seal(),
    )
    house.http = HttpServer(house.endpoint.handle, refuse=refuse, bounds=Bounds(linger_seconds=0.05))
    return house


async def over_http(conversation: list[Json]) -> list[Said]:
    house = over_endpoint()
    version = "2025-11-25"
    said: list[Said] = []
    for message in conversation:
        fields = headers_of(message, version)
        answered = await house.post(message, **fields)
        if answered.headers.get("content-type") == "text/event-stream":
            said.append(messages(answered.body))
        else:
            said.append([answered.json] if answered.body else [])
        if message["method"] == "initialize" and "result" in said[-1][-1]:
            version = said[-1][-1]["result"]["protocolVersion"]
    return said


def headers_of(message: Json, version: str) -> dict[str, str]:
    params = message.get("params", {})
    meta = params.get("_meta", {})
    if VERSION not in meta:
        return {"Accept": BOTH, "Mcp_Protocol_Version": "" if message["method"] == "initialize" else version}
    name = params.get(NAMED.get(message["method"], ""), "")
    return {
        "Accept": BOTH,
        "Mcp_Protocol_Version": meta[VERSION],
        "Mcp_Method": message["method"],
        "Mcp_Name": encoded(name),
    }


async def over_websocket(conversation: list[Json]) -> list[Said]:
    async with opened(over_endpoint()) as socket:
        said: list[Said] = []
        for message in conversation:
            await socket.say(message)
            said.append([] if "id" not in message else await until_answer(socket.hear))
        return said


@pytest.mark.parametrize("conversation", [legacy(), modern_era()], ids=["legacy", "modern"])
async def test_it_is_the_same_conversation(conversation: list[Json], autojump_clock: MockClock) -> None:
    first = await over_stdio(conversation)
    assert len(first) == len(conversation)
    for message, said in zip(conversation, first, strict=True):
        assert [one["id"] for one in said if "method" not in one] == ([message["id"]] if "id" in message else [])
    assert sum(len(said) for said in first) > len(conversation)
    for other in (await over_http(conversation), await over_websocket(conversation)):
        for message, ours, theirs in zip(conversation, first, other, strict=True):
            assert ours == theirs, json.dumps(message)
