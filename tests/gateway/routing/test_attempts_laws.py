"""The attempts machine against a bookkeeper that knows only the promises, for any outcomes; and planted faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

import attrs
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from openai_gateway.routing import attempts
from openai_gateway.routing.attempts import (
    FIRST_BACKOFF,
    JITTER,
    MAX_BACKOFF,
    RULES,
    Cause,
    Fail,
    Failure,
    Next,
    Rule,
    Same,
    State,
    Step,
    Try,
    Wait,
    begin,
    next_step,
)
from openai_gateway.routing.plan import Target
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.repair import MAX_REPAIRS, REPAIRS
from openai_gateway.routing.settings import Retries
from openai_gateway.secret import Secret
from tests.gateway.routing.samples import call, failure, provider, row, target

Machine = Callable[[State, Failure | None, float, Callable[[], float]], tuple[State, Step]]

SHARED: Final = Secret("shared", name="K")
TWIN: Final = Target(
    provider=provider("twin", base_url="https://a.example.com/v1", api_key=Secret("key-of-a", name="a")),
    model="m",
    row=row("m", "twin"),
)
GOES_ON: Final = Target(provider=provider("d"), model="m", row=row("m", "d", prefill=Prefill.MESSAGE))
TARGETS: Final = (target("a"), target("b"), target("c"), target("a", "n"), TWIN, GOES_ON)
CONTEXT: Final = {"a/m": (TARGETS[2], TARGETS[3]), "c/m": (TARGETS[0], TARGETS[3], TARGETS[1])}
BODY: Final = {"temperature": 1, "top_p": 1, "max_tokens": 1, "presence_penalty": 1, "frequency_penalty": 1}


def _in_order(causes: Iterable[Cause]) -> list[Cause]:
    return sorted(causes, key=lambda cause: cause.value)


_OURS: Final = {Cause.LIMITED, Cause.BUSY}
_CLOCKS: Final = {Cause.CONNECT_CLOCK, Cause.FIRST_BYTE_CLOCK, Cause.IDLE_CLOCK, Cause.TOTAL_CLOCK}
_SAID: Final = _in_order(set(Cause) - _CLOCKS - _OURS)  # only an answer has headers

_ANY = st.builds(
    failure,
    st.sampled_from(_SAID),
    retry_after=st.none() | st.floats(-1, 100),
    should_retry=st.none() | st.booleans(),
    repair=st.none() | st.sampled_from([*REPAIRS, "other"]),
    after_content=st.booleans(),
    delivered=st.none() | st.just("text"),
)
_RAN_OUT = st.builds(
    failure, st.sampled_from(_in_order(_CLOCKS)), after_content=st.booleans(), delivered=st.none() | st.just("text")
)
# Most of the rules that are about more than one attempt hang on these, which the dice would rarely give in a row.
_OFTEN = st.builds(failure, st.sampled_from([Cause.CREDENTIALS, Cause.CONTEXT_LENGTH, Cause.BUSY, Cause.LIMITED])) | (
    st.builds(failure, st.just(Cause.REPAIRABLE), repair=st.sampled_from(sorted(REPAIRS)))
)
OUTCOMES = st.lists(st.tuples(_ANY | _RAN_OUT | _OFTEN, st.floats(0, 20)), min_size=1, max_size=6)


@attrs.frozen(kw_only=True)
class Story:
    """One call's terms, and what its attempts come to, again and again in turn, with the seconds that each takes."""

    targets: tuple[Target, ...]
    outcomes: list[tuple[Failure, float]]
    repair: bool
    whole: bool
    limits: Retries
    total: float
    deadline: float | None
    seed: int

    def state(self) -> State:
        wanted = call(repair=self.repair, whole=self.whole, body=BODY, deadline=self.deadline)
        return begin(wanted, self.targets, retries=self.limits, total=self.total, now=0.0, context=CONTEXT)

    @property
    def ends(self) -> float:
        return self.total if self.deadline is None else min(self.total, self.deadline)


STORIES = st.builds(
    Story,
    targets=st.lists(st.sampled_from(TARGETS), max_size=6, unique_by=lambda one: one.name).map(tuple),
    outcomes=OUTCOMES,
    repair=st.booleans(),
    whole=st.booleans(),
    limits=st.builds(Retries, max_retries=st.integers(0, 4), max_attempts=st.integers(1, 20)),
    total=st.floats(0, 1_000),
    deadline=st.none() | st.floats(-1, 1_000),
    seed=st.integers(0, 2**32),
)


@attrs.define
class Bookkeeper:
    """Writes down what the machine does, and objects to what it must not do. It knows the rules, not the machine."""

    story: Story
    now: float = 0.0
    attempts: int = 0
    repairs: int = 0
    retries: dict[str, int] = attrs.field(factory=dict)
    tries: dict[str, int] = attrs.field(factory=dict)
    left: set[str] = attrs.field(factory=set)
    refused: list[Target] = attrs.field(factory=list)
    last: Failure | None = None
    at: Target | None = None
    void: bool = False
    waited: bool = False
    continues: str = ""
    busy: set[str] = attrs.field(factory=set)

    def trying(self, step: Try) -> None:
        self._count(step)
        if self.last is not None and self.at is not None:
            assert self._may_go_on(self.last), "something was tried after content reached the caller"
            if step.target.name == self.at.name:
                self._again(self.last, step)
            else:
                self._elsewhere(self.at, self.last, step)
        assert not any(_same_credential(step.target, other) for other in self.refused), "a refused credential again"
        assert (step.restart is not None) is self.void, "void parts unsaid, or said twice"
        assert step.continues == self.continues, "an answer begun anew, or gone on with that was not begun"
        assert not step.continues or step.target.row.prefill, "an answer to go on with at a target that cannot"
        self.at, self.waited, self.void = step.target, False, False

    def _count(self, step: Try) -> None:
        name = step.target.name
        self.attempts += 1
        self.tries[name] = self.tries.get(name, 0) + 1
        assert self.attempts <= self.story.limits.max_attempts, "more attempts than a call has"
        assert self.now < self.story.ends, "an attempt after the deadline"
        if step.in_line and name in self.busy:  # it was not done with: there was no place
            self.busy.discard(name)
            self.left.discard(name)
        assert name not in self.left, "a target asked again that was done with"

    def _may_go_on(self, last: Failure) -> bool:
        return self.story.whole or not last.after_content or last.delivered is not None

    def _again(self, last: Failure, step: Try) -> None:
        same = _rule(last).same
        if step.in_line and last.cause in _OURS:
            return
        assert same is not Same.NO, "the same target again after a no"
        assert self.waited is (same is Same.RETRY), "a retry without a wait, or a repair with one"
        if same is Same.REPAIR:
            self._repair(last, step)

    def _repair(self, last: Failure, step: Try) -> None:
        self.repairs += 1
        assert self.repairs <= MAX_REPAIRS, "more repairs than a call has"
        assert step.changes[-1].parameter == last.repair, "another repair than was asked for"
        assert len(set(step.changes)) == len(step.changes), "the same repair twice"
        assert self.story.repair or step.changes[-1].always, "a repair that the caller did not allow"

    def _elsewhere(self, at: Target, last: Failure, step: Try) -> None:
        rule = _rule(last)
        assert not self.waited, "a wait before another target"
        assert rule.next is not Next.NONE, "another target for what no other would take"
        if rule.next is Next.LARGER_CONTEXT:
            assert step.target in CONTEXT.get(at.name, ()), "a larger model that nobody listed"
        if rule.next is Next.OTHER_CREDENTIAL:
            self.refused.append(at)
        self.left.add(at.name)

    def waiting(self, step: Wait) -> None:
        assert self.last is not None
        assert self.at is not None
        assert not self.waited, "two waits in a row"
        assert self._may_go_on(self.last), "a wait after content reached the caller"
        assert _rule(self.last).same is Same.RETRY, "a wait for nothing"
        assert self.now + step.seconds < self.story.ends, "a wait that reaches the deadline"
        done = self.retries.get(self.at.name, 0)
        assert done < self.story.limits.max_retries, "more retries than a target has"
        self._measure(step.seconds, self.last, min(MAX_BACKOFF, FIRST_BACKOFF * 2.0**done))
        self.retries[self.at.name] = done + 1
        self.now += step.seconds
        self.waited = True

    def _measure(self, seconds: float, last: Failure, backoff: float) -> None:
        if last.retry_after is None:
            assert backoff * (1 - JITTER) <= seconds <= backoff, "no backoff of the table"
        else:
            assert seconds == max(0.0, last.retry_after), "not what the upstream asked for"

    def came(self, outcome: Failure, seconds: float) -> None:
        self.last = outcome
        self.now += seconds
        if outcome.cause in _OURS:  # nothing was asked
            self.attempts -= 1
            self.tries[self._here] -= 1
            self.busy |= {self._here} if outcome.cause is Cause.BUSY else set()
            return
        self.void = self.void or (outcome.after_content and self.story.whole)
        if outcome.after_content and not self.story.whole:
            self.continues = outcome.delivered or ""

    @property
    def _here(self) -> str:
        assert self.at is not None
        return self.at.name

    def failing(self, step: Fail) -> None:
        if self.last is not None and not self._may_go_on(self.last):
            assert step.error is self.last.error, "another error than what cut the answer"


def _rule(outcome: Failure) -> Rule:
    """The table's row, after the upstream's own word."""
    rule = RULES[outcome.cause]
    if rule.same is Same.REPAIR or outcome.should_retry is None:
        return rule
    return attrs.evolve(rule, same=Same.RETRY if outcome.should_retry else Same.NO)


def _same_credential(one: Target, other: Target) -> bool:
    a, b = one.provider, other.provider
    return a.name == b.name or (a.api_key == b.api_key and a.base_url == b.base_url)


def check(story: Story, machine: Machine) -> Bookkeeper:
    """Lead the story to its end; it has one, whatever happens."""
    book = Bookkeeper(story)
    state, outcome = story.state(), None
    random = Random(story.seed).random  # noqa: S311 - jitter, not a secret
    turns = 0
    for _ in range(200):
        state, step = machine(state, outcome, book.now, random)
        if isinstance(step, Fail):
            book.failing(step)
            return book
        if isinstance(step, Wait):
            book.waiting(step)
            outcome = None
            continue
        book.trying(step)
        outcome, seconds = story.outcomes[turns % len(story.outcomes)]
        turns += 1
        book.came(outcome, seconds)
    raise AssertionError("the call does not end")


@given(STORIES)
def test_every_call_keeps_its_promises(story: Story) -> None:
    book = check(story, next_step)
    event(f"{book.attempts} attempts at {len(book.tries)} targets")


# --- what the bookkeeper found ---------------------------------------------------------------------------------------


def story(*outcomes: Failure, targets: tuple[Target, ...], **terms: Any) -> Story:
    given = {
        "targets": targets,
        "outcomes": [(outcome, 0.0) for outcome in outcomes],
        "repair": True,
        "whole": False,
        "limits": Retries(),
        "total": 600.0,
        "deadline": None,
        "seed": 0,
    }
    return Story(**{**given, **terms})


A, B, C, A_TOO, _, _ = TARGETS


def test_a_refused_credential_is_not_asked_for_a_larger_context_either() -> None:
    book = check(story(failure(Cause.CREDENTIALS), failure(Cause.CONTEXT_LENGTH), targets=(A, C)), next_step)
    assert list(book.tries) == ["a/m", "c/m", "b/m"]  # and not a/n, though c/m names it first


def test_a_refused_credential_is_not_stood_in_line_for() -> None:
    book = check(story(failure(Cause.BUSY), failure(Cause.CREDENTIALS), targets=(A, A_TOO)), next_step)
    assert list(book.tries) == ["a/m", "a/n"]
    assert book.attempts == 1


def test_an_answer_that_was_begun_stands_in_no_line_of_a_target_that_cannot_go_on_with_it() -> None:
    cut = failure(Cause.FIRST_BYTE_CLOCK, "cut", after_content=True, delivered="text")
    book = check(story(failure(Cause.BUSY), cut, targets=(A, B)), next_step)
    assert list(book.tries) == ["a/m", "b/m"]
    assert book.attempts == 1


def test_standing_in_line_brings_no_new_retries() -> None:
    limits = Retries(max_retries=1)
    outcomes = (failure(Cause.RESET), failure(Cause.BUSY), failure(Cause.RESET))
    assert check(story(*outcomes, targets=(A,), limits=limits), next_step).tries == {"a/m": 2}


# --- planted faults --------------------------------------------------------------------------------------------------


def changing_the_state(**fields: Any) -> Machine:
    """A machine that has forgotten something each time it is asked."""

    def machine(state: State, outcome: Failure | None, now: float, random: Callable[[], float]) -> tuple[State, Step]:
        return next_step(attrs.evolve(state, **fields), outcome, now, random)

    return machine


def changing_the_failure(change: Callable[[Failure], Failure]) -> Machine:
    """A machine that takes a failure for another one."""

    def machine(state: State, outcome: Failure | None, now: float, random: Callable[[], float]) -> tuple[State, Step]:
        return next_step(state, None if outcome is None else change(outcome), now, random)

    return machine


def letting_anybody_take_over(
    state: State, outcome: Failure | None, now: float, random: Callable[[], float]
) -> tuple[State, Step]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "_can_serve", lambda *_: True)
        return next_step(state, outcome, now, random)


def _taken_for(one: Cause, other: Cause) -> Machine:
    return changing_the_failure(lambda it: attrs.evolve(it, cause=other) if it.cause is one else it)


PLANTED: Final[dict[str, Machine]] = {
    "counts no attempts": changing_the_state(attempts=0),
    "counts no retries": changing_the_state(retries=0),
    "counts no repairs and forgets them": changing_the_state(repairs=0, changes=()),
    "knows no deadline": changing_the_state(deadline=float("inf")),
    "forgets where it was": changing_the_state(tried=frozenset()),
    "retries silence": _taken_for(Cause.FIRST_BYTE_CLOCK, Cause.RESET),
    "sends a refused prompt elsewhere": _taken_for(Cause.CONTENT_POLICY, Cause.QUOTA),
    "sends a long prompt anywhere": _taken_for(Cause.CONTEXT_LENGTH, Cause.QUOTA),
    "asks with a refused credential": _taken_for(Cause.CREDENTIALS, Cause.QUOTA),
    "goes on after content": changing_the_failure(lambda it: attrs.evolve(it, after_content=False)),
    "does not heed Retry-After": changing_the_failure(lambda it: attrs.evolve(it, retry_after=None)),
    "does not heed x-should-retry": changing_the_failure(lambda it: attrs.evolve(it, should_retry=None)),
    "lets anybody take over": letting_anybody_take_over,
    "repairs unasked": changing_the_state(call=call(repair=True, whole=True, body=BODY)),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: str) -> None:
    @settings(max_examples=2_000, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(STORIES)
    def search(story: Story) -> None:
        check(story, PLANTED[planted])

    with pytest.raises(AssertionError):
        search()
