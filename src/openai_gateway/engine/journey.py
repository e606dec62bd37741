"""One call on its way over its targets: do the step that the attempts machine says, report the outcome."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import attrs
import trio

from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.router import Router
from openai_gateway.engine.upstream import Exchange
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.assemble import failed_finish, finish_reason_of, output_bytes, usage_of
from openai_gateway.routing.attempts import Cause, Fail, Failure, State, Step, Try, Wait, next_step
from openai_gateway.routing.calls import Account, Call, Json, Outcome, Reply, Served, Usage
from openai_gateway.routing.classify import classify_event, error_in
from openai_gateway.routing.cost import cost
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.dialects.dialect import Dialect, UpstreamRequest
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.error_words import cut
from openai_gateway.routing.estimate import estimated
from openai_gateway.routing.plan import Target
from openai_gateway.routing.prefill import continued
from openai_gateway.wire.strict import JsonError, loads

_LOG: Final = logging.getLogger(__name__)
_MAX_FACT: Final = 200  # characters of a name or an id of the upstream's that are passed on


@attrs.frozen(kw_only=True)
class Facts:
    """What one answer said about itself. `written` is what the model wrote in it, in bytes."""

    model: str | None
    usage: Usage | None
    finish_reason: str | None
    request_id: str | None
    first_byte: float
    written: int
    malformed: int = 0


@attrs.define(kw_only=True)
class Attempt:
    """A try whose answer is being received; whoever has one closes it. `usage` is what it will have cost."""

    step: Try
    answer: Exchange
    usage: Usage | None = None

    async def aclose(self) -> None:
        """Close the exchange at once, whatever is still to come."""
        await self.answer.aclose()


@attrs.define(kw_only=True)
class Journey:
    """One call. `end` is told exactly once how it ended."""

    router: Router
    call: Call
    state: State
    began: float
    first_byte: float | None = None
    _asked: list[str] = attrs.field(factory=list, init=False)
    _spent: Usage | None = attrs.field(default=None, init=False)
    _cost: float | None = attrs.field(default=None, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    @classmethod
    def start(cls, router: Router, call: Call, *, stream: bool) -> Journey:
        """The call before its first step. Raises GatewayError where no row serves its model."""
        began = trio.current_time()
        try:
            state = router.begin(call, stream=stream)
        except GatewayError as error:
            outcome = Outcome.FAILED
            router.record(
                Account(endpoint=call.endpoint, model=call.model, tenant=call.tenant, outcome=outcome, error=error)
            )
            raise
        return cls(router=router, call=call, state=state, began=began)

    @property
    def spent(self) -> Usage | None:
        """The usage of all attempts that have ended so far; None where nothing was spent."""
        return self._spent

    async def next_try(self, failure: Failure | None) -> Try:
        """Report how the last attempt failed, sleep as long as is asked, and say what to try. Raises GatewayError."""
        step = self._next_step(failure)
        while isinstance(step, Wait):
            await trio.sleep(step.seconds)
            step = self._next_step(None)
        if isinstance(step, Fail):
            self.router.learn(self.state, None)
            error = attrs.evolve(step.error, attempts=self.state.attempts)
            self.end(Outcome.FAILED, error)
            raise error
        return step

    def _next_step(self, failure: Failure | None) -> Step:
        if failure is not None:
            target = self.state.targets[0]
            _LOG.info("Attempt %d, at %s: %s.", self.state.attempts, target.name, failure.cause.value)
            _LOG.debug("It failed so: %s", failure.error)
            self.router.judge(target, failure)
        self.state, step = next_step(self.state, failure, trio.current_time(), self.router.random)
        return step

    async def open(self, step: Try) -> Attempt | Failure:
        """Send the attempt and wait for the head of its answer; a refusal is read and classified."""
        target = step.target
        try:
            dialect = _dialect(target)
        except ConfigError as error:
            return self.router.failed(target, Broke(Cause.NOT_CONFIGURED, str(error)))
        request = _encoded(dialect, _asked(self.call, step), step)
        clocks = self.router.clocks(target, self.state.deadline)
        self._asked.append(target.name)
        self.router.health.began(target.name, trio.current_time())
        try:
            exchange = await self.router.upstream.open(target.provider, request, clocks, respond=dialect.respond)
        except Broke as broke:
            return self.router.failed(target, broke)
        if 200 <= exchange.status < 300:
            return Attempt(step=step, answer=exchange)
        try:
            return await self.router.refusal(target, exchange)
        finally:
            await exchange.aclose()

    async def whole(self, attempt: Attempt) -> tuple[bytes, Mapping[str, Json]] | Failure:
        """The whole answer, in OpenAI's shape, and the same read."""
        target, exchange = attempt.step.target, attempt.answer
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
        if endpoint_of(self.call.endpoint).has_choices and not isinstance(json.get("choices"), list):
            return self.router.failed(target, Broke(Cause.MALFORMED, "it has no choices"))
        if (reason := failed_finish(json)) is not None:
            self.spend(attempt, usage_of(json), output_bytes(json))
            return self.router.failed(target, Broke(Cause.CUT, f"finish_reason {reason}"))
        return body, json

    def spend(self, attempt: Attempt, usage: Usage | None, written: int) -> Usage | None:
        """Charge an attempt that brought something; what its provider did not count is estimated."""
        if usage is None and endpoint_of(self.call.endpoint).has_choices:
            usage = estimated(_asked(self.call, attempt.step), written)
        if usage is None:
            return None
        attempt.usage = usage
        self._spent = usage if self._spent is None else self._spent + usage
        dollars = cost(usage, attempt.step.target.row.price)
        if dollars is not None:
            self._cost = dollars + (self._cost or 0.0)
        return usage

    def served(self, attempt: Attempt, facts: Facts) -> Served:
        """The account of a call that ended well; what was learnt is kept."""
        target = attempt.step.target
        usage = self.spend(attempt, facts.usage, facts.written)
        if self.first_byte is None or not attempt.step.continues:
            self.first_byte = facts.first_byte
        self.router.learn(self.state, target)
        self.end(Outcome.ANSWERED)
        skipped = f"{facts.malformed} unreadable event(s) of the stream were skipped"
        return Served(
            model=self._shown(facts.model) or target.model,
            target=target.name,
            attempts=self.state.attempts,
            warnings=(*self.state.warnings, *([skipped] if facts.malformed else [])),
            usage=self._spent if attempt.step.continues else usage,
            request_id=self._shown(facts.request_id),
            finish_reason=self._shown(facts.finish_reason),
            first_byte=self.first_byte - self.began,
            elapsed=trio.current_time() - self.began,
            cost=self._cost,
            continued=bool(attempt.step.continues),
        )

    def end(self, outcome: Outcome, error: GatewayError | None = None) -> None:
        """The call is over: its record is made. Told again, it does nothing, so that every way out may tell it."""
        if self._ended:
            return
        self._ended = True
        if outcome is Outcome.LEFT and self._asked:
            self.router.health.unknown(self._asked[-1])
        self.router.record(
            Account(
                endpoint=self.call.endpoint,
                model=self.call.model,
                tenant=self.call.tenant,
                outcome=outcome,
                asked=tuple(self._asked),
                usage=self._spent,
                cost=self._cost,
                error=error,
                first_byte=None if self.first_byte is None else self.first_byte - self.began,
                elapsed=trio.current_time() - self.began,
            )
        )

    def _shown(self, said: str | None) -> str | None:
        """The door for all of the upstream's own words in Served. Key shapes stay: model names have them ("xai-…")."""
        return None if said is None else cut(self.router.redactor.strike_known(said), _MAX_FACT)


def _dialect(target: Target) -> Dialect:
    """Raises ConfigError where the provider lacks its key, or its kind is not built yet."""
    if target.provider.missing:
        raise ConfigError(target.provider.missing)
    return dialect_of(target.provider.kind)


def _asked(call: Call, step: Try) -> Call:
    """The call as this target gets it: from where the answer broke off, if it did."""
    how = step.target.row.prefill
    return continued(call, step.continues, how) if step.continues and how is not None else call


def _encoded(dialect: Dialect, call: Call, step: Try) -> UpstreamRequest:
    try:
        return dialect.encode(call, step.target, stream=step.stream, changes=step.changes)
    except (TypeError, ValueError, RecursionError) as error:  # a NaN, an object that is no JSON, a circle
        message = f"The request cannot be written as JSON: {error}"
    raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)


async def call_whole(router: Router, call: Call) -> Reply:
    """The answer in one piece. Raises GatewayError."""
    journey = Journey.start(router, call, stream=False)
    failure: Failure | None = None
    try:
        while True:
            step = await journey.next_try(failure)
            outcome = await _attempt_whole(journey, step)
            if isinstance(outcome, Reply):
                return outcome
            failure = outcome
    except GatewayError as error:
        journey.end(Outcome.FAILED, error)
        raise
    finally:
        journey.end(Outcome.LEFT)


async def _attempt_whole(journey: Journey, step: Try) -> Reply | Failure:
    attempt = await journey.open(step)
    if isinstance(attempt, Failure):
        return attempt
    first_byte = trio.current_time()
    try:
        answer = await journey.whole(attempt)
    finally:
        await attempt.aclose()
    if isinstance(answer, Failure):
        return answer
    body, json = answer
    served = journey.served(attempt, facts_of(json, attempt.answer, first_byte))
    return Reply(status=attempt.answer.status, body=body, json=json, served=served)


def facts_of(json: Mapping[str, Json], exchange: Exchange, first_byte: float) -> Facts:
    """What a whole answer says about itself; `first_byte` is a moment of trio's clock."""
    model = json.get("model")
    return Facts(
        model=model if isinstance(model, str) else None,
        usage=usage_of(json),
        finish_reason=finish_reason_of(json),
        request_id=exchange.headers.get("x-request-id"),
        first_byte=first_byte,
        written=output_bytes(json),
    )
