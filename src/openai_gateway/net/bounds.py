"""How much one client may ask of the listener's memory and time."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Bounds:
    """Sizes in bytes, times in seconds. Defaults are those of nginx and Envoy where they have one.

    `head_seconds` is for the whole head, however it drips. A body may stand still for `body_seconds` in all, and for a
    second more with each `body_rate` bytes that came. `idle_seconds` is what a kept connection waits for the next
    request, `write_seconds` how long a reader may take nothing, `linger_seconds` how long a connection that was ended
    is still listened to, so that its last answer is read and not reset.
    """

    connections: int = 10_000
    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    body_rate: int = 1024
    idle_seconds: float = 75.0
    write_seconds: float = 60.0
    handshake_seconds: float = 10.0
    linger_seconds: float = 1.0
    unread_bytes: int = 64 * 1024
    """Of a body that the handler did not want, to be read so that the connection can be kept; of more it is closed."""
