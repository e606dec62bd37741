"""A conversation over Streamable HTTP: what is posted, and what each answer is taken for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.conversation import Ended, Heard, Refused
from openai_gateway_mcp.fuzz.http import Events, Session
from openai_gateway_mcp.fuzz.judge import VERSION
from openai_gateway_mcp.fuzz.rules import Deviation

LONG = 20.0  # seconds that nothing here takes
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}'
NOTE = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
JSON = "application/json"


@attrs.frozen
class Request:
    method: str
    headers: dict[str, str]
    body: bytes


@attrs.frozen
class Answer:
    status: int = 200
    media: str = JSON
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


Answers = Callable[[Request], Answer | None]


@asynccontextmanager
async def served(answers: Answers, **headers: str) -> AsyncIterator[tuple[Session, list[Request]]]:
    """A session with a server that answers so; None closes the connection."""
    requests: list[Request] = []

    async def serve(stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)
        async with stream:
            while (request := await _request(http, stream)) is not None:
                requests.append(request)
                answer = answers(request)
                if answer is None:
                    return
                fields = [("content-type", answer.media), ("content-length", str(len(answer.body))), *answer.headers]
                data = http.send(h11.Response(status_code=answer.status, headers=fields)) or b""
                data += http.send(h11.Data(data=answer.body)) or b""
                await stream.send_all(data + (http.send(h11.EndOfMessage()) or b""))
                http.start_next_cycle()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield await Session.start(nursery, f"http://127.0.0.1:{port}/mcp", headers=headers, patience=LONG), requests
        nursery.cancel_scope.cancel()


async def _request(http: h11.Connection, stream: trio.SocketStream) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        match http.next_event():
            case h11.Request() as head:
                pass
            case h11.Data(data=data):
                body += bytes(data)
            case h11.EndOfMessage():
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Request(head.method.decode(), headers, body)
            case h11.NEED_DATA:
                http.receive_data(await stream.receive_some())
            case _:
                return None


async def heard(answer: Answer | None, line: bytes = PING) -> list[Heard]:
    """All that comes of one line."""
    found: list[Heard] = []
    async with served(lambda _: answer) as (session, _):
        await session.say(line + b"\n")
        while (one := await session.hear(0.0)) is not None:
            found.append(one)
    return found


def rules(found: Sequence[Heard]) -> list[str]:
    return [one.rule.id for one in found if isinstance(one, Deviation)]


async def test_an_answer_is_a_line_whether_it_comes_as_json_or_in_a_stream() -> None:
    assert await heard(Answer(body=PONG)) == [PONG]
    progress = b'{"jsonrpc":"2.0","method":"notifications/progress"}'
    stream = b"id: 1\ndata:\n\nevent: message\ndata: " + progress + b"\r\n\r\n: hm\n\ndata:" + PONG + b"\n\n"
    async with served(lambda _: Answer(media="text/event-stream; charset=utf-8", body=stream)) as (session, _):
        await session.say(PING + b"\n")
        assert [await session.hear(LONG), await session.hear(LONG)] == [progress, PONG]


async def test_a_notification_is_taken_with_202_and_nothing_else() -> None:
    assert await heard(Answer(status=202), NOTE) == []
    assert rules(await heard(Answer(status=202, body=b"{}"), NOTE)) == ["http-accepted"]
    assert rules(await heard(Answer(status=204), NOTE)) == ["http-accepted"]


async def test_what_is_refused_by_its_status_needs_no_answer() -> None:
    assert await heard(Answer(status=404)) == [Refused(PING)]
    assert await heard(Answer(status=400, body=b'{"jsonrpc":"2.0","id":null,"error":{}}')) == [Refused(PING)]
    assert await heard(Answer(status=400, body=b"[" * 100_000)) == [Refused(PING)]
    assert await heard(Answer(status=400, body=PONG)) == [PONG]


async def test_what_is_neither_json_nor_a_stream_is_held_against_it() -> None:
    found = await heard(Answer(media="text/html", body=b"<p>"))
    assert rules(found) == ["http-media"]
    assert found[1:] == [Refused(PING)]


async def test_a_fault_of_the_server_is_held_against_it() -> None:
    found = await heard(Answer(status=500))
    assert rules(found) == ["http-fault"]
    assert found[1:] == [Refused(PING)]


async def test_a_connection_that_is_closed_without_an_answer_is_held_against_it() -> None:
    found = await heard(None)
    assert rules(found) == ["http-connection"]
    assert found[1:] == [Refused(PING)]


async def test_where_nobody_listens_the_server_has_ended(nursery: trio.Nursery) -> None:
    with trio.socket.socket() as nobody:
        await nobody.bind(("127.0.0.1", 0))  # and it does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/mcp"
        session = await Session.start(nursery, url, headers={}, patience=LONG)
        await session.say(PING + b"\n")
        with pytest.raises(Ended):
            await session.hear(0.0)
        assert await session.finish(LONG)


async def test_a_session_is_kept_to_and_ended() -> None:
    def answers(request: Request) -> Answer:
        if b"initialize" in request.body:
            result = {"protocolVersion": "2025-06-18"}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
            return Answer(body=body, headers=[("Mcp-Session-Id", "s1")])
        return Answer(status=202)

    async with served(answers, authorization="Bearer of-a-test") as (session, requests):
        await session.say(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}\n')
        await session.say(NOTE[:9])
        await session.say(NOTE[9:] + b"\n")
        assert await session.finish(LONG)
    first, second, last = requests
    assert "mcp-session-id" not in first.headers
    assert "mcp-protocol-version" not in first.headers
    assert second.body == NOTE
    assert last.method == "DELETE"
    for request in (second, last):
        assert request.headers["mcp-session-id"] == "s1"
        assert request.headers["mcp-protocol-version"] == "2025-06-18"
    assert {request.headers["authorization"] for request in requests} == {"Bearer of-a-test"}


@pytest.mark.parametrize(
    ("name", "header"), [("plain name", "plain name"), ("ü", "=?base64?w7w=?="), ("=?x", "=?base64?PT94?=")]
)
async def test_a_modern_request_says_in_headers_what_it_asks(name: str, header: str) -> None:
    params: dict[str, Any] = {"name": name, "_meta": {VERSION: "2026-07-28"}}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    async with served(lambda _: Answer(body=PONG)) as (session, requests):
        await session.say(line + b"\n" + NOTE + b"\n")
    first, second = sorted(requests, key=lambda request: request.body == NOTE)
    assert first.headers["mcp-protocol-version"] == "2026-07-28"
    assert first.headers["mcp-method"] == "tools/call"
    assert first.headers["mcp-name"] == header
    assert not any(name.startswith("mcp-") for name in second.headers)


async def test_a_version_that_no_header_can_say_is_in_none() -> None:
    params: dict[str, Any] = {"_meta": {VERSION: "2026-07-\u016e28"}}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}).encode()
    async with served(lambda _: Answer(body=PONG)) as (session, requests):
        await session.say(line + b"\n")
    assert not any(name.startswith("mcp-") for name in requests[0].headers)


@given(st.lists(st.sampled_from(["a", "\u2028", "data: b", ""]), min_size=1, max_size=5), st.data())
def test_events_are_the_same_wherever_their_bytes_are_cut(texts: list[str], data: Any) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    stream = "".join(f"event: message{end}data: {text}{end}: x{end}{end}" for text in texts).encode()
    at = data.draw(st.integers(0, len(stream)))
    events = Events()
    found = [*events.feed(stream[:at]), *events.feed(stream[at:]), *events.feed(b"\n")]
    assert [one.decode() for one in found] == [text for text in texts if text]
