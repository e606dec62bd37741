"""How an operating system says that nobody is at the other end."""

from __future__ import annotations

import errno
from typing import Final

GONE: Final = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.EIO,  # a terminal that was closed
        errno.ENXIO,
    }
)
