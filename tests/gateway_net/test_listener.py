"""The listener: what it serves, what it refuses, and that nobody can hold it up."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from openai_gateway.engine.beside import beside
from openai_gateway.errors import ConfigError
from openai_gateway.net.listener import Bounds, Exchange, Handler, HttpServer
from openai_gateway.net.tls import server_context

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST / HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def refuse(status: int, words: str) -> tuple[list[tuple[str, str]], bytes]:
    return [("content-type", "text/plain")], words.encode()


async def echo(exchange: Exchange) -> None:
    body = await exchange.body(1000)
    await exchange.answer(200, [("x-path", exchange.request.path)], body or b"nothing")


@attrs.define
class Client:
    """The client's end of a connection that is being served."""

    stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]
    over: trio.Event

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def all(self) -> bytes:
        """What comes until the server closes."""
        said = b""
        while data := await self.stream.receive_some():
            said += data
        return said

    async def answers(self, count: int = 1) -> bytes:
        """What comes until there are so many heads in it, and nothing more is coming."""
        said = b""
        while said.count(b"HTTP/1.1 ") < count or not said:
            said += await self.stream.receive_some()
        with trio.move_on_after(0.1):
            said += await self.stream.receive_some()
        return said


@asynccontextmanager
async def served(
    handler: Handler, server: HttpServer | None = None, *, bounds: Bounds | None = None
) -> AsyncIterator[Client]:
    """A connection in memory to a server of this handler."""
    serving = HttpServer(handler, refuse=refuse, bounds=bounds) if server is None else server
    ours, theirs = memory_stream_pair()
    over = trio.Event()

    async def serve() -> None:
        await serving.serve_connection(theirs)
        over.set()

    async with beside(serve):
        yield Client(ours, over)


async def said_to(data: bytes, handler: Handler = echo) -> bytes:
    """All that the server says to this until it closes the connection, or waits for more."""
    async with served(handler) as client:
        await client.send(data)
        said = b""
        while True:
            with trio.move_on_after(0.5) as waited:
                piece = await client.stream.receive_some()
            if waited.cancelled_caught or not piece:
                return said
            said += piece


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0


async def test_a_request_is_answered_and_the_connection_kept(autojump_clock: MockClock) -> None:
    said = await said_to(GET + post(b"hello") + GET)
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert b"x-path: /a" in said
    assert said.count(b"nothing") == 2
    assert b"hello" in said
    assert b"date: " in said
    assert b"connection: close" not in said


async def test_requests_that_came_together_do_not_keep_the_others_waiting() -> None:
    """Over a socket, where an answer goes out at once and nothing is waited for."""
    turn, turns = 0, list[int]()

    async def count(exchange: Exchange) -> None:
        turns.append(turn)
        await exchange.answer(200)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(HttpServer(count, refuse=refuse).serve, listeners)
        async with await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]) as client:
            await client.send_all(100 * GET)
            while len(turns) < 100:
                await trio.lowlevel.checkpoint()
                turn += 1
        nursery.cancel_scope.cancel()
    assert max(map(turns.count, turns)) <= 2  # the order within a turn is left to chance


async def test_an_empty_line_before_a_request_is_none_of_it_wherever_it_is_cut(autojump_clock: MockClock) -> None:
    for pieces in ((post(b"a") + b"\r\n" + GET,), (post(b"a"), b"\r\n" + GET), (post(b"a") + b"\r", b"\n" + GET)):
        async with served(echo, bounds=Bounds(head_seconds=5, idle_seconds=60)) as client:
            for piece in pieces:
                await client.send(piece)
                await trio.sleep(20)  # an empty line is no beginning of a head
            said = await client.answers(2)
            assert said.count(b"HTTP/1.1 200 OK") == 2


async def test_requests_that_come_in_pieces_or_at_once_are_answered_the_same(autojump_clock: MockClock) -> None:
    wire = GET + post(b"hello")
    async with served(echo) as client:
        for byte in wire:
            await client.send(bytes([byte]))
        assert (await client.answers(2)).count(b"200 OK") == 2


async def test_a_head_request_gets_no_body_and_an_old_client_a_closed_connection(autojump_clock: MockClock) -> None:
    said = await said_to(GET.replace(b"GET", b"HEAD"))
    assert b"content-length: 7" in said
    assert said.endswith(b"\r\n\r\n")
    assert b"connection: close" in (await said_to(b"GET / HTTP/1.0\r\n\r\n")).lower()


async def test_an_answer_that_can_have_no_body_says_no_length(autojump_clock: MockClock) -> None:
    async def nothing(exchange: Exchange) -> None:
        await exchange.answer(204)

    said = await said_to(GET + GET, nothing)
    assert said.count(b"HTTP/1.1 204 No Content") == 2
    assert b"content-length" not in said


async def stream(exchange: Exchange) -> None:
    await exchange.begin(200, [("content-type", "text/event-stream")])
    for number in range(3):
        await exchange.send(b"data: %d\n\n" % number)
    await exchange.finish()


async def test_a_stream_is_chunked_and_its_end_is_said(autojump_clock: MockClock) -> None:
    said = await said_to(GET, stream)
    assert said.lower().count(b"transfer-encoding: chunked") == 1
    assert said.endswith(b"0\r\n\r\n")
    assert (await said_to(GET.replace(b"1.1", b"1.0"), stream)).endswith(b"data: 2\n\n")
    assert (await said_to(GET.replace(b"GET", b"HEAD"), stream)).endswith(b"\r\n\r\n")


async def test_an_answer_that_is_not_finished_is_cut_and_looks_so(autojump_clock: MockClock) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.begin(200)
        await exchange.send(b"half")

    said = await said_to(GET, half)
    assert b"half" in said
    assert not said.endswith(b"0\r\n\r\n")


HEADS = {
    "two lengths": post(b"x", b"Content-Length: 1"),
    "two lengths in one": GET[:-2] + b"Content-Length: 1, 1\r\n\r\nx",
    "a length and chunks": post(b"x", b"Transfer-Encoding: chunked"),
    "two encodings": GET[:-2] + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length with a sign": GET[:-2] + b"Content-Length: +1\r\n\r\nx",
    "a folded line": GET[:-2] + b"X: a\r\n b\r\n\r\n",
    "a blank before the colon": GET[:-2] + b"X : a\r\n\r\n",
    "a bare line feed": GET.replace(b"Host: x\r\n", b"Host: x\n"),
    "a bare carriage return": GET[:-2] + b"X: a\rb\r\n\r\n",
    "a nul": GET[:-2] + b"X: a\0b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET[:-2] + b"Host: y\r\n\r\n",
    "a host that is a path": GET.replace(b"Host: x", b"Host: x/health?"),
    "a host with a user": GET.replace(b"Host: x", b"Host: a@b"),
    "a whole address": GET.replace(b"/a?b=c", b"http://x/a"),
    "an authority": GET.replace(b"/a?b=c", b"x:80"),
    "a star": GET.replace(b"/a?b=c", b"*"),
    "a fragment": GET.replace(b"/a?b=c", b"/a#b"),
    "two slashes": GET.replace(b"/a?b=c", b"//a/b"),
    "a backslash": GET.replace(b"/a?b=c", b"/a\\b"),
    "dots": GET.replace(b"/a?b=c", b"/a/../b"),
    "dots at the end": GET.replace(b"/a?b=c", b"/a/.."),
    "hidden dots": GET.replace(b"/a?b=c", b"/a/%2e%2E/b"),
    "a hidden nul": GET.replace(b"/a?b=c", b"/a%00"),
    "half an escape": GET.replace(b"/a?b=c", b"/a%2"),
    "no version": b"GET /\r\n\r\n",
    "another version": GET.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "no ascii": GET.replace(b"/a?b=c", b"/\xc3\xa4"),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
async def test_what_two_readers_may_read_differently_is_refused_and_the_connection_closed(
    head: bytes, autojump_clock: MockClock
) -> None:
    async with served(echo) as client:
        await client.send(head + GET)
        said = await client.all()
    assert status_of(said) == 400
    assert said.count(b"HTTP/1.1") == 1
    assert b"connection: close" in said.lower()


@pytest.mark.parametrize("field", [b"X:%b\x01", b"X:%bb\x01", b"X: a%b\x01", b"Content-Length: 1%bb"])
async def test_no_head_is_read_more_often_than_it_is_long(field: bytes, autojump_clock: MockClock) -> None:
    """With a million blanks, what tries each of them as a beginning or an end is at it for hours."""
    async with served(echo, bounds=Bounds(head_bytes=2_000_000)) as client:
        await client.send(GET[:-2] + field % (b" " * 1_000_000) + b"\r\n\r\n")
        assert status_of(await client.all()) == 400


async def test_an_encoding_that_is_not_understood_is_refused(autojump_clock: MockClock) -> None:
    assert status_of(await said_to(GET[:-2] + b"Transfer-Encoding: gzip\r\n\r\n")) == 400


async def test_a_path_may_have_an_escaped_slash_and_an_odd_query(autojump_clock: MockClock) -> None:
    assert status_of(await said_to(GET.replace(b"/a?b=c", b"/v1/models/a%2Fb?x=%00?/"))) == 200


async def test_a_head_has_a_size_and_a_time_however_it_drips(autojump_clock: MockClock) -> None:
    assert status_of(await said_to(GET[:-2] + b"X: " + b"a" * 100_000 + b"\r\n\r\n")) == 431
    assert status_of(await said_to(b"GET /" + b"a" * 200_000)) == 431
    async with served(echo, bounds=Bounds(head_seconds=10)) as client:
        began = trio.current_time()
        for byte in GET[:10]:
            await client.send(bytes([byte]))
            await trio.sleep(0.9)
        assert status_of(await client.all()) == 408
        assert trio.current_time() - began < 15


async def test_an_idle_connection_is_closed_without_a_word(autojump_clock: MockClock) -> None:
    async with served(echo, bounds=Bounds(idle_seconds=5)) as client:
        began = trio.current_time()
        assert await client.all() == b""
        assert 5 <= trio.current_time() - began < 7
    async with served(echo, bounds=Bounds(idle_seconds=5)) as client:
        await client.send(GET)
        assert (await client.all()).count(b"200 OK") == 1


async def test_a_body_has_a_size_known_or_not(autojump_clock: MockClock) -> None:
    assert status_of(await said_to(post(b"a" * 1001))) == 413
    chunks = b"".join(b"%x\r\n%s\r\n" % (500, b"a" * 500) for _ in range(3)) + b"0\r\n\r\n"
    assert status_of(await said_to(GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)) == 413
    assert b"a" * 1000 in await said_to(post(b"a" * 1000))


async def test_a_body_that_is_no_body_is_refused(autojump_clock: MockClock) -> None:
    assert status_of(await said_to(GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")) == 400


async def test_a_connection_is_not_taken_over_by_a_request_whose_body_is_none(autojump_clock: MockClock) -> None:
    async def take_over(exchange: Exchange) -> None:
        await exchange.take_over()

    for body in (b"zz\r\n", b"1\r\na\r\n0\r\n\r\n", b"1\r\na"):
        said = await said_to(GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + body, take_over)
        assert status_of(said) == 400
        assert b"connection: close" in said


async def test_a_body_may_be_slow_but_not_stand_still(autojump_clock: MockClock) -> None:
    async with served(echo, bounds=Bounds(body_seconds=5, body_rate=10)) as client:
        await client.send(post(b"a" * 100)[:-100])
        for _ in range(10):
            await trio.sleep(0.9)
            await client.send(b"a" * 10)
        assert status_of(await client.answers()) == 200
        await client.send(post(b"a" * 100)[:-50])
        assert status_of(await client.all()) == 408


async def test_a_body_that_came_in_time_and_is_looked_at_too_late_is_read_on(mock_clock: MockClock) -> None:
    async with served(echo, bounds=Bounds(body_seconds=5)) as client:
        await client.send(post(b"abc")[:-3])
        await wait_all_tasks_blocked()
        mock_clock.jump(4.9)
        await client.send(b"a")
        await trio.lowlevel.checkpoint()  # whoever reads has it, and whoever waits for it is called
        mock_clock.jump(0.2)  # in which others have had the thread
        await wait_all_tasks_blocked()
        await client.send(b"bc")
        await wait_all_tasks_blocked()
        said = bytes(await client.stream.receive_some())
        await client.stream.aclose()
    assert status_of(said) == 200
    assert said.endswith(b"abc")


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(autojump_clock: MockClock) -> None:
    async with served(echo) as client:
        await client.send(post(b"hello", b"Expect: 100-continue")[:-5])
        assert await client.stream.receive_some() == b"HTTP/1.1 100 \r\n\r\n"
        await client.send(b"hello")
        assert b"hello" in await client.answers()


async def ignore(exchange: Exchange) -> None:
    await exchange.answer(200, body=b"done")


async def test_a_small_body_that_nobody_wants_costs_no_connection_and_a_large_one_does(
    autojump_clock: MockClock,
) -> None:
    assert (await said_to(post(b"a" * 100) + GET, ignore)).count(b"200 OK") == 2
    said = await said_to(post(b"a" * 100_000, b"Expect: 100-continue")[:-100_000], ignore)
    assert b"connection: close" in said.lower()
    async with served(ignore) as client:
        await client.send(post(b"a" * 100)[:-50])  # the rest never comes
        assert status_of(await client.all()) == 200


async def test_a_fault_of_the_handler_is_told_without_its_words_and_ends_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(exchange: Exchange) -> None:
        if exchange.request.path == "/late":
            await exchange.begin(200)
        raise ValueError("secret words")

    said = await said_to(GET, fail)
    assert status_of(said) == 500
    assert b"secret" not in said
    assert not (await said_to(GET.replace(b"/a?b=c", b"/late"), fail)).endswith(b"0\r\n\r\n")
    assert len(caplog.records) == 2


@pytest.mark.parametrize("when", ["before the head", "in a stream", "in the body"])
async def test_a_client_that_leaves_cancels_its_handler_at_once(when: str, autojump_clock: MockClock) -> None:
    cancelled: list[float] = []

    async def wait(exchange: Exchange) -> None:
        try:
            if when == "in the body":
                await exchange.body(1000)
            if when == "in a stream":
                await exchange.begin(200)
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(trio.current_time())
            raise

    async with served(wait) as client:
        await client.send(post(b"hello")[:-2] if when == "in the body" else GET)
        await wait_all_tasks_blocked()
        left = trio.current_time()
        await client.stream.aclose()
        await client.over.wait()
        assert cancelled == [left]


async def test_a_reader_that_takes_nothing_is_cut_and_one_that_is_slow_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    ended: list[str] = []

    async def endless(exchange: Exchange) -> None:
        await exchange.begin(200)
        try:
            while True:
                await exchange.send(b"a" * 1000)
        finally:
            ended.append("ended")

    from trio.testing import lockstep_stream_pair

    ours, theirs = lockstep_stream_pair()
    server = HttpServer(endless, refuse=refuse, bounds=Bounds(write_seconds=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs)
        await ours.send_all(GET)
        for _ in range(5):
            await trio.sleep(4)
            assert await ours.receive_some()
        assert not ended
        await trio.sleep(6)
        assert ended
        nursery.cancel_scope.cancel()


async def test_a_full_server_closes_what_is_too_much(autojump_clock: MockClock) -> None:
    server = HttpServer(echo, refuse=refuse, bounds=Bounds(connections=1))
    async with served(echo, server) as first, served(echo, server) as second:
        await wait_all_tasks_blocked()
        assert server.connections == 1
        open_ones = [client for client in (first, second) if not client.over.is_set()]
        await open_ones[0].send(GET)
        assert status_of(await open_ones[0].answers()) == 200


async def test_a_drained_server_answers_whoever_comes_and_keeps_no_connection(autojump_clock: MockClock) -> None:
    go_on = trio.Event()

    async def wait(exchange: Exchange) -> None:
        if exchange.request.path == "/slow":
            await go_on.wait()
        await exchange.answer(200, body=b"done")

    server = HttpServer(wait, refuse=refuse)
    async with served(wait, server) as slow, served(wait, server) as idle:
        await slow.send(GET.replace(b"/a?b=c", b"/slow"))
        await wait_all_tasks_blocked()
        server.drain()
        assert server.exchanges == 1
        await idle.send(GET)
        assert b"connection: close" in (await idle.all()).lower()
        go_on.set()
        await server.until_idle()
        assert b"done" in await slow.all()


@settings(max_examples=60)
@given(st.lists(st.sampled_from([GET, post(b"hello"), *HEADS.values(), b"\r\n", b"x", b"\0"]), max_size=4), st.data())
def test_any_bytes_are_answered_or_refused_the_same_however_they_are_cut(
    parts: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

    async def talk(pieces: list[bytes]) -> bytes:
        async with served(echo) as client:
            for piece in pieces:
                await client.send(piece)
                await wait_all_tasks_blocked()
            with trio.move_on_after(200):
                return await client.all()
        raise AssertionError("the server neither closed nor gave up")

    def run(pieces: list[bytes]) -> list[bytes]:
        said = trio.run(talk, pieces, clock=MockClock(autojump_threshold=0))
        return [line for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1")]

    assert run(pieces) == run([wire])


@asynccontextmanager
async def on_a_socket(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = HttpServer(handler, refuse=refuse, tls=tls, bounds=Bounds(linger_seconds=0.1, handshake_seconds=1))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_tls_is_served_and_who_shows_no_certificate_is_not_where_one_is_asked_for(tmp_path: object) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    with certificate.private_key_and_cert_chain_pem.tempfile() as pem, authority.cert_pem.tempfile() as ca:
        seen: list[object] = []

        async def look(exchange: Exchange) -> None:
            seen.append((exchange.request.is_tls, exchange.request.certificate is not None))
            await exchange.answer(200, body=exchange.request.peer.encode())

        client = ssl.create_default_context(cafile=ca)
        for client_ca in (None, ca):
            async with on_a_socket(look, server_context(pem, pem, client_ca)) as port:
                for shows in (False, True):
                    if shows:
                        certificate.configure_cert(client)
                    said = await ask_over_tls(port, client)
                    assert (b"127.0.0.1" in said) == (shows or client_ca is None)
                async with await trio.open_tcp_stream("127.0.0.1", port) as plain:
                    await plain.send_all(GET)
                    assert b"HTTP" not in await rest_of(plain)
            client = ssl.create_default_context(cafile=ca)
        assert seen == [(True, False), (True, False), (True, True)]
        for wrong in ((ca, ca, None), ("/nowhere", pem, None), (pem, pem, "/nowhere")):
            with pytest.raises(ConfigError, match="cannot be used"):
                server_context(*wrong)


async def ask_over_tls(port: int, context: ssl.SSLContext) -> bytes:
    stream = trio.SSLStream(
        await trio.open_tcp_stream("127.0.0.1", port), context, server_hostname="localhost", https_compatible=True
    )
    try:
        await stream.send_all(GET)
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""
    finally:
        await trio.aclose_forcefully(stream)


async def rest_of(stream: trio.SocketStream) -> bytes:
    said = b""
    try:
        while data := await stream.receive_some():
            said += data
    except trio.BrokenResourceError:
        pass
    return said


async def test_hundreds_of_idle_connections_hold_up_nobody() -> None:
    async with on_a_socket(echo) as port, AsyncExitStack() as idle:
        for _ in range(400):
            await idle.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(GET[:-2] + b"Connection: close\r\n\r\n")
            assert b"200 OK" in await rest_of(stream)
