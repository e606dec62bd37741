"""The one loop: do the step that the attempts machine says, report what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import attrs
import trio

from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.upstream import MAX_ERROR_BYTES, Exchange, Upstream
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.assemble import failed_finish, finish_reason_of, usage_of
from openai_gateway.routing.attempts import Cause, Fail, Failure, State, Step, Try, Wait, begin, next_step
from openai_gateway.routing.calls import Call, Json, Reply, Served, Usage
from openai_gateway.routing.classify import classify_event, classify_response, error_in, failure_of
from openai_gateway.routing.cost import cost
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.dialects.dialect import Dialect, UpstreamRequest
from openai_gateway.routing.error_words import cut
from openai_gateway.routing.health import AlwaysHealthy, Health
from openai_gateway.routing.plan import Target, context_fallbacks, plan
from openai_gateway.routing.repair import Repair
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import Redactor
from openai_gateway.wire.strict import JsonError, loads

_LOG: Final = logging.getLogger(__name__)
_WITH_CHOICES: Final = frozenset({"chat/completions", "completions"})
_MAX_FACT: Final = 200  # characters of a name or an id of the upstream's that are passed on


@attrs.define(kw_only=True)
class Router:
    """What all calls of one configuration snapshot share: where to send, what was learnt on the way."""

    settings: Settings
    upstream: Upstream
    redactor: Redactor
    random: Callable[[], float]
    health: Health = attrs.field(factory=AlwaysHealthy)
    _rejected: set[str] = attrs.field(factory=set, init=False)
    _repaired: dict[str, tuple[Repair, ...]] = attrs.field(factory=dict, init=False)

    def begin(self, call: Call, *, stream: bool) -> Journey:
        """The call before its first step. Raises GatewayError where no row serves its model."""
        now = trio.current_time()
        table = self.settings.table
        targets = plan(call, table, self.health, now, self.random)
        state = begin(
            call,
            targets,
            retries=self.settings.retries,
            total=self.settings.timeouts.total,
            now=now,
            context=context_fallbacks(targets, table, self.health, now, self.random),
            rejected=self._rejected,
            repaired=self._repaired,
            stream=stream,
        )
        return Journey(router=self, call=call, state=state, began=now)

    def learn(self, state: State, target: Target | None) -> None:
        """Keep what a call found out: which credentials are refused, and the repairs with which `target` answered."""
        for provider in state.rejected:
            if provider not in self._rejected:
                self._rejected.add(provider)
                _LOG.warning(
                    "The provider %s refuses its credential; until it takes it again, it is asked last.", provider
                )
        if target is None:
            return
        if target.provider.name in self._rejected:  # the account may have been topped up, the key allowed
            self._rejected.remove(target.provider.name)
            _LOG.info("The provider %s takes its credential again.", target.provider.name)
        if state.changes:
            # Beside what other calls found out: this one may not have used every parameter.
            known = self._repaired.get(target.name, ())
            self._repaired[target.name] = tuple(dict.fromkeys((*known, *state.changes)))

    def clocks(self, target: Target, deadline: float) -> Clocks:
        timeouts = self.settings.timeouts
        return Clocks(
            connect=timeouts.connect,
            first_byte=timeouts.first_byte if target.row.first_byte is None else target.row.first_byte,
            idle=timeouts.idle,
            deadline=deadline,
        )

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


@attrs.frozen(kw_only=True)
class Facts:
    """What one answer said about itself."""

    model: str | None
    usage: Usage | None
    finish_reason: str | None
    request_id: str | None
    first_byte: float
    malformed: int = 0


@attrs.define(kw_only=True)
class Journey:
    """One call on its way over its targets."""

    router: Router
    call: Call
    state: State
    began: float

    async def next_try(self, failure: Failure | None) -> Try:
        """Report how the last attempt failed, sleep as long as is asked, and say what to try. Raises GatewayError."""
        step = self._next_step(failure)
        while isinstance(step, Wait):
            await trio.sleep(step.seconds)
            step = self._next_step(None)
        if isinstance(step, Fail):
            self.router.learn(self.state, None)
            raise step.error
        return step

    def _next_step(self, failure: Failure | None) -> Step:
        if failure is not None:
            target = self.state.targets[0].name
            _LOG.info("Attempt %d, at %s: %s.", self.state.attempts, target, failure.cause.value)
            _LOG.debug("It failed so: %s", failure.error)
        self.state, step = next_step(self.state, failure, trio.current_time(), self.router.random)
        return step

    async def open(self, step: Try) -> Exchange | Failure:
        """Send the attempt and wait for the head of its answer; a refusal is read and classified."""
        target = step.target
        try:
            dialect = _dialect(target)
        except ConfigError as error:
            return self.router.failed(target, Broke(Cause.NOT_CONFIGURED, str(error)))
        request = _encoded(dialect, self.call, step)
        clocks = self.router.clocks(target, self.state.deadline)
        try:
            exchange = await self.router.upstream.open(target.provider, request, clocks, respond=dialect.respond)
        except Broke as broke:
            return self.router.failed(target, broke)
        if 200 <= exchange.status < 300:
            return exchange
        try:
            return await self.router.refusal(target, exchange)
        finally:
            await exchange.aclose()

    async def whole(self, target: Target, exchange: Exchange) -> tuple[bytes, Mapping[str, Json]] | Failure:
        """The whole answer, in OpenAI's shape, and the same read."""
        exchange.content_came()
        try:
            body = dialect_of(target.provider.kind).answer(await exchange.read_all())
            json = loads(body)
        except Broke as broke:
            return self.router.failed(target, broke)
        except JsonError as error:
            return self.router.failed(target, Broke(Cause.MALFORMED, str(error)))
        if not isinstance(json, dict):
            return self.router.failed(target, Broke(Cause.MALFORMED, "it is no JSON object"))
        if error_in(json) is not None:
            return classify_event(json, target=target, redactor=self.router.redactor)
        if self.call.endpoint in _WITH_CHOICES and not isinstance(json.get("choices"), list):
            return self.router.failed(target, Broke(Cause.MALFORMED, "it has no choices"))
        if (reason := failed_finish(json)) is not None:
            return self.router.failed(target, Broke(Cause.CUT, f"finish_reason {reason}"))
        return body, json

    def served(self, target: Target, facts: Facts) -> Served:
        """The account of a call that ended well; what was learnt is kept."""
        self.router.learn(self.state, target)
        skipped = f"{facts.malformed} unreadable event(s) of the stream were skipped"
        return Served(
            model=self._shown(facts.model) or target.model,
            target=target.name,
            attempts=self.state.attempts,
            warnings=(*self.state.warnings, *([skipped] if facts.malformed else [])),
            usage=facts.usage,
            request_id=self._shown(facts.request_id),
            finish_reason=self._shown(facts.finish_reason),
            first_byte=facts.first_byte - self.began,
            elapsed=trio.current_time() - self.began,
            cost=cost(facts.usage, target.row.price),
        )

    def _shown(self, said: str | None) -> str | None:
        """The door for all of the upstream's own words in Served. Key shapes stay: model names have them ("xai-…")."""
        return None if said is None else cut(self.router.redactor.strike_known(said), _MAX_FACT)


def _dialect(target: Target) -> Dialect:
    """Raises ConfigError where the provider lacks its key, or its kind is not built yet."""
    if target.provider.missing:
        raise ConfigError(target.provider.missing)
    return dialect_of(target.provider.kind)


def _encoded(dialect: Dialect, call: Call, step: Try) -> UpstreamRequest:
    try:
        return dialect.encode(call, step.target, stream=step.stream, changes=step.changes)
    except (TypeError, ValueError, RecursionError) as error:  # a NaN, an object that is no JSON, a circle
        message = f"The request cannot be written as JSON: {error}"
    raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)


async def call_whole(router: Router, call: Call) -> Reply:
    """The answer in one piece. Raises GatewayError."""
    journey = router.begin(call, stream=False)
    failure: Failure | None = None
    while True:
        step = await journey.next_try(failure)
        outcome = await _attempt_whole(journey, step)
        if isinstance(outcome, Reply):
            return outcome
        failure = outcome


async def _attempt_whole(journey: Journey, step: Try) -> Reply | Failure:
    exchange = await journey.open(step)
    if isinstance(exchange, Failure):
        return exchange
    first_byte = trio.current_time()
    try:
        answer = await journey.whole(step.target, exchange)
    finally:
        await exchange.aclose()
    if isinstance(answer, Failure):
        return answer
    body, json = answer
    served = journey.served(step.target, facts_of(json, exchange, first_byte))
    return Reply(status=exchange.status, body=body, json=json, served=served)


def facts_of(json: Mapping[str, Json], exchange: Exchange, first_byte: float) -> Facts:
    """What a whole answer says about itself; `first_byte` is a moment of trio's clock."""
    model = json.get("model")
    return Facts(
        model=model if isinstance(model, str) else None,
        usage=usage_of(json),
        finish_reason=finish_reason_of(json),
        request_id=exchange.headers.get("x-request-id"),
        first_byte=first_byte,
    )
