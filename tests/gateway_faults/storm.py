"""A storm: hosts that go wrong at random, a crowd of callers some of whom walk off, and an account of every call.

Seeded, so that one seed is one storm. Each answer repeats its call's own number: an answer that reached another caller,
or came twice, cannot pass for the right one.
"""

from __future__ import annotations

import contextvars
import errno
import gc
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import attrs
import httpx
import trio

from openai_gateway import Account, Call, Gateway, Outcome, Settings, open_gateway
from openai_gateway.net.pool import Limits, Pool
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.limits import Demand, Reservation, limits_of
from openai_gateway.routing.plan import ModelRow, Price, Provider, RouteTable
from openai_gateway.routing.prefill import Prefill
from openai_gateway.secret import Secret
from tests.gateway_faults import faults
from tests.gateway_faults.answers import DONE, ROLE, STOP, USED, body, chunk, completion, event, stream
from tests.gateway_faults.seen import Told, Way, tell
from tests.gateway_faults.upstream import FOREVER, Act, Answer, Asked, Dial, End, FaultUpstream, Host, in_memory

WORDS: Final = 6
HOSTS: Final = ("a", "b", "c", "d")

current: contextvars.ContextVar[int] = contextvars.ContextVar("the number of the call that runs in this task")


def text_of_call(number: int) -> str:
    return "".join(_tokens(number))


def _tokens(number: int) -> list[str]:
    return [f"{number}:{place} " for place in range(WORDS)]


def _said(number: int, count: int = WORDS, before: int = 0) -> list[bytes]:
    return [chunk({"content": token}) for token in _tokens(number)[before:count]]


def _whole(number: int) -> bytes:
    return completion(text_of_call(number))


@attrs.frozen
class Question:
    """What a host goes by: the call's number, whether it streams, how much of the text is there already, the dice."""

    number: int
    streams: bool
    begun: int
    random: Random


def well(it: Question) -> Sequence[Act]:
    if it.streams:
        return stream(ROLE, *_said(it.number, before=it.begun), STOP, USED, DONE)
    return body(_whole(it.number))


def slow(it: Question) -> Sequence[Act]:
    pause = it.random.uniform(0.0, 25.0)
    if it.streams:
        return stream(ROLE, pause, *_said(it.number, before=it.begun), pause, STOP, USED, DONE)
    return (pause, *body(_whole(it.number)))


def in_crumbs(it: Question) -> Sequence[Act]:
    wire = b"".join(act for act in well(it) if isinstance(act, bytes))
    size = it.random.randint(7, 200)
    return [wire[at : at + size] for at in range(0, len(wire), size)]


def cut(it: Question) -> Sequence[Act]:
    ends: tuple[Act, ...] = (End.CLOSE, End.RESET, FOREVER, 0.0)
    end = it.random.choice(ends)
    count = it.random.randint(it.begun, WORDS)
    if it.streams:
        return stream(ROLE, *_said(it.number, count, it.begun), end)
    head, whole = body(_whole(it.number))
    assert isinstance(whole, bytes)
    return (head, whole[: it.random.randrange(len(whole))], End.CLOSE if end == 0.0 else end)


def broken_in_band(it: Question) -> Sequence[Act]:
    problem = {"error": {"message": "it broke", "type": "server_error", "code": None}}
    if it.streams:
        return stream(ROLE, *_said(it.number, it.random.randint(it.begun, WORDS), it.begun), event(problem))
    return body(json.dumps(problem).encode())


def odd(it: Question) -> Sequence[Act]:
    if not it.streams:
        return body(b"\n\n" + _whole(it.number))
    said = _said(it.number, before=it.begun)
    garbled = [b": alive\n\n", b"data: {\n\n", event({"choices": [], "usage": None}), event([1])]
    for piece in garbled:
        said.insert(it.random.randint(0, len(said)), piece)
    ends: tuple[tuple[Act, ...], ...] = ((DONE,), (STOP,), (STOP, DONE, 0.5))
    return stream(ROLE, *said, *it.random.choice(ends))


def leaves_when_idle(it: Question) -> Sequence[Act]:
    return (*well(it), it.random.uniform(0.0, 3.0), End.CLOSE)


def babbles_when_idle(it: Question) -> Sequence[Act]:
    return (*well(it), b"".join(act for act in body(completion("poison")) if isinstance(act, bytes)))


def gone(it: Question) -> Sequence[Act]:
    return (it.random.choice([End.CLOSE, End.RESET]),)


def silent(it: Question) -> Sequence[Act]:
    return (FOREVER,)


def refuses_stream_options(it: Question) -> Sequence[Act]:
    return faults.NO_STREAM_OPTIONS.stream if it.streams else well(it)


def _of(answer: Answer) -> Callable[[Question], Sequence[Act]]:
    return lambda it: answer.stream if it.streams else answer.whole


_REFUSALS: Final = (
    faults.LIMITED, faults.LIMITED_FOR_1500_MS, faults.LIMITED_FOR_AN_HOUR, faults.NO_QUOTA, faults.INTERNAL_ERROR,
    faults.UNAVAILABLE, faults.OVERLOADED, faults.PAGE_502, faults.PAGE_200, faults.ERROR_IN_200, faults.GZIP,
    faults.NO_HTTP, faults.KEY_REFUSED, faults.NO_SUCH_MODEL, faults.BAD_REQUEST, faults.CONTENT_POLICY,
    faults.CONTEXT_LENGTH, faults.REDIRECT, faults.DO_NOT_RETRY,
)  # fmt: skip

WEATHER: Final[Mapping[Callable[[Question], Sequence[Act]], int]] = {
    well: 40, slow: 5, in_crumbs: 5, odd: 5, leaves_when_idle: 5, babbles_when_idle: 3, cut: 8, broken_in_band: 3,
    gone: 5, silent: 1, refuses_stream_options: 1, **{_of(answer): 1 for answer in _REFUSALS},
}  # fmt: skip
"""What a host does with a request, and how often."""

REFUSED: Final = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@attrs.define(kw_only=True)
class Sightings:
    """What the hosts saw of each call that is still going on: an entry an attempt, in order."""

    seen: dict[int, list[str]] = attrs.field(factory=dict)
    attempts: int = 0

    def note(self, number: int, host: str) -> None:
        self.seen.setdefault(number, []).append(host)

    def take_back(self, number: int) -> None:
        """The last was no attempt: a kept connection died under it, and it is sent once more."""
        self.seen[number].pop()

    def leave(self, number: int) -> list[str]:
        found = self.seen.pop(number, [])
        self.attempts += len(found)
        return found


@attrs.define(kw_only=True)
class StormyHost(Host):
    """A host under the weather."""

    name: str
    random: Random
    sightings: Sightings
    answers: Sequence[Answer] = ()
    calm: bool = False

    def next_dial(self) -> Dial:
        chance = self.random.random()
        if self.calm or chance > 0.04:
            return 0.0
        self.sightings.note(current.get(), self.name)
        return REFUSED if chance > 0.01 else FOREVER

    def next_answer(self, asked: Asked) -> Answer:
        number = int(asked.body["messages"][0]["content"])
        self.sightings.note(number, self.name)
        if self.calm:
            return Answer(*[well(Question(number, streams, 0, self.random)) for streams in (True, False)])
        (way,) = self.random.choices(list(WEATHER), weights=list(WEATHER.values()))
        if way is gone and asked.again:
            self.sightings.take_back(number)
        return Answer.to_both(*way(Question(number, asked.streams, _begun(asked.body), self.random)))


def _begun(body: Mapping[str, Any]) -> int:
    """How many tokens of the answer the request brings along: it is to be gone on with."""
    last = body["messages"][-1]
    return len(last["content"].split()) if last["role"] == "assistant" else 0


def row(name: str, host: str, **more: Any) -> ModelRow:
    return ModelRow(**{"name": name, "provider": host, "model": "m", "price": Price(input=1, output=10), **more})


PARALLEL: Final = 60
"""More than there are callers: only reservations that nobody gave back can use it up."""

ROWS: Final = (
    *(row(host, host, max_parallel=PARALLEL) for host in HOSTS),
    row("in order", "a", order=1), row("in order", "b", order=2), row("in order", "c", order=3),
    row("shared", "b", weight=3), row("shared", "d", weight=1, fallbacks=("c",)),
    row("long", "a", order=1, context_fallbacks=("d",)), row("long", "b", order=2, prefill=Prefill.MESSAGE),
    row("narrow", "a", model="few", max_parallel=3), row("narrow", "b", model="few", order=2, max_parallel=2, rpm=300),
)  # fmt: skip
MODELS: Final = ("in order", "shared", "long", "a", "narrow")


def settings() -> Settings:
    providers = {
        host: Provider(
            name=host,
            kind="openai",
            base_url=f"http://{host}.example/v1",
            api_key=Secret(f"key-of-{host}-" * 3, name=host),
        )
        for host in HOSTS
    }
    return Settings(table=RouteTable(providers=providers, rows=ROWS))


@attrs.define(kw_only=True)
class Storm:
    """One storm that goes on; `counts` says how its calls ended."""

    random: Random
    gateway: Gateway
    upstream: FaultUpstream
    transport: Http11Transport
    hosts: Mapping[str, StormyHost]
    sightings: Sightings
    accounts: dict[str, Account]
    places: int
    crowded: bool
    next_number: int = 0
    counts: Counter[Outcome] = attrs.field(factory=Counter)
    attempts: int = 0
    longest: float = 0.0

    async def blow(self, calls: int, callers: int) -> None:
        """So many calls, by callers that each make one after the other."""
        end = self.next_number + calls

        async def call_again() -> None:
            while self.next_number < end:
                number, self.next_number = self.next_number, self.next_number + 1
                if number % 500 == 0:  # the calls in flight go on as they began
                    await self.gateway.reload(settings())
                await self._call(number)

        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(call_again)

    async def _call(self, number: int) -> None:
        current.set(number)
        dice = self.random
        way, model = dice.choice(list(Way)), dice.choice(MODELS)
        told = Told(most=dice.randint(1, 8) if dice.random() < 0.05 else float("inf"))
        patience = dice.uniform(0.0, dice.choice([0.01, 3.0, 40.0])) if dice.random() < 0.15 else float("inf")
        began = trio.current_time()
        with trio.move_on_after(patience):
            await tell(self.gateway, way, self._question(number, model), told)
        self.longest = max(self.longest, trio.current_time() - began)
        self._settle(number, way, told)

    def _question(self, number: int, model: str) -> Call:
        messages = [{"role": "user", "content": str(number)}]
        return Call(model=model, body={"messages": messages}, tenant=str(number))

    def _settle(self, number: int, way: Way, told: Told) -> None:
        """The call is over: what its caller, its record and the hosts say must be one story."""
        account = self.accounts.pop(str(number))
        assert (told.served is None) or (told.error is None), "an answer and an error"
        if told.enough and account.outcome is Outcome.ANSWERED:  # the end was ready when its caller walked off
            assert told.error is None
        else:
            assert account.outcome is _outcome(told)
        text = text_of_call(number)
        if told.served is not None:
            assert told.text == text, "another text than that of the upstream"
            assert told.served.attempts == len(account.asked)
        elif told.error is not None:
            assert told.error.attempts == len(account.asked)
        assert text.startswith(told.text), "more than there was, or twice"
        assert way is not Way.WHOLE or told.text in {"", text}
        asked = [target.partition("/")[0] for target in account.asked]
        seen = self.sightings.leave(number)
        was_left = account.outcome is Outcome.LEFT  # perhaps before the request went out
        if self.crowded:  # some attempts got no place, and were seen by nobody
            assert _is_within(seen, asked), "attempts that nobody told"
        else:
            assert seen == asked or (was_left and seen == asked[:-1]), "attempts that nobody saw, or that nobody told"
        self.counts[account.outcome] += 1
        self.attempts += len(asked)

    def pools(self) -> list[Pool]:
        return [self.transport.pool(httpx.URL(f"http://{host}.example/")) for host in HOSTS]

    async def places_of(self, limited: ModelRow) -> int:
        """How many more calls the row's limit lets in at once."""
        limits = limits_of(limited)
        assert limits is not None
        store = self.gateway._store
        held: list[Reservation] = []
        while isinstance(outcome := await store.reserve(Demand(limits=(limits,), tokens=0)), Reservation):
            held.append(outcome)
        for reservation in held:
            await store.refund(reservation)
        return len(held)

    async def calm(self) -> int:
        """The sun comes out: everything that is kept for a while is let go of. The memory blocks that are left."""
        await trio.sleep(60)  # longer than a breaker looks back
        for host in self.hosts.values():
            host.calm = True
        for connection in list(self.upstream.serving):
            await connection.aclose()
        for name in self.hosts:  # finds the kept connections dead, and makes one
            await self._calm_call(name)
        assert [(pool.idle, pool.free) for pool in self.pools()] == [(1, self.places)] * len(HOSTS)
        assert len(self.upstream.open_wires) == len(HOSTS), "connections that nobody keeps"
        for limited in ROWS:
            if limited.max_parallel is not None:
                assert await self.places_of(limited) == limited.max_parallel, "a place that nobody gave back"
        assert not self.accounts
        assert not self.sightings.seen
        for host in self.hosts.values():
            host.calm = False
        gc.collect()
        return sys.getallocatedblocks()

    async def _calm_call(self, host: str) -> None:
        number, self.next_number = self.next_number, self.next_number + 1
        told = await tell(self.gateway, Way.WHOLE, self._question(number, host))
        assert told.error is None
        self._settle(number, Way.WHOLE, told)


def _is_within(some: Sequence[str], more: Sequence[str]) -> bool:
    """Whether `some` come in `more` in the same order, with others between them perhaps."""
    left = iter(more)
    return all(one in left for one in some)


def _outcome(told: Told) -> Outcome:
    if told.served is not None:
        return Outcome.ANSWERED
    return Outcome.LEFT if told.error is None else Outcome.FAILED


@asynccontextmanager
async def storm(seed: int, *, places: int = 256, crowded: bool = False) -> AsyncIterator[Storm]:
    """A storm of this seed. `places` are the connections that each host may have; `crowded`: not enough of them."""
    sightings = Sightings()
    dice = {name: Random(f"{seed} {name}") for name in HOSTS}  # noqa: S311 - weather, not a secret
    hosts = {name: StormyHost(name=name, random=dice[name], sightings=sightings) for name in HOSTS}
    accounts: dict[str, Account] = {}

    def record(account: Account) -> None:
        assert account.tenant is not None
        assert accounts.setdefault(account.tenant, account) is account, "a second record of one call"

    async with in_memory(hosts) as upstream:
        upstream.keeps_log = False
        transport = Http11Transport(connect=upstream.dial, limits=Limits(connections=places))
        random = Random(seed)  # noqa: S311 - as above
        async with open_gateway(settings(), transport=transport, random=random.random, record=record) as gateway:
            yield Storm(
                random=random, gateway=gateway, upstream=upstream, transport=transport, hosts=hosts,
                sightings=sightings, accounts=accounts, places=places, crowded=crowded,
            )  # fmt: skip
        await transport.aclose()
        assert not upstream.open_wires
