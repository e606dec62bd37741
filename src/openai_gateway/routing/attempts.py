"""Retry, fall back, give up: the pure machine that leads one call over its targets."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Mapping
from typing import Final

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.plan import Target
from openai_gateway.routing.repair import MAX_REPAIRS, REPAIRS, Repair
from openai_gateway.routing.settings import Retries

FIRST_BACKOFF: Final = 0.5
MAX_BACKOFF: Final = 8.0
JITTER: Final = 0.25  # this part at most is taken off (as OpenAI's SDKs do): callers must not come back all at once


class Cause(enum.Enum):
    """Why an attempt failed; `RULES` says what follows from each."""

    CONNECT = "connection failed"
    RESET = "connection broke"
    SERVER_ERROR = "server error"
    RATE_LIMITED = "rate limited"
    QUOTA = "quota exhausted"
    CREDENTIALS = "credential rejected"
    MODEL_NOT_ALLOWED = "model not allowed"
    CONTEXT_LENGTH = "prompt too long"
    CONTENT_POLICY = "content refused"
    REPAIRABLE = "parameter refused"
    REFUSED = "request refused"
    MODEL_NOT_FOUND = "model not found"
    CONNECT_CLOCK = "no connection in time"
    FIRST_BYTE_CLOCK = "no answer in time"
    IDLE_CLOCK = "answer stalled"
    TOTAL_CLOCK = "time is up"
    CUT = "answer cut off"
    MALFORMED = "answer unreadable"
    TOO_LARGE = "answer too large"
    NOT_CONFIGURED = "not configured"
    NOT_POSSIBLE = "not possible here"
    LIMITED = "limit reached"
    BUSY = "no place free"


class Same(enum.Enum):
    """What is done at the target that failed."""

    RETRY = enum.auto()  # after what the upstream asked for, if that fits the deadline, else after a backoff
    REPAIR = enum.auto()  # once a parameter, at once, no retry
    NO = enum.auto()


class Next(enum.Enum):
    """Which further targets may be tried once the same one is done with."""

    ANY = enum.auto()
    OTHER_CREDENTIAL = enum.auto()
    LARGER_CONTEXT = enum.auto()  # only what the row lists in context_fallbacks
    NONE = enum.auto()


class Verdict(enum.Enum):
    """What a failure says of the target's health (routing/health.py)."""

    BROKEN = enum.auto()
    RESTS = enum.auto()  # it works, and wants to be left alone for a while
    WORKS = enum.auto()  # it answered, if only to refuse this very request
    NONE = enum.auto()  # it was not asked, or given up by us


@attrs.frozen
class Rule:
    """What a cause means for the same target, for the next, and for what is thought of this one.

    `in_doubt`: the upstream may have done what was asked, so a request that stores something must not be sent again.
    """

    same: Same
    next: Next
    verdict: Verdict
    in_doubt: bool = False


RULES: Final[Mapping[Cause, Rule]] = {
    Cause.CONNECT: Rule(Same.RETRY, Next.ANY, Verdict.BROKEN),
    Cause.RESET: Rule(Same.RETRY, Next.ANY, Verdict.BROKEN, in_doubt=True),
    Cause.SERVER_ERROR: Rule(Same.RETRY, Next.ANY, Verdict.BROKEN, in_doubt=True),
    Cause.RATE_LIMITED: Rule(Same.RETRY, Next.ANY, Verdict.RESTS),
    Cause.QUOTA: Rule(Same.NO, Next.ANY, Verdict.RESTS),
    Cause.CREDENTIALS: Rule(Same.NO, Next.OTHER_CREDENTIAL, Verdict.WORKS),
    # A key that is good for other models: it is not held against the provider.
    Cause.MODEL_NOT_ALLOWED: Rule(Same.NO, Next.ANY, Verdict.WORKS),
    Cause.CONTEXT_LENGTH: Rule(Same.NO, Next.LARGER_CONTEXT, Verdict.WORKS),
    Cause.CONTENT_POLICY: Rule(Same.NO, Next.NONE, Verdict.WORKS),
    Cause.REPAIRABLE: Rule(Same.REPAIR, Next.NONE, Verdict.WORKS),
    Cause.REFUSED: Rule(Same.NO, Next.NONE, Verdict.WORKS),
    Cause.MODEL_NOT_FOUND: Rule(Same.NO, Next.ANY, Verdict.WORKS),
    Cause.CONNECT_CLOCK: Rule(Same.NO, Next.ANY, Verdict.BROKEN),
    Cause.FIRST_BYTE_CLOCK: Rule(Same.NO, Next.ANY, Verdict.BROKEN, in_doubt=True),
    Cause.IDLE_CLOCK: Rule(Same.RETRY, Next.ANY, Verdict.BROKEN, in_doubt=True),
    Cause.TOTAL_CLOCK: Rule(Same.NO, Next.NONE, Verdict.NONE, in_doubt=True),
    Cause.CUT: Rule(Same.RETRY, Next.ANY, Verdict.BROKEN, in_doubt=True),
    # A 200 that is no answer comes from a wrong address or a broken server: asking again gives the same.
    Cause.MALFORMED: Rule(Same.NO, Next.ANY, Verdict.BROKEN, in_doubt=True),
    Cause.TOO_LARGE: Rule(Same.NO, Next.NONE, Verdict.WORKS, in_doubt=True),
    Cause.NOT_CONFIGURED: Rule(Same.NO, Next.ANY, Verdict.NONE),
    # What follows is found out here: nothing was sent, so none of it is an attempt. A dialect may have no words for the
    # call. Where every place of a target is taken and no other target will do, the call stands in line there.
    Cause.NOT_POSSIBLE: Rule(Same.NO, Next.ANY, Verdict.NONE),
    Cause.LIMITED: Rule(Same.NO, Next.ANY, Verdict.NONE),
    Cause.BUSY: Rule(Same.NO, Next.ANY, Verdict.NONE),
}
"""The table of docs/spec/gateway.md, before the first content reached the caller.

Afterwards every cause means: give up, with two exceptions. A caller that takes its answer whole (`Call.whole`) has seen
nothing, so for it the table holds to the end. And text that was cut off may be continued by a target that can."""

_OURS: Final = frozenset({Cause.NOT_POSSIBLE, Cause.LIMITED, Cause.BUSY})


@attrs.frozen(kw_only=True)
class Failure:
    """The outcome of an attempt that did not succeed.

    `retry_after` is in seconds, `should_retry` the upstream's own word (x-should-retry). `repair` names the refused
    parameter. `renewed`: the credential was refused, and another is there now. `after_content`: content of this attempt
    was passed on to the caller already; then `delivered` is all text that the caller has, if it can be continued.
    """

    cause: Cause
    error: GatewayError
    retry_after: float | None = None
    should_retry: bool | None = None
    repair: str | None = None
    renewed: bool = False
    after_content: bool = False
    delivered: str | None = None


@attrs.frozen(kw_only=True)
class Try:
    """Ask `target`, with `changes` made to the body.

    `stream` is False for a target that cannot stream. `restart` is not None where parts that went out are void: why.
    `continues` is the text that the answer has to go on from, "" for a new answer. `in_line`: wait in line for a place.
    """

    target: Target
    changes: tuple[Repair, ...] = ()
    stream: bool = True
    restart: str | None = None
    continues: str = ""
    in_line: bool = False


@attrs.frozen(kw_only=True)
class Wait:
    """Sleep this long, in seconds, then ask for the next step with no failure."""

    seconds: float


@attrs.frozen(kw_only=True)
class Fail:
    """Give up; `error` is for the caller."""

    error: GatewayError


Step = Try | Wait | Fail


@attrs.frozen(kw_only=True)
class Standing:
    """A target that had no place free when it was tried, and how far the call had come with it."""

    target: Target
    retries: int
    changes: tuple[Repair, ...]


@attrs.frozen(kw_only=True)
class State:
    """One call on its way. Times are seconds on the clock of `Call.deadline`. `targets[0]` is the current one.

    `errors` holds the last word of each target that failed, by its name, in the order in which they were tried. `busy`
    are targets that had no place free when they were tried, `refused` those that refused their credential, `renewed`
    the names of those whose key was read again.
    """

    call: Call
    targets: tuple[Target, ...]
    larger: Mapping[str, tuple[Target, ...]]
    remembered: Mapping[str, tuple[Repair, ...]]
    limits: Retries
    deadline: float
    stream: bool
    attempts: int = 0
    retries: int = 0
    repairs: int = 0
    tried: frozenset[str] = frozenset()
    refused: tuple[Target, ...] = ()
    renewed: frozenset[str] = frozenset()
    busy: tuple[Standing, ...] = ()
    in_line: bool = False
    changes: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()
    restart: str | None = None
    continues: str = ""
    errors: Mapping[str, GatewayError] = attrs.field(factory=dict)

    @property
    def rejected(self) -> tuple[str, ...]:
        """The names of the providers that refused their credential."""
        return tuple(target.provider.name for target in self.refused)


def begin(
    call: Call,
    targets: tuple[Target, ...],
    *,
    retries: Retries,
    total: float,
    now: float,
    context: Mapping[str, tuple[Target, ...]] | None = None,
    rejected: Collection[str] = (),
    repaired: Mapping[str, tuple[Repair, ...]] | None = None,
    stream: bool = True,
) -> State:
    """The state before the first attempt.

    `targets` as `plan()` orders them, `context` as `context_fallbacks()` gives them, `total` in seconds. `rejected`
    names providers that refused their credential earlier: they come last. `repaired` holds, by target name, the repairs
    that helped there earlier. `stream`: whether the upstream is to be asked for a stream.
    """
    deadline = now + total if call.deadline is None else min(call.deadline, now + total)
    state = State(
        call=call,
        targets=tuple(sorted(targets, key=lambda target: target.provider.name in rejected)) if rejected else targets,
        larger=context or {},
        remembered=repaired or {},
        limits=retries,
        deadline=deadline,
        stream=stream,
    )
    return _arrived(state) if targets else state


def next_step(state: State, failure: Failure | None, now: float, random: Callable[[], float]) -> tuple[State, Step]:
    """What to do at the beginning and after each Wait (`failure` None), and after an attempt that failed.

    Ends after at most `Retries.max_attempts` Trys; no Wait reaches the deadline. `random` gives numbers in [0, 1).
    """
    if failure is None:
        return _try(state, now)
    state = attrs.evolve(state, errors={**state.errors, state.targets[0].name: failure.error})
    if failure.cause in _OURS:
        return _pass_by(state, failure, now)
    if failure.after_content and state.call.whole:
        state = attrs.evolve(state, restart=str(failure.error))
    elif failure.after_content:
        if failure.delivered is None:
            return state, Fail(error=failure.error)
        state = attrs.evolve(state, continues=failure.delivered)
    if state.attempts >= state.limits.max_attempts:
        return state, Fail(error=_last_word(state, RULES[failure.cause].next, failure))
    return _after(state, _rule(state, failure), failure, now, random)


def _after(state: State, rule: Rule, failure: Failure, now: float, random: Callable[[], float]) -> tuple[State, Step]:
    current = state.targets[0]
    if failure.renewed and current.name not in state.renewed and _can_serve(state, current):
        return _try(attrs.evolve(state, renewed=state.renewed | {current.name}), now)
    if rule.same is Same.REPAIR:
        return _repair(state, failure, now)
    if rule.same is Same.RETRY and state.retries < state.limits.max_retries:
        seconds = _pause(state, failure, random)
        if now + seconds < state.deadline:
            return attrs.evolve(state, retries=state.retries + 1), Wait(seconds=seconds)
    return _move_on(state, rule.next, failure, now)


def _pass_by(state: State, failure: Failure, now: float) -> tuple[State, Step]:
    """We do not ask this target, for now or with this call: that was no attempt."""
    state = attrs.evolve(state, attempts=state.attempts - 1)
    if failure.cause is Cause.BUSY and not state.in_line:
        standing = Standing(target=state.targets[0], retries=state.retries, changes=state.changes)
        state = attrs.evolve(state, busy=(*state.busy, standing))
    return _move_on(state, Next.ANY, failure, now)


def _rule(state: State, failure: Failure) -> Rule:
    """The row, after the upstream's own word. A repair heeds no such word: it does not ask the same thing again."""
    rule = RULES[failure.cause]
    if failure.should_retry is not None and rule.same is not Same.REPAIR:
        rule = attrs.evolve(rule, same=Same.RETRY if failure.should_retry else Same.NO)
    if state.continues and not state.targets[0].row.prefill:
        rule = attrs.evolve(rule, same=Same.NO)
    if rule.in_doubt and not endpoint_of(state.call.endpoint).generates:
        # With its key the upstream knows it for the same request; another upstream would not.
        same = rule.same if state.call.may_repeat else Same.NO
        rule = attrs.evolve(rule, same=same, next=Next.NONE)
    return rule


def _try(state: State, now: float) -> tuple[State, Step]:
    if not state.targets:
        return state, Fail(error=GatewayError(kind=Kind.NO_TARGET, message="No target is left for this call."))
    if now >= state.deadline:
        return state, Fail(error=_time_is_up(state))
    step = Try(
        target=state.targets[0],
        changes=state.changes,
        stream=_streams(state),
        restart=state.restart,
        continues=state.continues,
        in_line=state.in_line,
    )
    tried = state.tried | {step.target.name}
    return attrs.evolve(state, attempts=state.attempts + 1, restart=None, tried=tried), step


def _pause(state: State, failure: Failure, random: Callable[[], float]) -> float:
    if failure.retry_after is not None:
        return max(0.0, failure.retry_after)
    backoff = min(MAX_BACKOFF, FIRST_BACKOFF * 2.0**state.retries)
    return backoff * (1 - JITTER * random())


def _repair(state: State, failure: Failure, now: float) -> tuple[State, Step]:
    row = REPAIRS.get(failure.repair or "")
    if row is None or row in state.changes or state.repairs >= MAX_REPAIRS or not _may_repair(state, row):
        return state, Fail(error=failure.error)
    state = attrs.evolve(state, repairs=state.repairs + 1)
    return _try(_changed(state, row), now)


def _may_repair(state: State, row: Repair) -> bool:
    if row.always:
        return _streams(state)
    return state.call.repair and row.parameter in state.call.body


def _streams(state: State) -> bool:
    return state.stream and all(change.parameter != "stream" for change in state.changes)


def _changed(state: State, *rows: Repair) -> State:
    warnings = (row.warning(state.targets[0].name) for row in rows)
    return attrs.evolve(state, changes=(*state.changes, *rows), warnings=(*state.warnings, *warnings))


def _arrived(state: State) -> State:
    """A target is to be tried for the first time: no retries yet, and with the repairs known to help there."""
    if state.retries or state.changes:  # a copy of so many fields is the dearest thing a healthy call does here
        state = attrs.evolve(state, retries=0, changes=())
    known = [row for row in state.remembered.get(state.targets[0].name, ()) if _may_repair(state, row)]
    return _changed(state, *known) if known else state


def _move_on(state: State, onward: Next, failure: Failure, now: float) -> tuple[State, Step]:
    current, rest = state.targets[0], state.targets[1:]
    if onward is Next.NONE:
        rest = ()
    if onward is Next.OTHER_CREDENTIAL:
        state = attrs.evolve(state, refused=(*state.refused, current))
    if onward is Next.LARGER_CONTEXT:
        rest = state.larger.get(current.name, ())
    rest = tuple(target for target in rest if target.name not in state.tried and _can_serve(state, target))
    if rest:
        return _try(_arrived(attrs.evolve(state, targets=rest, in_line=False)), now)
    standing = [one for one in state.busy if _can_serve(state, one.target)]
    if standing and onward in _TO_ALL:
        return _try(_in_line(state, *standing), now)
    return state, Fail(error=_last_word(state, onward, failure))


_TO_ALL: Final = frozenset({Next.ANY, Next.OTHER_CREDENTIAL})


def _in_line(state: State, first: Standing, *others: Standing) -> State:
    """The first that had no place free is tried again, from where the call stood with it."""
    return attrs.evolve(
        state, targets=(first.target,), busy=others, in_line=True, retries=first.retries, changes=first.changes
    )


def _can_serve(state: State, target: Target) -> bool:
    """Whether the target can take over: not with a credential that was refused just now, wherever it stands listed.

    And an answer that was begun goes on only where the row says that it can.
    """
    if any(_same_credential(target, other) for other in state.refused):
        return False
    return not state.continues or bool(target.row.prefill)


def _same_credential(one: Target, other: Target) -> bool:
    if one.provider.name == other.provider.name:
        return True
    # The same key at another address is another credential: the first address may have been the wrong one for it.
    # A key that is read when it is needed is not known here: its source stands for it.
    mine, theirs = one.provider, other.provider
    return (mine.api_key, mine.key_source, mine.base_url) == (theirs.api_key, theirs.key_source, theirs.base_url)


def _last_word(state: State, onward: Next, failure: Failure) -> GatewayError:
    """What the caller is told: of a request that no other target would take either, how this one refused it.

    Else the first in an upstream's own words, for the first targets are what the caller asked for; else, of what we
    said ourselves, the limit that frees up first, or the first; else the last.
    """
    if onward in (Next.NONE, Next.LARGER_CONTEXT):
        return failure.error
    in_own_words = next((error for error in state.errors.values() if error.body is not None), None)
    if in_own_words is not None:
        return in_own_words
    if failure.cause in _OURS:
        return min(state.errors.values(), key=_seconds_to_wait)
    return failure.error


def still_in_line(target: Target) -> Failure:
    """The time was up while the call waited for a place."""
    waited_for = f"it waited for a free place at {target.name} (max_parallel)"
    error = GatewayError(
        kind=Kind.TOTAL_TIMEOUT,
        message=f"The time for this call is up; {waited_for}.",
        hint="Allow the call more time, or raise max_parallel.",
        waited_for=waited_for,
    )
    return Failure(cause=Cause.TOTAL_CLOCK, error=error)


def _seconds_to_wait(error: GatewayError) -> float:
    return math.inf if error.retry_after is None else error.retry_after


def _time_is_up(state: State) -> GatewayError:
    attempts = "1 attempt" if state.attempts == 1 else f"{state.attempts} attempts"
    messages = [error.message for error in state.errors.values()]
    last = f" The last attempt: {messages[-1]}" if messages else ""
    return GatewayError(
        kind=Kind.TOTAL_TIMEOUT,
        message=f"The time for this call is up after {attempts}.{last}",
        hint="Allow the call more time, or ask for less.",
        waited_for=f"{attempts} failed, the last so: {messages[-1]}" if messages else "",
    )
