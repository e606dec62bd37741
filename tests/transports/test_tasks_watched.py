"""A task from its call to its end, over stdio and over HTTP: asked for, watched, and cancelled at the provider."""

from __future__ import annotations

from typing import Any

import trio
from tests.features.scripted import Upstream, door_to, settings_of
from tests.features.test_tasks import ENDLESS, KNOWS, SLOW
from tests.gateway_service.house import read
from tests.playbook import CAPABILITIES, SUBSCRIPTION_ID, meta, request
from tests.transports.memory import MemoryStream
from tests.transports.posting import House, events, modern_fields, posted
from trio.testing import MockClock

from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import Bounds, HttpServer
from openai_gateway_mcp.features.application import Application, describe
from openai_gateway_mcp.features.guests import Guests
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.transports.callers import let_in_anybody
from openai_gateway_mcp.transports.http import Endpoint
from openai_gateway_mcp.transports.replies import refuse
from openai_gateway_mcp.transports.session import run_session

Json = Any


def knowing(id_: Json, method: str, **params: Json) -> Json:
    return request(id_, method, **params, _meta=meta() | {CAPABILITIES: KNOWS})


def chat(id_: Json, model: str) -> Json:
    return knowing(id_, "tools/call", name="chat", arguments={"prompt": "hi", "model": model})


async def test_over_stdio(autojump_clock: MockClock) -> None:
    wire, settings = MemoryStream(), settings_of()
    upstream = Upstream(m1=SLOW, m2=ENDLESS)
    async with door_to(upstream) as door, trio.open_nursery() as nursery:
        connection = Connection(describe(settings))
        handle = Application(settings, door).handle
        nursery.start_soon(lambda: run_session(wire, connection, handle, remark=lambda _: None))
        wire.send(chat(1, "m1"))
        first = (await wire.receive())["result"]
        wire.send(chat(2, "m2"))
        second = (await wire.receive())["result"]
        assert (first["resultType"], second["resultType"]) == ("task", "task")
        ids = [first["taskId"], second["taskId"]]
        wire.send(knowing(3, "subscriptions/listen", notifications={"taskIds": ids}))
        acknowledged = await wire.receive()
        assert acknowledged["params"]["notifications"] == {"taskIds": ids}
        told = [await wire.receive() for _ in ids]
        assert [one["params"]["status"] for one in told] == ["completed", "working"]
        assert told[0]["params"]["result"]["content"] == [{"type": "text", "text": "Hello"}]
        assert {one["params"]["_meta"][SUBSCRIPTION_ID] for one in told} == {3}
        wire.send(knowing(4, "tasks/cancel", taskId=ids[1]))
        said = [await wire.receive(), await wire.receive()]
        (answer,) = [one for one in said if "id" in one]
        (notice,) = [one for one in said if "method" in one]
        assert answer["result"]["resultType"] == "complete"
        assert (notice["method"], notice["params"]["status"]) == ("notifications/tasks", "cancelled")
        await trio.testing.wait_all_tasks_blocked()
        assert upstream.streams[1].closed
        wire.send(knowing(5, "tasks/get", taskId=ids[0]))
        assert (await wire.receive())["result"]["status"] == "completed"
        wire.close()
        farewell = [await wire.receive(), await wire.receive()]
        assert [one.get("method", one.get("id")) for one in farewell] == ["notifications/cancelled", 3]


async def test_the_end_of_the_input_ends_a_watch_and_the_task(autojump_clock: MockClock) -> None:
    wire, settings = MemoryStream(), settings_of()
    upstream = Upstream(m1=ENDLESS)
    async with door_to(upstream) as door:
        connection = Connection(describe(settings))
        async with trio.open_nursery() as nursery:
            handle = Application(settings, door).handle
            nursery.start_soon(lambda: run_session(wire, connection, handle, remark=lambda _: None))
            wire.send(chat(1, "m1"))
            task_id = (await wire.receive())["result"]["taskId"]
            wire.send(knowing(3, "subscriptions/listen", notifications={"taskIds": [task_id]}))
            await trio.sleep(1)
            wire.close()
    assert upstream.streams[0].closed


async def test_over_http(autojump_clock: MockClock) -> None:
    upstream, settings = Upstream(m1=SLOW), settings_of()
    async with door_to(upstream) as door:
        endpoint = Endpoint(
            Guests(settings, door, is_private=False),
            verify=let_in_anybody,
            admission=Admission.of(bound="127.0.0.1", hosts=(), origins=()),
            remark=lambda _: None,
        )
        house = House()
        house.endpoint, house.http = endpoint, HttpServer(endpoint.handle, refuse=refuse, bounds=Bounds())
        answered = await house.post(chat(1, "m1"), **modern_fields("tools/call", "chat"))
        task_id = events(answered)[-1]["result"]["taskId"]  # behind the comments of a stream that was silent
        fields = modern_fields("subscriptions/listen")
        async with house.connection() as stream:
            listen = knowing(2, "subscriptions/listen", notifications={"taskIds": [task_id]})
            await stream.send_all(posted(listen, **fields))
            await trio.sleep(60)
            endpoint.drain()
            said = b""
            while piece := await stream.receive_some():
                said += piece
        statuses = [
            one["params"]["status"]
            for one in events(read(said))
            if one is not ... and one.get("method") == "notifications/tasks"
        ]
        assert statuses == ["working", "completed"]


async def test_a_name_in_the_head_that_is_not_the_tasks_is_refused() -> None:
    settings = settings_of()
    async with door_to(Upstream()) as door:
        endpoint = Endpoint(
            Guests(settings, door, is_private=False),
            verify=let_in_anybody,
            admission=Admission.of(bound="127.0.0.1", hosts=(), origins=()),
            remark=lambda _: None,
        )
        house = House()
        house.endpoint, house.http = endpoint, HttpServer(endpoint.handle, refuse=refuse, bounds=Bounds())
        # Without one the request is taken: fastmcp-tasks sends none. -32602: there is no such task.
        for name, code in (("other", -32020), ("", -32602), ("t1", -32602)):
            answered = await house.post(knowing(1, "tasks/get", taskId="t1"), **modern_fields("tasks/get", name))
            assert answered.json["error"]["code"] == code
