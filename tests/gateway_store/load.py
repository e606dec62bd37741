"""A process that calls without pause on a store that it shares: `python -m tests.gateway_store.load STORE CALLS`.

STORE is the path of a SQLite file, or the address of a Redis.

With CALLS it makes so many at once, prints what came of them, and ends; with 0 it goes on, a line a call, until it is
killed.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from random import Random

import trio
from coredis import Redis

from openai_gateway.engine.store import ServiceStore
from openai_gateway.engine.store.redis import open_redis
from openai_gateway.engine.store.sqlite import open_sqlite
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Closing, Demand, Limits, Reservation, Used

TEN = Limits(key="key ten", title="key ten", rpm=10)
PAYS = Limits(key="key pays", title="key pays", max_parallel=40, budget=10_000, period="month")
ENDLESS = Limits(key="key endless", title="key endless", max_parallel=1000, budget=10**15, period="month")


def totals(path: str) -> dict[str, int]:
    """Money of the rows, of what was charged for the dead, and of all budgets; places that are taken."""
    with closing(sqlite3.connect(path)) as direct, direct:
        (rows, calls), (charged,) = (
            direct.execute("SELECT coalesce(sum(money), 0), count(*) FROM ledger").fetchone(),
            direct.execute("SELECT coalesce(sum(money), 0) FROM charged").fetchone(),
        )
        found = direct.execute("SELECT running, spending FROM uses").fetchall()
    budgets = [pair for _, spending in found for pair in json.loads(spending).values()]
    sums = {
        "rows": rows,
        "charged": charged,
        "reserved": sum(reserved for reserved, _ in budgets),
        "spent": sum(spent for _, spent in budgets),
        "running": sum(running for running, _ in found),
    }
    return {**sums, "calls": calls} if calls > 1 else sums


async def call(store: ServiceStore, limits: Limits, random: Random) -> int | None:
    """What it cost, drawn up to the bound; None where it was refused."""
    bound = random.randrange(1, 400)
    outcome = await store.reserve(Demand(limits=(limits,), money=bound))
    if not isinstance(outcome, Reservation):
        return None
    money = random.randrange(bound + 1) if limits.budget is not None else 0
    row = Row(id=outcome.id, key=limits.key, endpoint="chat/completions", model="m", status=200, money=money)
    await store.conclude([Closing(reservation=outcome, used=Used(tokens=0, money=money))], row)
    return money


_CHARGED = """
local sum = 0
for _, packed in ipairs(redis.call('HVALS', KEYS[1])) do
  for _, one in ipairs(cmsgpack.unpack(packed)) do sum = sum + one.money end
end
return sum
"""


async def totals_of_redis(url: str, name: str = "{ogw}") -> dict[str, int]:
    """The same, of a Redis."""
    async with Redis.from_url(url, decode_responses=True) as client:
        rows = [json.loads(one.field_values["r"]) for one in await client.xrange(f"{name}:ledger")]
        uses = [await client.hgetall(key) async for key in client.scan_iter(f"{name}:use:*")]
        charged = await client.eval(_CHARGED, keys=[f"{name}:charged"])
    fields = [(field.partition(" ")[0], int(value)) for use in uses for field, value in use.items()]
    sums = {"rows": sum(row["money"] for row in rows), "charged": int(str(charged))}
    sums |= {what: sum(value for of, value in fields if of == what) for what in ("reserved", "spent", "running")}
    return {**sums, "calls": len(rows)} if len(rows) > 1 else sums


async def main(path: str, calls: int) -> None:
    random = Random(calls)  # noqa: S311 - amounts, and no secrets
    opened = open_redis(path) if "://" in path else open_sqlite(path)
    async with opened as store, trio.open_nursery() as nursery:
        said = {"passed": 0, "paid": 0}

        async def one(limits: Limits) -> None:
            money = await call(store, limits, random)
            said["passed"] += money is not None and limits is TEN
            said["paid"] += money or 0

        async def endless() -> None:
            while True:
                money = await call(store, ENDLESS, random)
                print(money, flush=True)  # noqa: T201 - what the test reads

        if not calls:
            for _ in range(8):
                nursery.start_soon(endless)
            await trio.sleep_forever()
        async with trio.open_nursery() as all_calls:
            for _ in range(calls):
                all_calls.start_soon(one, TEN)
                all_calls.start_soon(one, PAYS)
        print(json.dumps(said))  # noqa: T201 - as above


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
