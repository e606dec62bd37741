"""Tasks beside a block: they end with it, and an error of the block leaves it as it was raised."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def beside(*tasks: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run `tasks` while the block runs. A nursery alone would make a group of the block's error."""
    broke: BaseException | None = None
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)
        try:
            yield
        except BaseException as error:  # noqa: BLE001, ASYNC103 - raised below, where no nursery wraps it
            broke = error
        nursery.cancel_scope.cancel()
    if broke is not None:
        raise broke
