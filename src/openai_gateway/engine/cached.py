"""Answers out of the cache, in the forms in which a call can be answered."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import trio

from openai_gateway.engine.charges import row_for
from openai_gateway.engine.router import Router
from openai_gateway.engine.store.tab import Tab
from openai_gateway.engine.whole import call_whole
from openai_gateway.routing.accounts import Account, Outcome
from openai_gateway.routing.cache import Entry, cache_key, whole_entry
from openai_gateway.routing.calls import Call, Chunk, Finished, Part, Reply, Served
from openai_gateway.routing.globs import is_allowed
from openai_gateway.routing.limits import Used
from openai_gateway.wire.strict import loads


async def call_or_recall(router: Router, call: Call) -> Reply:
    """The whole answer, asked for or kept. Raises GatewayError."""
    key = key_of(router, call, stream=False)
    entry = await recall(router, call, key)
    if entry is not None:
        (body,) = entry.pieces
        return Reply(status=200, body=body, json=loads(body), served=entry.served)
    reply = await call_whole(router, call)
    keep(router, key, None if key is None else whole_entry(reply.body, reply.json, reply.served))
    return reply


def parts_of(entry: Entry) -> Iterator[Part]:
    """A stream as it was."""
    for piece in entry.pieces:
        yield Chunk(data=piece, json=loads(piece))
    yield Finished(served=entry.served)


def key_of(router: Router, call: Call, *, stream: bool) -> bytes | None:
    """Where the answer of this call is kept; None where there is no cache, or it is not to be used for it."""
    if router.cache is None or call.tenant is None or not is_allowed(call.model, call.models):
        return None
    return cache_key(call, tenant=call.tenant, stream=stream, opted=call.cache)


async def recall(router: Router, call: Call, key: bytes | None) -> Entry | None:
    """The kept answer, as one that cost nothing; it has its record, as every call has.

    To its caller's limits it is a request like others, without tokens. Raises GatewayError where they refuse it.
    """
    if router.cache is None or key is None:
        return None
    entry = router.cache.get(key, trio.current_time())
    if entry is None:
        return None
    account = Account(
        endpoint=call.endpoint, model=call.model, tenant=call.tenant, outcome=Outcome.ANSWERED, cached=True
    )
    tab = Tab(router.store, call.limits)
    await tab.cover(Used(tokens=0))
    tab.owes(0, 0)
    router.record(account)
    await tab.close(row_for(call, account, tab))
    return attrs.evolve(entry, served=_recalled(entry.served))


def keep(router: Router, key: bytes | None, entry: Entry | None) -> None:
    """Put an answer that ended well where its repeat will find it."""
    if router.cache is not None and key is not None and entry is not None:
        router.cache.put(key, entry, trio.current_time())


def _recalled(served: Served) -> Served:
    return attrs.evolve(served, cached=True, attempts=0, first_byte=0.0, elapsed=0.0, cost=0.0, limits=())
