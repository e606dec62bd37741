"""h11's law, through the whole transport: any bytes are an answer or an error of ours, and cuts change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway.net.pool import Limits
from openai_gateway.routing.attempts import Cause
from tests.gateway_engine.loopback import Connection
from tests.gateway_engine.scripted import provider
from tests.gateway_net.exchanges import CHUNKED, OK, Failed, Got, Outcome, outcome
from tests.gateway_net.memory import native

PIECES = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"content-length: 4\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip\r\n",
    b"connection: close\r\n",
    b"keep-alive: timeout=0\r\n",
    b"\r\n",
    b"\n",
    b"4\r\nbody\r\n",
    b"0\r\n\r\n",
    b"body",
    b"fffffffffffffffffffff\r\n",
    b"\x00",
    b" folded\r\n",
    OK,
    CHUNKED,
)
SAID = st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=8).map(b"".join)


def cut(said: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(said), *(place % (len(said) + 1) for place in at)})
    return [said[begin:end] for begin, end in pairwise(places)]


async def two_outcomes(said: Sequence[bytes]) -> tuple[Outcome, Outcome, int]:
    """What two calls get of a server that says this and closes, on each of its connections; and how many there were."""

    async def serve(connection: Connection) -> None:
        await connection.request()
        for part in said:
            await connection.stream.send_all(part)
            await trio.sleep(1)

    async with native(serve) as (upstream, memory, transport):
        made = provider(base_url="http://one.example/v1")
        found = await outcome(upstream, made), await outcome(upstream, made)
        (pool,) = transport.client._pools.values()
        assert pool.free == Limits().connections
        return *found, len(memory.connections)


def run(said: Sequence[bytes]) -> tuple[Outcome, Outcome, int]:
    return trio.run(two_outcomes, said, clock=MockClock(autojump_threshold=0))


@given(SAID, st.lists(st.integers(0, 10**4), max_size=5))
def test_any_bytes_are_an_answer_or_an_error_and_cuts_change_nothing(said: bytes, at: list[int]) -> None:
    whole, parts = run([said]), run(cut(said, at))
    assert whole == parts
    first, second, connections = whole
    assert first == second
    assert connections == 2
    assert isinstance(first, Got) or first.cause in {Cause.RESET, Cause.CUT, Cause.MALFORMED}


@given(st.binary(max_size=300), st.lists(st.integers(0, 10**4), max_size=20))
def test_a_cut_of_a_sound_answer_is_its_beginning_and_an_error(body: bytes, at: list[int]) -> None:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in cut(body, at) if part)
    said = CHUNKED + framed + b"0\r\n\r\n"
    assert run([said])[0] == Got(body=body)
    for end in range(len(CHUNKED), len(said), 7):
        found = run([said[:end]])[0]
        assert isinstance(found, Failed)
        assert body.startswith(found.before)
