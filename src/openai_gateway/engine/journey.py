"""One call on its way over its targets: do the step that the attempts machine says, report the outcome."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final

import attrs
import trio

from openai_gateway.engine.charges import Charge, bound_of, boundless, row_for
from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.router import Router
from openai_gateway.engine.store.hold import Hold
from openai_gateway.engine.store.tab import Tab
from openai_gateway.engine.upstream import Exchange
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.accounts import Account, Outcome
from openai_gateway.routing.assemble import failed_finish, finish_reasons, output_bytes, usage_of
from openai_gateway.routing.attempts import (
    RULES,
    Cause,
    Fail,
    Failure,
    State,
    Step,
    Try,
    Verdict,
    Wait,
    next_step,
    still_in_line,
)
from openai_gateway.routing.calls import Call, Json, Served, Usage
from openai_gateway.routing.classify import classify_event, error_in
from openai_gateway.routing.cost import cost
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.dialects.dialect import Dialect, UpstreamRequest
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.error_words import cut
from openai_gateway.routing.estimate import estimated
from openai_gateway.routing.ledger import Row
from openai_gateway.routing.limits import Demand, Left, Measure, Refusal, Reservation, Used, error_of, limits_of
from openai_gateway.routing.money import money_of
from openai_gateway.routing.plan import ModelRow, Target
from openai_gateway.routing.prefill import continued
from openai_gateway.routing.token_bound import token_bound
from openai_gateway.wire.strict import JsonError, loads

_LOG: Final = logging.getLogger(__name__)
_REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id")  # OpenAI and most, Anthropic, Azure
_LIMITS: Final = tuple(
    f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")
)
_LIMIT: Final = re.compile(r"[0-9a-z.:TZ-]{1,40}")
_MAX_FACT: Final = 200  # characters of a name or an id of the upstream's that are passed on


@attrs.frozen(kw_only=True)
class Facts:
    """What one answer said about itself. `written` is what the model wrote in it, in bytes; it is asked for where the
    answer has no usage, and need not be counted otherwise."""

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
    hold: Hold | None = None
    usage: Usage | None = None

    async def aclose(self) -> None:
        """Close the exchange at once, whatever is still to come; then the place is free for another."""
        try:
            await self.answer.aclose()
        finally:
            if self.hold is not None:
                if self.usage is not None:
                    self.hold.used(self.usage.input + self.usage.output)
                await self.hold.aclose()


@attrs.frozen(kw_only=True)
class Underway:
    """How far a call is: the target that was asked last, how many attempts there were, how the caller's limits stood
    when it was let in, the seconds so far in which no upstream was waited for, and what the upstream says of its own
    limits, as header fields."""

    target: str
    attempts: int
    left: tuple[Left, ...]
    overhead: float
    limits: tuple[tuple[str, str], ...] = ()


@attrs.define(kw_only=True)
class Journey:
    """One call. `end` is told exactly once how it ended."""

    router: Router
    call: Call
    state: State
    began: float
    tab: Tab
    first_byte: float | None = None
    waited: float = 0.0
    """Seconds in which an upstream was waited for."""
    warnings: tuple[str, ...] = ()
    """What the request that was sent last leaves out."""
    limits: tuple[tuple[str, str], ...] = ()
    """What the upstream that answers says of its own limits, as header fields."""
    _asked: list[str] = attrs.field(factory=list, init=False)
    _spent: Usage | None = attrs.field(default=None, init=False)
    _cost: float | None = attrs.field(default=None, init=False)
    _is_probe: bool = attrs.field(default=False, init=False)
    _account: Account | None = attrs.field(default=None, init=False)

    @classmethod
    async def start(cls, router: Router, call: Call, *, stream: bool) -> Journey:
        """The call before its first step. Raises GatewayError where no row serves its model."""
        began = trio.current_time()
        tab = Tab(router.store, call.limits)
        try:
            state = router.begin(call, began, stream=stream)
        except GatewayError as error:
            refused = error
        else:
            return cls(router=router, call=call, state=state, began=began, tab=tab)
        outcome = Outcome.FAILED
        account = Account(endpoint=call.endpoint, model=call.model, tenant=call.tenant, outcome=outcome, error=refused)
        router.record(account)
        await tab.close_quietly(row_for(call, account, tab))
        raise refused

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
            self.router.learn(self.state, None, trio.current_time())
            error = attrs.evolve(step.error, attempts=len(self._asked))
            self.end(Outcome.FAILED, error)
            raise error
        return step

    def _next_step(self, failure: Failure | None) -> Step:
        if failure is not None:
            target = self.state.targets[0]
            _LOG.info("Attempt %d, at %s: %s.", self.state.attempts, target.name, failure.cause.value)
            _LOG.debug("It failed so: %s", failure.error)
            self.router.judge(target, failure)
            self._leave_probe(failure.cause)
        self.state, step = next_step(self.state, failure, trio.current_time(), self.router.random)
        return step

    async def open(self, step: Try) -> Attempt | Failure:
        """Send the attempt and wait for the head of its answer; a refusal is read and classified."""
        try:
            dialect = _dialect(step.target)
            step = await self.router.with_key(step, self.state.deadline)
        except ConfigError as error:
            return self.router.failed(step.target, Broke(Cause.NOT_CONFIGURED, str(error)))
        except Broke as broke:
            return self.router.failed(step.target, broke)
        try:
            call = _asked(self.call, step)
            request = _encoded(dialect, call, step)
            demand = _demand(step.target.row, call)
            bound = bound_of(call, step.target.row)
        except GatewayError as error:  # this kind has no words for what the call asks, nor its row a bound; another may
            return Failure(cause=Cause.NOT_POSSIBLE, error=error)
        self.warnings = request.warnings
        if bound is None:
            return Failure(cause=Cause.NOT_POSSIBLE, error=boundless(step.target))
        await self._cover(bound)
        hold = None if demand is None else await self._reserve(step, demand)
        if isinstance(hold, Failure):
            return hold
        opened: Attempt | Failure | None = None
        try:
            opened = await self._send(step, request, dialect, Charge(hold, self.tab, step, call, bound))
        finally:
            if hold is not None and not isinstance(opened, Attempt):
                await hold.aclose()
        return opened

    async def _cover(self, bound: Used) -> None:
        """What the caller's own limits do not allow ends the call: no other target would change that."""
        try:
            await self.tab.cover(bound)
        except GatewayError as error:
            refused = attrs.evolve(error, attempts=len(self._asked))
        else:
            return
        raise refused

    async def _reserve(self, step: Try, demand: Demand) -> Hold | Failure:
        """A hold on the limits of the target's row."""
        outcome: Reservation | Refusal | None = None
        with trio.move_on_at(self.state.deadline):
            outcome = await self.router.store.reserve(demand, wait=step.in_line)
        match outcome:
            case None:
                return still_in_line(step.target)
            case Refusal():
                cause = Cause.BUSY if outcome.measure is Measure.MAX_PARALLEL else Cause.LIMITED
                return Failure(cause=cause, error=error_of(outcome))
            case Reservation():
                return Hold(self.router.store, outcome)

    async def _send(self, step: Try, request: UpstreamRequest, dialect: Dialect, charge: Charge) -> Attempt | Failure:
        target = step.target
        clocks = self.router.clocks(target, self.state.deadline)
        self._asked.append(target.name)
        self._is_probe = self.router.health.began(target.name, trio.current_time())
        try:
            with self.waiting():
                exchange = await self.router.upstream.open(
                    target.provider, request, clocks, respond=dialect.respond, may_repeat=self.call.may_repeat
                )
        except Broke as broke:
            if clocks.sent and RULES[broke.cause].in_doubt:
                charge.prompt()
            return self.router.failed(target, broke)
        except BaseException:  # Cancelled, and in a group where the client had a nursery open
            if clocks.sent:
                charge.all()
            raise
        if 200 <= exchange.status < 300:
            charge.prompt()  # until more is known, which for an answer without usage is never
            self.limits = _limits_said(exchange.headers)
            return Attempt(step=step, answer=exchange, hold=charge.hold)
        try:
            failure = await self.router.refusal(target, exchange)
        finally:
            charge.nothing()
            await exchange.aclose()
        if failure.cause is Cause.CREDENTIALS and await self.router.renewed(target.provider, self.state.deadline):
            return attrs.evolve(failure, renewed=True)
        return failure

    def waiting(self) -> _Waiting:
        """Around what waits for the upstream."""
        return _Waiting(self)

    async def whole(self, attempt: Attempt) -> tuple[bytes, Mapping[str, Json]] | Failure:
        """The whole answer, in OpenAI's shape, and the same read."""
        target, exchange = attempt.step.target, attempt.answer
        exchange.content_came()
        try:
            with self.waiting():
                raw = await exchange.read_all()
            if endpoint_of(self.call.endpoint).may_be_bytes and not _is_json(exchange):
                return raw, {}
            body = dialect_of(target.provider.kind).answer(raw)
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
        if (reason := failed_finish(finish_reasons(json))) is not None:
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
        price = attempt.step.target.row.price
        self.tab.owes(usage.input + usage.output, money_of(usage, price))
        dollars = cost(usage, price)
        if dollars is not None:
            self._cost = dollars + (self._cost or 0.0)
        return usage

    def served(self, attempt: Attempt, facts: Facts) -> Served:
        """The account of a call that ended well; what was learnt is kept."""
        target = attempt.step.target
        usage = self.spend(attempt, facts.usage, facts.written)
        if self.first_byte is None or not attempt.step.continues:
            self.first_byte = facts.first_byte
        now = trio.current_time()
        self.router.learn(self.state, target, now)
        self.end(Outcome.ANSWERED, now=now)
        skipped = f"{facts.malformed} unreadable event(s) of the stream were skipped"
        return Served(
            model=self._shown(facts.model) or target.model,
            target=target.name,
            attempts=len(self._asked),
            warnings=(*self.state.warnings, *self.warnings, *([skipped] if facts.malformed else [])),
            usage=self._spent if attempt.step.continues else usage,
            request_id=self._shown(facts.request_id),
            finish_reason=self._shown(facts.finish_reason),
            first_byte=self.first_byte - self.began,
            elapsed=now - self.began,
            cost=self._cost,
            continued=bool(attempt.step.continues),
            left=self.tab.left,
            overhead=self._overhead(now),
            limits=self.limits,
        )

    def end(self, outcome: Outcome, error: GatewayError | None = None, *, now: float | None = None) -> None:
        """The call is over: its record is made. Told again, it does nothing, so that every way out may tell it.

        `now` is for whoever has just looked at the clock.
        """
        if self._account is not None:
            return
        if outcome is Outcome.LEFT:
            self._leave_probe()
        self._account = Account(
            endpoint=self.call.endpoint,
            model=self.call.model,
            tenant=self.call.tenant,
            outcome=outcome,
            asked=tuple(self._asked),
            usage=self._spent,
            cost=self._cost,
            error=error,
            first_byte=None if self.first_byte is None else self.first_byte - self.began,
            elapsed=(trio.current_time() if now is None else now) - self.began,
        )
        self.router.record(self._account)

    async def close(self) -> None:
        """Settle what an answered call owes and write its row, before anybody has all of the answer.

        Raises GatewayError where that cannot be done.
        """
        await self.tab.close(self._row())

    async def aclose(self) -> None:
        """The same for a call that ended otherwise. Told again, or after `close`, it does nothing."""
        if not self.tab.is_closed:  # as after every answer: then no row is made for nobody
            await self.tab.close_quietly(self._row())

    def _row(self) -> Row | None:
        return None if self._account is None else row_for(self.call, self._account, self.tab)

    @property
    def underway(self) -> Underway:
        """How far the call is."""
        return Underway(
            target=self._asked[-1] if self._asked else "",
            attempts=len(self._asked),
            left=self.tab.left,
            overhead=self._overhead(trio.current_time()),
            limits=self.limits,
        )

    def _overhead(self, now: float) -> float:
        return max(0.0, now - self.began - self.waited)

    def _leave_probe(self, cause: Cause = Cause.TOTAL_CLOCK) -> None:
        """A probe that we gave up ourselves told nothing."""
        if self._is_probe and RULES[cause].verdict is Verdict.NONE:
            self.router.health.unknown(self._asked[-1])
        self._is_probe = False

    def _shown(self, said: str | None) -> str | None:
        """The door for all of the upstream's own words in Served. Key shapes stay: model names have them ("xai-…")."""
        return None if said is None else cut(self.router.redactor.strike_known(said), _MAX_FACT)


@attrs.define(eq=False)
class _Waiting:
    """A block whose seconds are no work of ours. A class, as a call has several, and a generator costs three times."""

    _journey: Journey
    _since: float = attrs.field(factory=trio.current_time, init=False)

    def __enter__(self) -> None:
        """The time runs already."""

    def __exit__(self, *_: object) -> None:
        self._journey.waited += trio.current_time() - self._since


def _dialect(target: Target) -> Dialect:
    """Raises ConfigError where the provider lacks its key or address, or is of no kind that there is."""
    if target.provider.missing:
        raise ConfigError(target.provider.missing)
    return dialect_of(target.provider.kind)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The upstream's own id of a request: what its support asks for."""
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)


def _limits_said(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """OpenAI's fields, and no other; what is no plain value of such a one is left out."""
    said = [(name, headers[name]) for name in _LIMITS if name in headers]
    return tuple((name, value) for name, value in said if _LIMIT.fullmatch(value))


def _is_json(exchange: Exchange) -> bool:
    return "json" in exchange.headers.get("content-type", "").lower()


def _asked(call: Call, step: Try) -> Call:
    """The call as this target gets it: from where the answer broke off, if it did."""
    how = step.target.row.prefill
    return continued(call, step.continues, how) if step.continues and how is not None else call


def _demand(row: ModelRow, call: Call) -> Demand | None:
    """What the call asks of the row's limits, None where it has none. Raises GatewayError as `token_bound`."""
    limits = limits_of(row)
    if limits is None:
        return None
    return Demand(limits=(limits,), tokens=0 if limits.tpm is None else token_bound(call, row.max_output_tokens))


def _encoded(dialect: Dialect, call: Call, step: Try) -> UpstreamRequest:
    try:
        return dialect.encode(call, step.target, stream=step.stream, changes=step.changes)
    except (TypeError, ValueError, RecursionError) as error:  # a NaN, an object that is no JSON, a circle
        message = f"The request cannot be written as JSON: {error}"
    raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)
