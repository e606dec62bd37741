"""Sockets without the detour: the same bytes, errors and cancellation as over a stream of trio's."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from openai_gateway.net import promptly


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0] as listener:
        ours = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        async with ours, await listener.accept() as theirs:
            yield ours, theirs


def resets(stream: trio.SocketStream) -> None:
    """Its end is a reset, and no farewell."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_what_is_sent_at_once_is_received_by_whoever_waits() -> None:
    async with pair() as (ours, theirs):
        found: list[bytes] = []

        async def receive() -> None:
            while data := await promptly.receive(theirs, 3):
                found.append(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            assert await promptly.send(ours, b"hello") == 5
            await wait_all_tasks_blocked()
            await ours.send_eof()
        assert found == [b"hel", b"lo"]


async def test_of_too_much_only_what_the_kernel_takes_goes_out_and_then_nothing() -> None:
    async with pair() as (ours, theirs):
        data = bytes(range(256)) * 100_000
        sent = await promptly.send(ours, data)
        assert 0 < sent < len(data)
        while more := await promptly.send(ours, data[sent:]):
            sent += more
        assert sent < len(data)
        found = bytearray()
        while len(found) < sent:
            found += await promptly.receive(theirs, 2**16)
        assert bytes(found) == data[:sent]


async def test_who_is_cancelled_sends_and_receives_nothing() -> None:
    async with pair() as (ours, theirs):
        with trio.CancelScope() as scope:
            scope.cancel()
            await promptly.send(ours, b"never")
        assert scope.cancelled_caught
        with trio.move_on_after(0) as scope:
            await promptly.receive(theirs, 10)
        assert scope.cancelled_caught


async def test_a_broken_connection_is_told_as_trio_tells_it() -> None:
    async with pair() as (ours, theirs):
        resets(theirs)
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError, match="reset by peer"):
            await promptly.receive(ours, 10)
        assert await promptly.send(ours, b"in vain") == 0
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"in vain")


async def test_who_waits_at_a_connection_that_is_closed_meanwhile_is_told() -> None:
    async with pair() as (ours, _):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await promptly.receive(ours, 10)

            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            await ours.aclose()
        assert await promptly.send(ours, b"too late") == 0
        with pytest.raises(trio.ClosedResourceError):
            await promptly.receive(ours, 10)


async def test_a_stream_that_is_no_socket_is_left_to_itself() -> None:
    ours, theirs = memory_stream_pair()
    assert await promptly.send(ours, b"hello") == 0
    await ours.send_all(b"hello")
    assert await promptly.receive(theirs, 10) == b"hello"
