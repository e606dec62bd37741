"""The table of faults: all of it in memory under the virtual clock, and over sockets what takes no time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Account, Call, Gateway, Settings, open_gateway
from openai_gateway.engine import router
from openai_gateway.routing.plan import ModelRow, Price, Provider, RouteTable
from openai_gateway.routing.prefill import Prefill
from openai_gateway.secret import Secret
from tests.gateway_faults import faults
from tests.gateway_faults.faults import KEY, WALL
from tests.gateway_faults.hostile import HOSTILE
from tests.gateway_faults.seen import Seen, Told, Way, seen, tell
from tests.gateway_faults.table import PRICES, ROWS, Row
from tests.gateway_faults.transports import TRANSPORTS
from tests.gateway_faults.upstream import Answer, FaultUpstream, Host, in_memory, on_loopback

KEYS = {"one": KEY, "two": "other-key-0123456789", "large": "third-key-0123456789"}
MEMORY = {name: f"http://{name}.example/v1" for name in KEYS}


def settings(row: Row, addresses: Mapping[str, str] = MEMORY) -> Settings:
    """The model `m` at `one`, then at `two`; `large` is where a prompt too long for `one` goes, if the row has it."""
    providers = {
        name: Provider(name=name, kind="openai", base_url=url, api_key=Secret(KEYS[name], name=f"KEY_OF_{name}"))
        for name, url in addresses.items()
    }
    larger = ("l",) if row.larger else ()
    rows = [model_row("m", "one", 1, context_fallbacks=larger), model_row("l", "large", 1)]
    if not row.alone:
        rows.append(model_row("m", "two", 2, prefill=Prefill.MESSAGE if row.prefill else None))
    return Settings(table=RouteTable(providers=providers, rows=tuple(rows)))


def model_row(name: str, provider: str, order: int, **more: Any) -> ModelRow:
    paid, earned = PRICES[provider]
    return ModelRow(
        name=name,
        provider=provider,
        model=f"m-at-{provider}",
        order=order,
        price=Price(input=paid, output=earned),
        **more,
    )


def hosts(row: Row) -> dict[str, Host]:
    return {
        "one": Host(answers=row.one, dials=row.dials),
        "two": Host(answers=row.two),
        "large": Host(answers=ROWS[0].one),
    }


async def calls(gateway: Gateway, row: Row, way: Way) -> Told:
    """The row's calls; what the last was told."""
    told = await tell(gateway, way, ask(row))
    for _ in range(row.calls - 1):
        assert told.served is not None
        await trio.sleep(row.pause)
        told = await tell(gateway, way, ask(row))
    return told


def ask(row: Row) -> Call:
    deadline = None if row.deadline is None else trio.current_time() + row.deadline
    call = Call.chat(model="m", messages=[{"role": "user", "content": "Count!"}])
    return attrs.evolve(call, deadline=deadline)


def steady() -> float:
    """Chance, without any: no jitter."""
    return 0.0


def check_the_laws(row: Row, told: Told, upstream: FaultUpstream, accounts: Sequence[Account]) -> None:
    """What holds whatever goes wrong."""
    assert upstream.elsewhere == [], "a host of the upstream's choice was dialled"
    assert not any(key in shown for shown in told.shown for key in KEYS.values())
    for asked in upstream.asked:
        assert f"authorization: bearer {KEYS[asked.host]}\r\n".encode() in asked.head.lower() + b"\r\n"
    assert len(accounts) == row.calls
    if row.calls == 1:
        hosts_asked = [re.sub(r"\(?(\w+)\)?@.*", r"\1", entry) for entry in upstream.log]
        assert accounts[0].asked == tuple(f"{host}/m-at-{host}" for host in hosts_asked)
        assert told.attempts == len(upstream.log)


@pytest.fixture(autouse=True)
def the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "time", SimpleNamespace(time=lambda: WALL))


def over(transport: str) -> Iterator[Any]:
    """The table for one transport."""
    for row in (*ROWS, *HOSTILE):
        why = row.broken_over.get(transport)
        marks = [] if why is None else [pytest.mark.xfail(reason=why)]
        for way in Way:
            yield pytest.param(transport, way, row, id=f"{transport}-{way.name.lower()}-{row.name}", marks=marks)


@pytest.mark.parametrize(("transport", "way", "row"), [one for name in TRANSPORTS for one in over(name)])
async def test_what_follows_from_a_fault(autojump_clock: MockClock, transport: str, way: Way, row: Row) -> None:
    async with in_memory(hosts(row)) as upstream, TRANSPORTS[transport](upstream) as made:
        accounts: list[Account] = []
        async with open_gateway(settings(row), transport=made, random=steady, record=accounts.append) as gateway:
            told = await calls(gateway, row, way)
        assert seen(told, upstream, accounts[-1]) == row.seen[way]
        check_the_laws(row, told, upstream, accounts)
        await made.aclose()
        assert not upstream.open_wires


QUICK = [param for param in over("sockets") if param.values[2].takes_no_time(param.values[1])]


@pytest.mark.parametrize(("transport", "way", "row"), QUICK)
async def test_the_same_follows_over_sockets(transport: str, way: Way, row: Row) -> None:
    accounts: list[Account] = []
    async with (
        on_loopback(hosts(row)) as (upstream, addresses),
        open_gateway(settings(row, addresses), random=steady, record=accounts.append) as gateway,
    ):
        told = await calls(gateway, row, way)
    assert timeless(seen(told, upstream, accounts[-1])) == timeless(row.seen[way])
    check_the_laws(row, told, upstream, accounts)


def timeless(one: Seen) -> Seen:
    return attrs.evolve(one, asked=re.sub(r"@\S+", "", one.asked), took=0.0)


def test_many_rows_are_quick_enough_for_sockets() -> None:
    assert len(QUICK) > 60


def test_a_row_that_leaves_a_caller_out_cannot_be_made() -> None:
    with pytest.raises(AssertionError, match="not all ways"):
        attrs.evolve(ROWS[0], seen={Way.STREAM: ROWS[0].seen[Way.STREAM]})


def test_the_rows_of_a_failover_bench_are_marked() -> None:
    assert sum(row.bench for row in ROWS) >= 16


def test_no_two_rows_have_one_name() -> None:
    assert len({row.name for row in (*ROWS, *HOSTILE)}) == len((*ROWS, *HOSTILE))


def test_each_fault_that_the_upstream_can_do_has_its_row() -> None:
    played = {id(answer) for row in ROWS for answer in (*row.one, *row.two)}
    unplayed = [name for name, value in vars(faults).items() if isinstance(value, Answer) and id(value) not in played]
    assert unplayed == []
