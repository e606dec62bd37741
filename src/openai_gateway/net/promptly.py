"""What the kernel has or takes at once, without the detour that a stream of trio's makes for it.

A send of trio's gives way to the other tasks though nothing was waited for, and a receive asks the kernel before it
waits, which is in vain where the peer has just been told something. Over a plain socket both are done here by file
descriptor; over anything else (TLS, memory, Windows, where a socket is no file) they are left to the stream.
"""

from __future__ import annotations

import os
from typing import Final

import trio

_IS_FILE: Final = os.name == "posix"


async def send(stream: trio.abc.Stream, data: bytes) -> int:
    """How many bytes of `data` went out at once, 0 where none did: the rest is for `send_all`, and so is what is wrong.

    What is cancelled sends nothing.
    """
    if not (_IS_FILE and isinstance(stream, trio.SocketStream)):
        return 0
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        return os.write(stream.socket.fileno(), data)
    except OSError:
        return 0


async def receive(stream: trio.abc.Stream, most: int) -> bytes:
    """As `receive_some`, for what is not expected to be here yet."""
    if not (_IS_FILE and isinstance(stream, trio.SocketStream)):
        return bytes(await stream.receive_some(most))
    if stream.socket.fileno() < 0:
        raise trio.ClosedResourceError("this connection was closed")
    await trio.lowlevel.wait_readable(stream.socket)
    try:
        return os.read(stream.socket.fileno(), most)
    except BlockingIOError:  # the kernel may say so of what it then throws away
        return bytes(await stream.receive_some(most))
    except OSError as error:
        raise trio.BrokenResourceError(f"the connection broke: {error}") from error
