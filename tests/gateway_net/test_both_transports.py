"""The same table over our transport and httpx's, on sockets of this machine."""

from __future__ import annotations

import select
from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing
from _pytest.mark import ParameterSet

from openai_gateway.engine.upstream import open_upstream
from openai_gateway.net.connection import MAX_INTERIM_ANSWERS
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.plan import TRANSPORTS
from tests.gateway_engine.loopback import Connection, Serve, loopback
from tests.gateway_engine.scripted import provider
from tests.gateway_net.exchanges import CHUNKED, OK, SECOND, Failed, Got, Outcome, Turn, outcome, plays


@attrs.frozen(kw_only=True)
class Case:
    """What a server's connections say in turn, what each call gets, and how many connections there were.

    `not_httpx` says why httpx's transport cannot do it.
    """

    name: str
    connections: tuple[Sequence[Turn], ...]
    gets: tuple[Outcome, ...]
    used: int
    closes: bool = True
    method: str = "POST"
    not_httpx: str = ""


def head(*lines: bytes, version: bytes = b"1.1", status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join((b"HTTP/%s %s" % (version, status), *lines, b"", b""))


INTERIM = head(status=b"103 Early Hints")
TWO_LENGTHS = head(b"content-length: 9", b"transfer-encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n"
REUSED = (OK, SECOND)
BOTH = (Got(), Got(body=b"second"))
ONE_EACH = ((OK,), (SECOND,))

CASES = (
    Case(name="a kept connection serves again", connections=(REUSED,), gets=BOTH, used=1, closes=False),
    Case(
        name="chunks and trailers",
        connections=((CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nx-trailer: 1\r\n\r\n", SECOND),),
        gets=BOTH,
        used=1,
        closes=False,
    ),
    Case(
        name="two lengths (RFC 9112, 6.3)",
        connections=((TWO_LENGTHS, OK), (SECOND,)),
        gets=BOTH,
        used=2,
        closes=False,
        not_httpx="it goes by the second and keeps the connection",
    ),
    Case(
        name="no body after HEAD",
        connections=((head(b"content-length: 500"), SECOND.removesuffix(b"second")),),
        gets=(Got(body=b""), Got(body=b"")),
        used=1,
        method="HEAD",
    ),
    Case(
        name="no body with 204 and 304",
        connections=((head(status=b"204 No Content"), head(status=b"304 Not Modified")),),
        gets=(Got(204, b""), Got(304, b"")),
        used=1,
    ),
    Case(
        name="a server that says close",
        connections=((head(b"connection: close", b"content-length: 2") + b"ok",), (SECOND,)),
        gets=BOTH,
        used=2,
        closes=False,
    ),
    Case(
        name="a body until the end of the connection",
        connections=((head() + b"ok",), (SECOND,)),
        gets=BOTH,
        used=2,
    ),
    Case(
        name="HTTP/1.0",
        connections=((head(version=b"1.0") + b"ok",), (SECOND,)),
        gets=BOTH,
        used=2,
    ),
    Case(
        name="HTTP/1.0 with a length, left open",
        connections=((head(b"content-length: 2", version=b"1.0") + b"ok",), (SECOND,)),
        gets=BOTH,
        used=2,
        closes=False,
    ),
    Case(
        name="interim answers",
        connections=((head(status=b"100 Continue") + INTERIM + OK, SECOND),),
        gets=BOTH,
        used=1,
    ),
    Case(
        name="interim answers without end",
        connections=((INTERIM * (MAX_INTERIM_ANSWERS + 1) + OK,),),
        gets=(Failed(Cause.MALFORMED),),
        used=1,
        not_httpx="it skips any number of them",
    ),
    Case(
        name="a switch of protocols that nobody asked for",
        connections=((head(b"upgrade: websocket", status=b"101 Switching Protocols"),),),
        gets=(Failed(Cause.MALFORMED),),
        used=1,
    ),
    Case(name="another protocol", connections=((b"220 mail\r\n\r\n",),), gets=(Failed(Cause.MALFORMED),), used=1),
    Case(
        name="a malformed chunk",
        connections=((CHUNKED + b"2\r\nok\r\nzz\r\n",),),
        gets=(Failed(Cause.MALFORMED, b"ok"),),
        used=1,
    ),
    Case(
        name="a malformed chunk at first, left open",
        connections=((CHUNKED + b"zz\r\n",),),
        gets=(Failed(Cause.MALFORMED),),
        used=1,
        closes=False,
    ),
    Case(
        name="a flood of headers",
        connections=((head(*[b"x-flood: 0123456789"] * 20_000),),),
        gets=(Failed(Cause.MALFORMED),),
        used=1,
        closes=False,
    ),
    Case(
        name="a body shorter than its length",
        connections=((head(b"content-length: 20") + b"half",),),
        gets=(Failed(Cause.CUT, b"half"),),
        used=1,
    ),
    Case(
        name="chunks without end",
        connections=((CHUNKED + b"4\r\nhalf\r\n",),),
        gets=(Failed(Cause.CUT, b"half"),),
        used=1,
    ),
    Case(name="no answer at all", connections=((b"",),), gets=(Failed(Cause.RESET),), used=1),
    Case(name="half a head", connections=((b"HTTP/1.1 20",),), gets=(Failed(Cause.RESET),), used=1),
    Case(
        name="a kept connection that dies under the next request",
        connections=((OK, b""), (SECOND,)),
        gets=BOTH,
        used=2,
    ),
    Case(
        name="a kept connection that dies in its next answer",
        connections=((OK, b"HTTP/1.1 20"), (SECOND,)),
        gets=(Got(), Failed(Cause.RESET)),
        used=1,
        not_httpx="it does not tell that bytes came, so that the request is sent again",
    ),
    Case(name="a server that closes after each answer", connections=ONE_EACH, gets=BOTH, used=2),
    Case(
        name="more than the answer",
        connections=((OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake",), (SECOND,)),
        gets=BOTH,
        used=2,
        closes=False,
        not_httpx="it takes what is left over for the next answer",
    ),
    Case(
        name="more than an answer without a body",
        connections=((head(status=b"204 No Content") + b"x\r\n\r\n",), (SECOND,)),
        gets=(Got(204, b""), Got(body=b"second")),
        used=2,
        closes=False,
        not_httpx="it takes what is left over for the next answer",
    ),
    Case(
        name="a redirect",
        connections=((head(b"location: http://127.0.0.1:1/", b"content-length: 0", status=b"302 Found"),),),
        gets=(Got(302, b""),),
        used=1,
    ),
)


def both(case: Case) -> list[ParameterSet]:
    """The case for each transport. Where httpx's is known to fail it must, so that its getting better is noticed."""
    marks = (pytest.mark.xfail(reason=case.not_httpx),) if case.not_httpx else ()
    return [
        pytest.param(case, "native", id=f"{case.name}-native"),
        pytest.param(case, "httpx", id=f"{case.name}-httpx", marks=marks),
    ]


@pytest.mark.parametrize(("case", "transport"), [row for case in CASES for row in both(case)])
async def test_each_call_gets_what_its_server_said(case: Case, transport: str) -> None:
    async with loopback(plays(*case.connections, closes=case.closes)) as server, open_upstream() as upstream:
        made = provider(base_url=server.base_url, transport=transport)
        got = []
        for _ in case.gets:
            got.append(await outcome(upstream, made, case.method))
            await trio.testing.wait_all_tasks_blocked()  # a server may be closing

    assert tuple(got) == case.gets
    assert len(server.connections) == case.used


def says_more_when_idle(more: bytes) -> Serve:
    async def serve(connection: Connection) -> None:
        await connection.request()
        if connection.number == 0:
            await connection.stream.send_all(OK)
            await trio.testing.wait_all_tasks_blocked()
            await connection.stream.send_all(more)
            await connection.until_gone()
        else:
            await connection.stream.send_all(SECOND)

    return serve


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_that_speaks_unasked_is_not_used_again(transport: str) -> None:
    async with loopback(says_more_when_idle(OK)) as server, open_upstream() as upstream:
        made = provider(base_url=server.base_url, transport=transport)
        assert await outcome(upstream, made) == Got()
        await server.served.wait()
        assert await outcome(upstream, made) == Got(body=b"second")
        with trio.fail_after(5):
            await server.connections[0].gone.wait()


async def test_where_there_is_no_poll_an_idle_connection_is_looked_at_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Windows."""
    monkeypatch.delattr(select, "poll")
    async with loopback(plays(REUSED, (OK,))) as server, open_upstream() as upstream:
        made = provider(base_url=server.base_url)
        for expected in (*BOTH, Got()):
            assert await outcome(upstream, made) == expected
            await trio.testing.wait_all_tasks_blocked()

    assert len(server.connections) == 2


async def answers_once(connection: Connection) -> None:
    await connection.request()
    await connection.stream.send_all(OK)


def refuses_unread(*, stays: bool) -> Serve:
    async def serve(connection: Connection) -> None:
        if connection.number:
            await answers_once(connection)
            return
        await connection.stream.receive_some(1000)
        await connection.stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
        if stays:
            await trio.sleep_forever()

    return serve


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "closes"])
async def test_a_refusal_is_heard_while_the_body_is_still_being_sent(stays: bool) -> None:
    # httpx's transport sends all before it listens: there a server that stays is only ended by the first-byte clock.
    async with loopback(refuses_unread(stays=stays)) as server, open_upstream() as upstream:
        with trio.fail_after(10):
            made = provider(base_url=server.base_url)
            assert await outcome(upstream, made, body=b"x" * 2**24) == Got(413, b"large")
            assert await outcome(upstream, made) == Got()  # on another connection: the body would still be due

        assert len(server.connections) == 2


async def leaves_in_the_middle(connection: Connection) -> None:
    await connection.stream.receive_some(1000)


async def test_a_server_that_leaves_while_the_body_is_being_sent_has_not_answered() -> None:
    async with loopback(leaves_in_the_middle) as server, open_upstream() as upstream:
        with trio.fail_after(10):
            got = await outcome(upstream, provider(base_url=server.base_url), body=b"x" * 2**24)

    assert got == Failed(Cause.RESET)


async def takes_its_time(connection: Connection) -> None:
    await connection.stream.receive_some(1000)
    await connection.stream.send_all(CHUNKED)
    received = 0
    while received < 2**24 - 1000:
        received += len(await connection.stream.receive_some(2**20))
    await connection.stream.send_all(b"2\r\nok\r\n0\r\n\r\n")


async def test_a_large_body_is_sent_to_its_end_though_the_answer_has_begun() -> None:
    async with loopback(takes_its_time) as server, open_upstream() as upstream:
        with trio.fail_after(10):
            assert await outcome(upstream, provider(base_url=server.base_url), body=b"x" * 2**24) == Got()


async def counts(connection: Connection) -> None:
    while request := await connection.request():
        await connection.stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n%08d" % len(request))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_large_body_leaves_the_connection_fit_for_the_next(transport: str) -> None:
    async with loopback(counts) as server, open_upstream() as upstream:
        made = provider(base_url=server.base_url, transport=transport)
        for _ in range(2):
            got = await outcome(upstream, made, body=b"x" * 10**6)
            assert isinstance(got, Got)
            assert 10**6 < int(got.body) < 10**6 + 1000

        assert len(server.connections) == 1
