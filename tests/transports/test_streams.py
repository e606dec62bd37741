"""The ends of the wire, one by one, over real descriptors and within this process."""

from __future__ import annotations

import errno
import os
import pty
import select
import socket
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from openai_gateway_mcp.transports import polled, threads
from openai_gateway_mcp.transports.descriptors import Descriptor, Kind, Wire, kind_of
from openai_gateway_mcp.transports.stdio import PLATFORMS, Receiver, Sender, stream_for
from openai_gateway_mcp.transports.terminal import Echo

MakeReceiver = Callable[[int], Receiver]
MakeSender = Callable[[int], Sender]


class Ends:
    """Both ends of a pipe; a test closes them as it likes."""

    def __init__(self) -> None:
        self.output, self.input = os.pipe()
        self._open = {self.output, self.input}

    def close(self, fd: int) -> None:
        self._open.discard(fd)
        os.close(fd)

    def close_all(self) -> None:
        for fd in list(self._open):
            self.close(fd)

    def fill(self) -> int:
        """Fill the pipe; how many bytes that took."""
        os.set_blocking(self.input, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.input, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.input, True)
            return filled


@pytest.fixture
def pipe() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close_all()


RECEIVERS: list[MakeReceiver] = [polled.PolledReceiver, threads.ThreadReceiver]
SENDERS: list[MakeSender] = [polled.PolledSender, threads.ThreadSender]


def platforms() -> list[str]:
    return sorted(PLATFORMS)


def whole_wire(receive: int, send: int) -> Wire:
    return Wire(
        receive=Descriptor(fd=receive, kind=kind_of(receive)),
        send=Descriptor(fd=send, kind=kind_of(send)),
    )


# --- every platform's stream ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", platforms())
async def test_bytes_go_both_ways_on_every_platform(platform: str) -> None:
    there, back = Ends(), Ends()
    stream = stream_for(whole_wire(there.output, back.input), platform=platform)
    os.write(there.input, b"a message\n")
    assert await stream.receive_some() == b"a message\n"

    data = b"an answer\n"
    if sent := stream.send_now(data):
        assert sent == len(data)
    else:
        await stream.send_all(data)
    assert os.read(back.output, 100) == data

    there.close(there.input)
    assert await stream.receive_some() == b""
    back.close(back.output)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(data)
    there.close_all()
    back.close_all()


@pytest.mark.parametrize("platform", platforms())
async def test_more_than_the_wire_holds_arrives_whole_on_every_platform(platform: str, pipe: Ends) -> None:
    data = os.urandom(1_000_000)
    stream = stream_for(whole_wire(pipe.output, pipe.input), platform=platform)

    async def send() -> None:
        await stream.send_all(data[stream.send_now(data) :])

    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(received) < len(data):
            received += await stream.receive_some()
    assert received == data


@pytest.mark.parametrize("platform", platforms())
async def test_a_stream_can_be_left_while_it_waits_on_every_platform(platform: str, pipe: Ends) -> None:
    back = Ends()
    back.fill()
    stream = stream_for(whole_wire(pipe.output, back.input), platform=platform)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        nursery.start_soon(stream.hung_up)
        nursery.start_soon(stream.send_all, b"x" * 100_000)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    # What a thread was abandoned in ends now; the next one of its direction waits for that, so that no thread is left
    # at a descriptor whose number goes to another file.
    pipe.close(pipe.input)
    back.close(back.output)
    assert await stream.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    back.close_all()


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", RECEIVERS)
async def test_a_reset_connection_is_an_end_like_any_other(make: MakeReceiver) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"never read")
        ours.sendall(b"never read either")
        theirs.close()  # with bytes unread: a reset
        receiver = make(ours.fileno())
        assert await receiver.receive_some() in {b"never read", b""}
        assert await receiver.receive_some() == b""


@pytest.mark.parametrize("make", RECEIVERS)
async def test_a_failure_to_read_is_raised(make: MakeReceiver, pipe: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int, __: int) -> bytes:
        raise OSError(errno.ENOMEM, "out of memory")

    os.write(pipe.input, b"x")
    with monkeypatch.context() as failing:
        failing.setattr(os, "read", fail)
        with pytest.raises(OSError, match="out of memory"):
            await make(pipe.output).receive_some()


async def test_bytes_that_somebody_else_took_are_waited_for_again(pipe: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[bytes | Exception] = [BlockingIOError(), b"ours"]

    def read(_: int, __: int) -> bytes:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    os.write(pipe.input, b"x")
    receiver = polled.PolledReceiver(pipe.output)
    with monkeypatch.context() as contested:
        contested.setattr(os, "read", read)
        assert await receiver.receive_some() == b"ours"


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll can tell a hang-up from data")
async def test_a_hang_up_is_seen_behind_what_is_unread(pipe: Ends) -> None:
    receiver = polled.PolledReceiver(pipe.output)
    os.write(pipe.input, b"unread")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.hung_up)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        pipe.close(pipe.input)
    assert await receiver.receive_some() == b"unread"


async def test_a_file_has_no_hang_up(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(b"line\n")
    fd = os.open(tmp_path / "requests", os.O_RDONLY)
    receiver = polled.DirectReceiver(fd)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.hung_up)
        assert await receiver.receive_some() == b"line\n"
        assert await receiver.receive_some() == b""
        nursery.cancel_scope.cancel()
    os.close(fd)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_full_pipe_takes_nothing_and_does_not_block(pipe: Ends) -> None:
    sender = polled.PolledSender(pipe.input)
    pipe.fill()
    assert sender.send_now(b"x" * 10_000) == 0
    assert os.get_blocking(pipe.input)


def test_a_pipe_takes_what_fits_and_does_not_block(pipe: Ends) -> None:
    sender = polled.PolledSender(pipe.input)
    data = b"x" * 10_000_000
    sent = sender.send_now(data)
    assert 0 < sent < len(data)
    assert sender.send_now(data[sent:]) == 0


def test_a_pipe_that_another_writer_filled_meanwhile_takes_nothing(pipe: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: int, __: bytes) -> int:
        raise BlockingIOError

    sender = polled.PolledSender(pipe.input)
    with monkeypatch.context() as contested:
        contested.setattr(os, "write", write)
        assert sender.send_now(b"x") == 0


def test_a_socket_takes_what_fits_and_does_not_block() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = polled.PolledSender(ours.fileno())
        data = b"x" * 10_000_000
        sent = sender.send_now(data)
        assert 0 < sent < len(data)
        assert sender.send_now(data[sent:]) == 0
        assert len(theirs.recv(5000)) == 5000
        sender.send_now(data[sent:])
        assert ours.getblocking()


def test_a_socket_whose_peer_is_gone_is_broken() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        sender = polled.PolledSender(ours.fileno())
        theirs.close()
        with pytest.raises(trio.BrokenResourceError):
            sender.send_now(b"x")


@pytest.mark.parametrize("make", [*SENDERS, polled.DirectSender])
async def test_a_failure_to_write_is_raised(make: MakeSender, pipe: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int, __: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    sender = make(pipe.input)
    with monkeypatch.context() as failing:
        failing.setattr(os, "write", fail)
        with pytest.raises(OSError, match="no space"):
            await sender.send_all(b"x")


# --- kinds and echo ---------------------------------------------------------------------------------------------------


def test_every_kind_is_told_apart(pipe: Ends, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    ours, theirs = socket.socketpair()
    null, zero = os.open(os.devnull, os.O_RDWR), os.open("/dev/zero", os.O_RDONLY)
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    expected = {
        pipe.output: Kind.PIPE,
        ours.fileno(): Kind.SOCKET,
        slave: Kind.TERMINAL,
        null: Kind.NULL,
        zero: Kind.DEVICE,
        file: Kind.FILE,
    }
    assert {fd: kind_of(fd) for fd in expected} == expected
    ours.close()
    theirs.close()
    for fd in (master, slave, null, zero, file):
        os.close(fd)


def test_every_platform_knows_every_kind() -> None:
    assert all(set(ends) == set(Kind) for ends in PLATFORMS.values())


def test_the_echo_goes_off_and_comes_back_once() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    echo = Echo(slave)
    echo.off()
    assert termios.tcgetattr(slave) != before
    echo.restore()
    assert termios.tcgetattr(slave) == before
    echo.restore()
    os.close(master)
    os.close(slave)


def test_what_is_no_terminal_has_no_echo(pipe: Ends) -> None:
    echo = Echo(pipe.output)
    echo.off()
    echo.restore()


def test_a_terminal_that_went_away_has_no_echo_to_restore() -> None:
    master, slave = pty.openpty()
    echo = Echo(slave)
    echo.off()
    os.close(slave)
    echo.restore()
    os.close(master)
