"""A listening socket that takes no new connections and resets none: what a server needs to leave in peace."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Final, Protocol

_ATTACH_FILTER: Final = 26  # SO_ATTACH_FILTER of Linux, which Python does not name
_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06  # of classic BPF (linux/filter.h)
_FLAGS, _SYN = 13, 0x02  # where TCP's flags lie in its header, and that which begins a connection (RFC 9293, 3.1)
_PROGRAM: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (_LOAD_BYTE, 0, 0, _FLAGS),
        (_JUMP_IF_SET, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),  # drop it
        (_RETURN, 0, 0, 0xFFFFFFFF),  # let it in
    )
)


class _Socket(Protocol):
    def setsockopt(self, level: int, option: int, value: bytes, /) -> object: ...


def turn_deaf(listening: _Socket) -> bool:
    """Let the kernel drop whatever would begin a new connection; those that are there already can be accepted.

    Closing a listening socket resets the connections that wait to be accepted, and under load there are always some. A
    client whose first packet was dropped sends it again after a second, and is refused, or served by who listens then.
    False where the system cannot do it.
    """
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(_PROGRAM)
    count = len(_PROGRAM) // struct.calcsize("HBBI")
    try:
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", count, ctypes.addressof(program)))
    except OSError:
        return False
    return True
