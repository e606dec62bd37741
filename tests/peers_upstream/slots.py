"""What llama.cpp itself says of its work: the upstream's own word that a call of ours runs, or runs no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import httpx
import trio
from tests.peers_upstream.upstreams import Upstream

SECONDS = 10  # a bound for a test that fails, not a measurement


async def slots_become_idle(llama_cpp: Upstream) -> None:
    """Returns when the model computes for nobody; trio.TooSlowError if it goes on."""
    await _wait_until(llama_cpp, lambda busy: not any(busy))


async def work_stops(upstream: Upstream, llama_cpp: Upstream) -> None:
    """Returns when the model behind `upstream` has stopped; at once where a hang-up does not get that far."""
    await trio.lowlevel.checkpoint()
    if upstream.stops:
        await slots_become_idle(llama_cpp)


async def slots_become_busy(llama_cpp: Upstream) -> None:
    """Returns when a further call would have to wait."""
    await _wait_until(llama_cpp, all)


async def _wait_until(llama_cpp: Upstream, is_so: Callable[[Iterable[bool]], bool]) -> None:
    headers = {"Authorization": f"Bearer {llama_cpp.key}"}
    async with httpx.AsyncClient(base_url=llama_cpp.url, headers=headers, trust_env=False) as client:
        with trio.fail_after(SECONDS):
            while True:  # another process: there is no event to wait for
                if is_so([slot["is_processing"] for slot in (await client.get("/slots")).json()]):
                    return
                await trio.sleep(0.02)
