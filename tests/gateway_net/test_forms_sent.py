"""Bodies that are read while they are sent, over both transports, on sockets of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.upstream import Upstream, open_upstream
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from openai_gateway.routing.forms import FilePart, Form, Upload, form_of
from openai_gateway.routing.plan import TRANSPORTS, Provider
from tests.gateway_engine.loopback import Connection, loopback
from tests.gateway_engine.scripted import provider
from tests.gateway_net.exchanges import OK, Got, clocks
from tests.gateway_net.memory import native
from tests.gateway_net.test_both_transports import counts, leaves_in_the_middle, refuses_unread, takes_its_time


@attrs.define(kw_only=True)
class Made:
    """So many pieces of so many bytes, each after so many seconds. `breaks` after the last; `claims` another size."""

    count: int = 256
    length: int = 65536
    seconds: float = 0.0
    breaks: bool = False
    claims: int = 0
    closed: bool = False

    @property
    def size(self) -> int:
        return self.count * self.length + self.claims

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self.count):
                await trio.sleep(self.seconds)
                yield b"x" * self.length
            if self.breaks:
                raise OSError("the disk is gone")
        finally:
            self.closed = True


def form(content: Made) -> Form:
    file = FilePart(name="file", filename="a.bin", content=content)
    return form_of(Upload(boundary="b0und4ry", files=(file,)), {"purpose": "x"})


async def answered(upstream: Upstream, to: Provider, content: Made) -> Got:
    request = UpstreamRequest(method="POST", url=f"{to.base_url}/x", headers=(), form=form(content))
    exchange = await upstream.open(to, request, clocks())
    try:
        return Got(exchange.status, await exchange.read_all())
    finally:
        await exchange.aclose()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_it_is_sent_whole_and_leaves_the_connection_fit_for_the_next(transport: str) -> None:
    async with loopback(counts) as server, open_upstream() as upstream:
        made = provider(base_url=server.base_url, transport=transport)
        for _ in range(2):
            got = await answered(upstream, made, Made(count=16))
            assert form(Made(count=16)).size < int(got.body) < form(Made(count=16)).size + 500
        assert len(server.connections) == 1


@pytest.mark.parametrize("stays", [True, False])
async def test_a_refusal_is_heard_while_it_is_still_being_sent(stays: bool) -> None:
    content = Made()
    async with loopback(refuses_unread(stays=stays)) as server, open_upstream() as upstream:
        with trio.fail_after(10):
            assert await answered(upstream, provider(base_url=server.base_url), content) == Got(413, b"large")
    assert content.closed


async def test_an_answer_may_begin_before_it_is_sent_to_its_end() -> None:
    async with loopback(takes_its_time) as server, open_upstream() as upstream:
        with trio.fail_after(10):
            assert await answered(upstream, provider(base_url=server.base_url), Made()) == Got()


async def test_a_server_that_leaves_in_the_middle_has_not_answered() -> None:
    async with loopback(leaves_in_the_middle) as server, open_upstream() as upstream:
        with trio.fail_after(10), pytest.raises(Broke) as caught:
            await answered(upstream, provider(base_url=server.base_url), Made())
    assert caught.value.cause is Cause.RESET


@pytest.mark.parametrize("content", [Made(count=2, breaks=True), Made(count=2, claims=1), Made(count=2, claims=-1)])
async def test_what_cannot_be_read_to_its_end_is_no_request(content: Made) -> None:
    async with loopback(counts) as server, open_upstream() as upstream:
        with trio.fail_after(10), pytest.raises(Broke) as caught:
            await answered(upstream, provider(base_url=server.base_url), content)
        assert caught.value.cause is Cause.NOT_CONFIGURED
        assert "cannot be read" in caught.value.detail
        assert (await answered(upstream, provider(base_url=server.base_url), Made(count=1))).status == 200


async def test_as_long_as_it_gets_on_no_answer_is_missed(autojump_clock: MockClock) -> None:
    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(OK)

    to = provider(base_url="http://one.example/v1")
    async with native(serve) as (upstream, _, _):
        assert await answered(upstream, to, Made(count=9, length=10, seconds=20)) == Got()
    async with native(serve) as (upstream, _, _):
        with pytest.raises(Broke) as caught:
            await answered(upstream, to, Made(count=9, length=10, seconds=31))
    assert caught.value.cause is Cause.FIRST_BYTE_CLOCK
