"""What all calls of one configuration snapshot share: where to send, what was learnt on the way, who hears of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import attrs
import trio

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.keys import Keys
from openai_gateway.engine.store import Store
from openai_gateway.engine.store.memory import MemoryStore
from openai_gateway.engine.upstream import MAX_ERROR_BYTES, Exchange, Upstream
from openai_gateway.routing.accounts import Account
from openai_gateway.routing.attempts import RULES, Cause, Failure, State, Try, Verdict, begin
from openai_gateway.routing.cache import AnswerCache
from openai_gateway.routing.calls import Call
from openai_gateway.routing.classify import classify_response, failure_of
from openai_gateway.routing.health import Breakers
from openai_gateway.routing.plan import Provider, Target, context_fallbacks, plan
from openai_gateway.routing.repair import Repair
from openai_gateway.routing.settings import MAX_REST, Settings
from openai_gateway.secret import Redactor

_LOG: Final = logging.getLogger(__name__)

_MAX_REPAIRED: Final = 10_000
"""Targets whose repairs are known, as many as breakers."""

Record = Callable[[Account], None]
"""Hears of every call once, when it has ended; it must not raise."""


def forget(account: Account) -> None:
    """Keeps no record."""
    del account


@attrs.define(kw_only=True)
class Router:
    """One snapshot. What it learns (breakers, refused credentials, repairs, answers to keep) ends with it."""

    settings: Settings
    upstream: Upstream
    redactor: Redactor
    keys: Keys
    random: Callable[[], float]
    record: Record = forget
    store: Store = attrs.field(factory=MemoryStore)
    health: Breakers = attrs.field()
    cache: AnswerCache | None = attrs.field()
    _rejected: set[str] = attrs.field(factory=set, init=False)
    _repaired: dict[str, tuple[Repair, ...]] = attrs.field(factory=dict, init=False)

    @health.default
    def _closed_breakers(self) -> Breakers:
        return Breakers(self.settings.breakers)

    @cache.default
    def _empty_cache(self) -> AnswerCache | None:
        return AnswerCache(self.settings.cache) if self.settings.cache.enabled else None

    def begin(self, call: Call, now: float, *, stream: bool) -> State:
        """The call before its first step. Raises GatewayError where no row serves its model."""
        table = self.settings.table
        targets = plan(call, table, self.health, now, self.random)
        return begin(
            call,
            targets,
            retries=self.settings.retries,
            total=self.settings.timeouts.total,
            now=now,
            context=context_fallbacks(targets, table, self.health, now, self.random, models=call.models),
            rejected=self._rejected,
            repaired=self._repaired,
            stream=stream,
        )

    def learn(self, state: State, target: Target | None, now: float) -> None:
        """Keep what a call found out: which credentials are refused, and the repairs with which `target` answered."""
        for provider in state.rejected:
            if provider not in self._rejected:
                self._rejected.add(provider)
                _LOG.warning(
                    "The provider %s refuses its credential; until it takes it again, it is asked last.", provider
                )
        if target is None:
            return
        self.health.worked(target.name, now)
        if target.provider.name in self._rejected:  # the account may have been topped up, the key allowed
            self._rejected.remove(target.provider.name)
            _LOG.info("The provider %s takes its credential again.", target.provider.name)
        if state.changes:
            # Beside what other calls found out: this one may not have used every parameter.
            known = self._repaired.pop(target.name, ())
            if len(self._repaired) >= _MAX_REPAIRED:  # a wildcard row makes a target of any name a caller thinks of
                del self._repaired[next(iter(self._repaired))]
            self._repaired[target.name] = tuple(dict.fromkeys((*known, *state.changes)))

    def judge(self, target: Target, failure: Failure) -> None:
        """What a failed attempt means for the target's breaker."""
        now = trio.current_time()
        match RULES[failure.cause].verdict:
            case Verdict.BROKEN:
                self.health.failed(target.name, now)
            case Verdict.RESTS:
                pause = MAX_REST if failure.cause is Cause.QUOTA else failure.retry_after
                self.health.rest(target.name, now + (pause or 0.0), now)
            case Verdict.WORKS:
                self.health.worked(target.name, now)
            case Verdict.NONE:
                pass

    def clocks(self, target: Target, deadline: float) -> Clocks:
        timeouts = self.settings.timeouts
        return Clocks(
            connect=timeouts.connect,
            first_byte=timeouts.first_byte if target.row.first_byte is None else target.row.first_byte,
            idle=timeouts.idle,
            deadline=deadline,
        )

    async def with_key(self, step: Try, deadline: float) -> Try:
        """The step with the key that holds now. Raises ConfigError where there is none, Broke when the time is up."""
        provider = self.keys.with_fresh_key(step.target.provider)  # nearly always: then nothing needs a clock
        if provider is None:
            with trio.move_on_at(deadline):
                provider = await self.keys.with_key(step.target.provider)
        if provider is None:
            raise Broke(Cause.TOTAL_CLOCK)
        if provider is step.target.provider:
            return step
        return attrs.evolve(step, target=attrs.evolve(step.target, provider=provider))

    async def renewed(self, provider: Provider, deadline: float) -> bool:
        """Whether the source of the provider's key has another one now than that which was refused."""
        with trio.move_on_at(deadline):
            return await self.keys.renewed(provider)
        return False

    def failed(self, target: Target, broke: Broke) -> Failure:
        return failure_of(broke.cause, target=target, redactor=self.redactor, detail=broke.detail)

    async def refusal(self, target: Target, exchange: Exchange) -> Failure:
        """What an answer other than 2xx says, as much of it as can be read."""
        try:
            body = await exchange.read_at_most(MAX_ERROR_BYTES)
        except Broke as broke:
            if broke.cause is Cause.TOTAL_CLOCK:
                return self.failed(target, broke)
            body = b""  # the status says enough
        return classify_response(
            exchange.status, exchange.headers, body, target=target, redactor=self.redactor, wall=time.time()
        )
