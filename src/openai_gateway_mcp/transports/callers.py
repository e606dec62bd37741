"""Who calls over the network, and how a transport finds that out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from openai_gateway.net.listener import Request


@attrs.frozen(kw_only=True)
class Caller:
    """Whoever a request is from. `tools` and `models` are patterns of what it may use, None for all there is.

    Two callers with one `identity` are the same: they share a limit, and may cancel each other's calls.
    """

    identity: str = ""
    tools: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None


ANYBODY = Caller()
"""Who asks where nobody has to say who they are: on loopback, where no token is configured."""


@attrs.frozen(eq=False)
class Unauthorized(Exception):
    """The request carries nothing that lets it in (401), or too little (403), or nobody can tell now (503).

    `challenge` is WWW-Authenticate's, "" where another token would help nobody.
    """

    status: int
    challenge: str
    words: str


Verifier = Callable[[Request], Awaitable[Caller]]
"""Whose request it is, by its head alone. Raises Unauthorized."""


async def let_in_anybody(_request: Request) -> Caller:  # noqa: ASYNC910, ASYNC124 - it has nothing to wait for
    return ANYBODY
