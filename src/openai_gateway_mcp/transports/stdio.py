"""MCP over standard input and output: the stream over the claimed descriptors, and the run around a conversation."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import attrs
import trio

from openai_gateway_mcp.transports.descriptors import Kind, Wire
from openai_gateway_mcp.transports.polled import DirectReceiver, DirectSender, PolledReceiver, PolledSender
from openai_gateway_mcp.transports.signals import Interruption, exit_code
from openai_gateway_mcp.transports.streams import Stream, StreamFailed
from openai_gateway_mcp.transports.terminal import Echo
from openai_gateway_mcp.transports.threads import ThreadReceiver, ThreadSender


class Receiver(Protocol):
    async def receive_some(self) -> bytes: ...
    async def hung_up(self) -> None: ...


class Sender(Protocol):
    def send_now(self, data: bytes | memoryview) -> int: ...
    async def send_all(self, data: bytes) -> None: ...


@attrs.frozen(kw_only=True)
class Duplex:
    """The two directions of a conversation as one Stream."""

    receiver: Receiver
    sender: Sender

    async def receive_some(self) -> bytes:
        return await self.receiver.receive_some()

    async def hung_up(self) -> None:
        await self.receiver.hung_up()

    def send_now(self, data: bytes | memoryview) -> int:
        return self.sender.send_now(data)

    async def send_all(self, data: bytes) -> None:
        await self.sender.send_all(data)


Ends = Mapping[Kind, tuple[Callable[[int], Receiver], Callable[[int], Sender]]]

_POSIX: Final[Ends] = {
    Kind.PIPE: (PolledReceiver, PolledSender),
    Kind.SOCKET: (PolledReceiver, PolledSender),
    Kind.TERMINAL: (PolledReceiver, ThreadSender),
    Kind.FILE: (DirectReceiver, DirectSender),
    Kind.NULL: (DirectReceiver, DirectSender),
    Kind.DEVICE: (DirectReceiver, DirectSender),
    Kind.CLOSED: (DirectReceiver, DirectSender),
}
_WINDOWS: Final[Ends] = dict.fromkeys(Kind, (ThreadReceiver, ThreadSender))

# os.name → how each kind of descriptor is read and written there
PLATFORMS: Final[Mapping[str, Ends]] = {"posix": _POSIX, "nt": _WINDOWS}


def stream_for(wire: Wire, *, platform: str = os.name) -> Stream:
    """The stream over claimed descriptors; `platform` is one of PLATFORMS."""
    ends = PLATFORMS[platform]
    make_receiver, _ = ends[wire.receive.kind]
    _, make_sender = ends[wire.send.kind]
    return Duplex(receiver=make_receiver(wire.receive.fd), sender=make_sender(wire.send.fd))


# Why nobody can be talking to us, by what stands in the place of the wire.
_NOBODY: Final[Mapping[Kind, str]] = {
    Kind.NULL: "is the null device",
    Kind.CLOSED: "is closed",
}


def run(wire: Wire, converse: Callable[[Stream], Awaitable[None]], *, say: Callable[[str], None]) -> int:
    """Run a conversation under trio, signals and the terminal's echo taken care of; the process's exit code.

    0 after the end of the input, or when nobody reads the answers; 130 and 143 after SIGINT and SIGTERM; 1 when answers
    could not be written, or the input not read. `say` prints a line for people, to stderr.
    """
    if wire.receive.kind in _NOBODY:
        say(
            f"stdin {_NOBODY[wire.receive.kind]}, so no client can be heard: "
            "an MCP client starts this command itself; a container needs `docker run -i`"
        )
        return 0
    if wire.send.kind is Kind.CLOSED:
        say("stdout is closed, so no client can be answered")
        return 0
    echo = Echo(wire.receive.fd)
    interruption = Interruption(last_act=echo.restore)
    interruption.install()
    echo.off()
    has_failed = False
    try:
        trio.run(_interruptible, wire, converse, interruption)
    except* StreamFailed as failures:
        say(_innermost(failures))
        has_failed = True
    finally:
        echo.restore()
    return int(has_failed) if interruption.signum is None else exit_code(interruption.signum)


def _innermost(failures: ExceptionGroup[StreamFailed]) -> str:
    """There is one stream, so there is one failure, in as many groups as the conversation has nurseries around it."""
    failure = failures.exceptions[0]
    return _innermost(failure) if isinstance(failure, ExceptionGroup) else str(failure)


async def _interruptible(wire: Wire, converse: Callable[[Stream], Awaitable[None]], interruption: Interruption) -> None:
    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as everything, interruption.asking(lambda: token.run_sync_soon(everything.cancel)):
        await converse(stream_for(wire))
