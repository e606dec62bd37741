"""The store that is a Redis or a Valkey, shared by all replicas of a service. Its steps are redis.lua's."""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final, TypeVar

import attrs
import trio
from coredis import Redis
from coredis.exceptions import NoScriptError
from coredis.retry import NoRetryPolicy
from coredis.tokens import PureToken
from coredis.typing import RedisError

from openai_gateway.engine.beside import beside
from openai_gateway.engine.store import By, Owned
from openai_gateway.engine.store.lines import Lines
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.ledger import SUMMED, Row, Sum, summed
from openai_gateway.routing.limiter import seconds_left
from openai_gateway.routing.limits import (
    Closing,
    Demand,
    Left,
    Limits,
    Measure,
    Outcome,
    Refusal,
    Reservation,
    Used,
    hardest,
)
from openai_gateway.routing.virtual_keys import VirtualKey
from openai_gateway.secret import Secret

T = TypeVar("T")

_SCRIPT: Final = files("openai_gateway.engine.store").joinpath("redis.lua").read_text(encoding="utf-8")
_ANSWERS_IN: Final = 5.0  # seconds
_AGAIN_IN: Final = 1.0  # seconds, after the client itself broke
_RENEW: Final = 5.0  # seconds
_CLOSES_IN: Final = 10.0  # seconds that the last work may take
_UNTOLD: Final = 10_000  # ends of calls that are kept to be told again
_PAGE: Final = 500  # rows that are read at once
_PRUNED: Final = 5_000  # rows that are dropped at once

_LOG: Final = logging.getLogger(__name__)
_MEASURES: Final = {measure.key: measure for measure in Measure}

Clock = Callable[[], tuple[int, float]]
"""For tests: microseconds of the windows and leases, seconds of Unix time. Without one both are the server's."""


@asynccontextmanager
async def open_redis(
    url: str, *, password: Secret | None = None, name: str = "{ogw}", clock: Clock | None = None
) -> AsyncIterator[RedisStore]:
    """The store at this address (redis://, rediss:// or unix://). Raises GatewayError where it cannot be used.

    `name` is what all its keys begin with. It is as durable as its server is: docs/deployment.md says how to set it.
    """
    connection = _Connection(url, password)
    store = RedisStore(connection, name, clock)
    async with beside(connection.keep):
        try:
            await store.begin()
            async with beside(store.keep_alive):
                yield store
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSES_IN):
                await store.end()


class _Connection:
    """The client, in a task of its own: whatever becomes of that, those who ask get a GatewayError and no more."""

    def __init__(self, url: str, password: Secret | None) -> None:
        self._url = url
        self._password = password
        self._client: Redis[bytes] | None = None
        self._tried = trio.Event()

    async def keep(self) -> None:
        while True:
            try:
                async with self._made() as self._client:
                    self._tried.set()
                    await trio.sleep_forever()
            except Exception as error:  # noqa: BLE001 - the client's own tasks broke: a new one is made
                _LOG.error("The connection to the store broke: %s", error)
            finally:
                self._client = None
                self._tried.set()
            await trio.sleep(_AGAIN_IN)

    def _made(self) -> Redis[bytes]:
        said: dict[str, Any] = {} if self._password is None else {"password": self._password.reveal()}
        return Redis.from_url(
            self._url,
            connect_timeout=_ANSWERS_IN,
            stream_timeout=_ANSWERS_IN,
            retry_policy=NoRetryPolicy(),  # what is told twice is told by us, who know what it means
            verify_version=False,
            **said,
        )

    async def do(self, work: Callable[[Redis[bytes]], Awaitable[T]]) -> T:
        """Raises GatewayError where the server cannot be asked; nobody knows then whether it has done it."""
        await self._tried.wait()
        if self._client is None:
            raise _unusable("it cannot be reached")
        try:
            with trio.fail_after(_ANSWERS_IN):
                return await work(self._client)
        except (RedisError, OSError, trio.TooSlowError) as error:  # OSError: TimeoutError is one
            raise _unusable(str(error) or "it does not answer") from error


class RedisStore:
    """Made by `open_redis`."""

    def __init__(self, connection: _Connection, name: str, clock: Clock | None) -> None:
        self._do = connection.do
        self._name = name
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._sha = ""
        self._count = 0
        self._lines = Lines()
        self._telling: dict[int, None] = {}
        """Numbers of the ends that may not have been heard of yet, oldest first."""
        self._untold: deque[dict[str, Any]] = deque()
        self._has_untold = trio.Event()

    async def begin(self) -> None:
        await self.renew()
        about = await self._do(lambda client: client.info("persistence", "memory"))
        if not about.get("aof_enabled"):
            _LOG.warning("The store keeps no append-only file: what was spent may be forgotten. Set appendonly yes.")
        if about.get("maxmemory_policy") not in {"noeviction", None}:
            _LOG.warning("The store may drop keys when its memory is full. Set maxmemory-policy noeviction.")

    async def end(self) -> None:
        """Whoever leaves in peace has settled all; what could not be told is told once more."""
        try:
            await self.renew()
            await self._ask("leave", process=self._process)
        except GatewayError:  # then the lease runs out by itself
            return

    async def keep_alive(self) -> None:
        """Say that this process lives, charge those that do not, and tell again what could not be told."""
        while True:
            with trio.move_on_after(_RENEW):
                await self._has_untold.wait()
                await trio.sleep(_AGAIN_IN)
            try:
                await self.renew()
            except GatewayError:
                continue  # each call that needs the store says so; the next turn may find it back

    async def renew(self) -> None:
        """One turn of that. Raises GatewayError."""
        while await self._ask("renew", process=self._process):
            pass  # there are more of the dead than are charged in one step
        while self._untold:
            end = self._untold.popleft()  # so that nobody else tells it meanwhile
            try:
                await self._tell(end)
            except BaseException:
                self._untold.appendleft(end)
                raise
        self._has_untold = trio.Event()

    async def reserve(self, demand: Demand, *, wait: bool = False) -> Outcome:
        return await (self._lines.wait(demand, self._reserve) if wait else self._reserve(demand))

    async def _reserve(self, demand: Demand) -> Outcome:
        self._count += 1
        id_ = f"{self._process}-{self._count}"
        if not demand.limits:
            return Reservation(id=id_, demand=demand)
        try:
            wall, refused, left = await self._ask(
                "reserve",
                process=self._process,
                id=id_,
                tokens=demand.tokens,
                money=demand.money,
                is_more=demand.is_more,
                limits=[_limits(one) for one in demand.limits],
            )
        except BaseException:  # nobody knows whether it was let in: it is given back, also if it is still on its way
            self._tell_later(self._end([{"id": id_, "is_void": True}], None))
            raise
        if refused:
            return hardest([_refusal(demand, float(wall) / 1000, *one) for one in refused])
        return Reservation(id=id_, demand=demand, left=tuple(_left(demand, *one) for one in left))

    async def settle(self, reservation: Reservation, tokens: int, money: int = 0) -> None:
        await self.conclude([Closing(reservation=reservation, used=Used(tokens=tokens, money=money))], None)

    async def refund(self, reservation: Reservation) -> None:
        await self.conclude([Closing(reservation=reservation, used=None)], None)

    async def conclude(self, closings: Sequence[Closing], row: Row | None) -> None:
        """As the protocol says; an end that could not be told is told again, until the store has heard of it."""
        end = self._end([_closing(one) for one in closings], row)
        try:
            await self._tell(end)
        except BaseException:
            self._tell_later(end)
            raise

    def _end(self, closings: Sequence[Mapping[str, Any]], row: Row | None) -> dict[str, Any]:
        """What is told, with a number by which the server knows it again."""
        self._count += 1
        self._telling[self._count] = None
        end: dict[str, Any] = {"process": self._process, "number": self._count, "closings": closings}
        if row is not None:
            sums = {name: amount for name, amount in zip(SUMMED, summed(row), strict=True) if amount}
            names = json.dumps([row.model, row.key])
            end["row"] = {"values": json.dumps(attrs.asdict(row)), "names": names, "sums": sums}
        return end

    async def _tell(self, end: dict[str, Any]) -> None:
        await self._ask("conclude", **end, low=next(iter(self._telling)))
        self._telling.pop(end["number"], None)

    def _tell_later(self, end: dict[str, Any]) -> None:
        self._untold.append(end)
        if len(self._untold) > _UNTOLD:  # its lease charges what it reserved; its row is lost, and the log says so
            self._telling.pop(self._untold.popleft()["number"], None)
            _LOG.error("The store was away for so long that the end of a call could not be kept for it.")
        self._has_untold.set()

    async def check(self) -> None:
        await self._ask("renew", process=self._process)

    async def key_of(self, digest: str) -> VirtualKey | None:
        found = await self._ask("key_of", digest=digest)
        return VirtualKey.read(found) if found else None

    async def keys(self) -> tuple[VirtualKey, ...]:
        return tuple(map(VirtualKey.read, await self._ask("keys")))

    async def put_key(self, key: VirtualKey) -> None:
        await self._ask("put_key", id=key.id, digest=key.digest, content=key.written())

    async def spent(self, limits: Sequence[Limits]) -> Mapping[str, int]:
        found = await self._ask("spent", limits=[_limits(one) for one in limits])
        return {one.key: int(money) for one, money in zip(limits, found, strict=True)}

    async def rows(self, *, since: int, until: int, limit: int, key: str | None = None) -> tuple[Row, ...]:
        found: list[Row] = []
        newest = f"{until - 1}"
        while until > since and len(found) < limit:
            page = await self._page(newest, f"{since}")
            found += [row for row in map(_row, page) if key in {None, row.key}]
            if len(page) < _PAGE:
                break
            newest = f"({page[-1].identifier.decode()}"
        return tuple(found[:limit])

    async def _page(self, newest: str, oldest: str) -> Sequence[Any]:
        name = f"{self._name}:ledger"
        return await self._do(lambda client: client.xrevrange(name, end=newest, start=oldest, count=_PAGE))

    async def sums(self, by: By, *, since: int, until: int, key: str | None = None) -> tuple[Sum, ...]:
        first, last = f"[{_day(since)}", f"[{_day(until - 1)}"
        days = await self._do(lambda client: client.zrangebylex(f"{self._name}:days", first, last))
        sums: dict[str, Counter[str]] = {}
        for day in days if until > since else ():
            found = await self._all(f"sums:{day.decode()}")
            for field, amount in found.items():
                measure, _, names = field.decode().partition(" ")
                model, of = json.loads(names)
                if key in {None, of}:
                    name = {"day": day.decode(), "model": model, "key": of}[by]
                    sums.setdefault(name, Counter())[measure] += int(amount)
        return tuple(Sum(name=name, **{one: sums[name][one] for one in SUMMED}) for name in sorted(sums))

    async def own(self, owned: Owned) -> None:
        content = json.dumps(attrs.asdict(owned))
        await self._ask("own", kind=owned.kind, id=owned.id, key=owned.key, made=owned.made, content=content)

    async def owner_of(self, kind: str, id: str) -> Owned | None:  # noqa: A002 - the field's name
        found = await self._do(lambda client: client.hget(f"{self._name}:owned:{kind}", id))
        return None if found is None else Owned(**json.loads(found))

    async def owned(self, kind: str, key: str | None) -> tuple[Owned, ...]:
        if key is None:
            found: Sequence[bytes] = list((await self._all(f"owned:{kind}")).values())
        else:
            found = await self._ask("owned", kind=kind, key=key)
        return tuple(sorted((Owned(**json.loads(one)) for one in found), key=lambda one: (-one.made, one.id)))

    async def disown(self, kind: str, id: str) -> None:  # noqa: A002 - the field's name
        await self._ask("disown", kind=kind, id=id)

    async def prune(self, *, before: int, most: int) -> int:
        name, total = f"{self._name}:ledger", 0
        while gone := await self._do(
            lambda one: one.xtrim(name, PureToken.MINID, before, PureToken.APPROXIMATELY, _PRUNED)
        ):
            total += gone  # whole nodes of the stream, so many at once; now the rest
        total += await self._do(lambda client: client.xtrim(name, PureToken.MINID, before))
        return total + await self._do(lambda client: client.xtrim(name, PureToken.MAXLEN, most))

    async def _all(self, name: str) -> Mapping[bytes, bytes]:
        """A hash, whole."""
        return await self._do(lambda client: client.hgetall(f"{self._name}:{name}"))

    async def _ask(self, verb: str, **asked: Any) -> Any:
        """One step of the script. Raises GatewayError."""
        args: list[str] = [verb, json.dumps(asked)]
        if self._clock is not None:
            now, wall = self._clock()
            args += [str(now), repr(wall)]

        async def work(client: Redis[bytes]) -> Any:
            if not self._sha:
                self._sha = (await client.script_load(_SCRIPT)).decode()
            try:
                return await client.evalsha(self._sha, keys=[self._name], args=args)
            except NoScriptError:  # the server was started anew; it has done nothing
                self._sha = (await client.script_load(_SCRIPT)).decode()
                return await client.evalsha(self._sha, keys=[self._name], args=args)

        return await self._do(work)


def _limits(limits: Limits) -> dict[str, Any]:
    said = attrs.asdict(limits)
    del said["title"]
    return {name: value for name, value in said.items() if value is not None}


def _closing(closing: Closing) -> dict[str, Any]:
    used = {} if closing.used is None else {"tokens": max(0, closing.used.tokens), "money": closing.used.money}
    return {"id": closing.reservation.id, **used}


def _refusal(demand: Demand, wall: float, at: int, measure: bytes, seconds: int) -> Refusal:
    limits, of = demand.limits[at], _MEASURES[measure.decode()]
    most = getattr(limits, of.key)
    asked = {Measure.TPM: demand.tokens, Measure.BUDGET: demand.money}.get(of, 1)
    until = seconds_left(wall, limits.period) if of is Measure.BUDGET else seconds
    return Refusal(limits=limits, measure=of, most=most, asked=asked, seconds=None if seconds < 0 else until)


def _left(demand: Demand, at: int, measure: bytes, used: int, seconds: int) -> Left:
    limits, of = demand.limits[at], _MEASURES[measure.decode()]
    most = getattr(limits, of.key)
    return Left(key=limits.key, measure=of, most=most, left=max(0, most - used), seconds=seconds)


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def _row(entry: Any) -> Row:
    ms = int(entry.identifier.partition(b"-")[0])
    return Row(**{**json.loads(entry.field_values[b"r"]), "at": ms})


def _unusable(why: str) -> GatewayError:
    return GatewayError(kind=Kind.STORE, message=f"The gateway's store cannot be used: {why}.", retry_after=1)
