"""The retry table of docs/spec/gateway.md, row by row, and the laws that hold for every call."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.attempts import RULES, Cause, Fail, Failure, State, Step, Try, Wait, begin, next_step
from openai_gateway.routing.key_source import KeyCommand
from openai_gateway.routing.plan import Target
from openai_gateway.routing.repair import REPAIRS
from openai_gateway.routing.settings import Retries
from openai_gateway.secret import Secret
from tests.gateway.routing.samples import able, always, call, failure, provider, row, target

A, B, C = target("a"), target("b"), target("c")
ABLE, ABLE_TOO = able("d"), able("e")


@attrs.define
class Run:
    """A call that is led step by step; it sleeps by moving its clock."""

    state: State
    now: float = 0.0
    random: float = 0.0

    def go(self, outcome: Failure | None = None) -> Step:
        self.state, step = next_step(self.state, outcome, self.now, always(self.random))
        return step

    def target(self, outcome: Failure | None = None) -> str:
        """The next target asked, after any Wait."""
        step = self.go(outcome)
        if isinstance(step, Wait):
            self.now += step.seconds
            step = self.go()
        assert isinstance(step, Try), step
        return step.target.name

    def error(self, outcome: Failure | None = None) -> GatewayError:
        step = self.go(outcome)
        assert isinstance(step, Fail), step
        return step.error


def run(*targets: Target, total: float = 600, max_retries: int = 3, max_attempts: int = 12, **fields: Any) -> Run:
    limits = Retries(max_retries=max_retries, max_attempts=max_attempts)
    given = {"call": call(), "retries": limits, "total": total, "now": 0.0, **fields}
    return Run(begin(given.pop("call"), targets or (A, B), **given))


def started(*targets: Target, **fields: Any) -> Run:
    one = run(*targets, **fields)
    assert isinstance(one.go(), Try)
    return one


# --- the table, before the first content reached the caller ----------------------------------------------------------

RETRIED = [Cause.CONNECT, Cause.RESET, Cause.SERVER_ERROR, Cause.RATE_LIMITED, Cause.CUT, Cause.IDLE_CLOCK]
NEXT_AT_ONCE = [
    Cause.QUOTA, Cause.CREDENTIALS, Cause.MODEL_NOT_FOUND, Cause.FIRST_BYTE_CLOCK, Cause.CONNECT_CLOCK, Cause.MALFORMED,
    Cause.NOT_CONFIGURED, Cause.MODEL_NOT_ALLOWED,
]  # fmt: skip
FINAL = [
    Cause.CONTEXT_LENGTH, Cause.CONTENT_POLICY, Cause.REPAIRABLE, Cause.REFUSED, Cause.TOTAL_CLOCK, Cause.TOO_LARGE,
]  # fmt: skip


OURS = [Cause.LIMITED, Cause.BUSY, Cause.NOT_POSSIBLE]


def test_every_cause_has_its_row_and_its_test() -> None:
    assert set(RULES) == set(Cause) == {*RETRIED, *NEXT_AT_ONCE, *FINAL, *OURS}


@pytest.mark.parametrize("cause", RETRIED)
def test_a_passing_trouble_is_retried_with_backoff_then_the_next_target_is_asked(cause: Cause) -> None:
    one = started(max_retries=2)
    assert one.go(failure(cause)) == Wait(seconds=0.5)
    assert one.target() == "a/m"
    assert one.go(failure(cause)) == Wait(seconds=1.0)
    assert one.target() == "a/m"
    assert one.target(failure(cause)) == "b/m"
    assert one.go(failure(cause)) == Wait(seconds=0.5)
    assert one.target() == "b/m"
    assert one.target(failure(cause)) == "b/m"
    assert one.error(failure(cause, "the end")).message == "the end"
    assert one.state.attempts == 6


@pytest.mark.parametrize("cause", NEXT_AT_ONCE)
def test_a_lasting_trouble_goes_to_the_next_target_at_once(cause: Cause) -> None:
    one = started()
    step = one.go(failure(cause))
    assert isinstance(step, Try)
    assert step.target is B
    assert one.error(failure(cause, "the end")).message == "the end"


@pytest.mark.parametrize("cause", FINAL)
def test_what_another_target_would_refuse_too_ends_the_call(cause: Cause) -> None:
    one = started()
    assert one.error(failure(cause, "said")).message == "said"


@pytest.mark.parametrize("cause", [*RETRIED, *NEXT_AT_ONCE, *FINAL])
def test_nothing_is_retried_once_content_reached_the_caller(cause: Cause) -> None:
    one = started(call=call(repair=True, body={"temperature": 1}))
    said = failure(cause, "said", after_content=True, should_retry=True, repair="temperature", retry_after=0)
    assert one.error(said).message == "said"


@pytest.mark.parametrize("cause", RETRIED)
def test_a_caller_that_takes_its_answer_whole_has_seen_nothing(cause: Cause) -> None:
    one = started(call=call(whole=True))
    assert isinstance(one.go(failure(cause, "broke", after_content=True)), Wait)
    again = one.go()
    assert isinstance(again, Try)
    assert again.restart == "broke"
    assert isinstance(one.go(failure(cause)), Wait)
    once_more = one.go()
    assert isinstance(once_more, Try)
    assert once_more.restart is None  # the void parts were reported already


# --- what the upstream asks for --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", [Cause.RATE_LIMITED, Cause.SERVER_ERROR])
def test_a_retry_after_that_fits_is_waited_exactly(cause: Cause) -> None:
    one = started(total=60)
    one.random = 0.9
    assert one.go(failure(cause, retry_after=59.9)) == Wait(seconds=59.9)
    one.now = 59.9
    assert one.target() == "a/m"


@pytest.mark.parametrize("cause", [Cause.RATE_LIMITED, Cause.SERVER_ERROR])
def test_a_retry_after_that_does_not_fit_goes_to_the_next_target_at_once(cause: Cause) -> None:
    one = started(total=60)
    assert one.target(failure(cause, retry_after=60)) == "b/m"
    assert one.now == 0


def test_a_retry_after_that_fits_nowhere_is_handed_to_the_caller() -> None:
    one = started(A, total=60)
    limited = GatewayError(kind=Kind.RATE_LIMITED, message="slow down", retry_after=90)
    assert one.error(Failure(cause=Cause.RATE_LIMITED, error=limited, retry_after=90)).retry_after == 90


def test_a_retry_after_in_the_past_is_no_wait() -> None:
    assert started().go(failure(Cause.RATE_LIMITED, retry_after=-5)) == Wait(seconds=0.0)


def test_backoff_doubles_up_to_its_cap_with_jitter_taken_off() -> None:
    one = started(A, max_retries=6)
    waits = []
    for _ in range(6):
        step = one.go(failure(Cause.CONNECT))
        assert isinstance(step, Wait)
        waits.append(step.seconds)
        one.go()
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    jittered = started()
    jittered.random = 0.5
    assert jittered.go(failure(Cause.CONNECT)) == Wait(seconds=0.5 * 0.875)


def test_x_should_retry_is_obeyed() -> None:
    assert started().target(failure(Cause.SERVER_ERROR, should_retry=False)) == "b/m"
    assert isinstance(started().go(failure(Cause.REFUSED, should_retry=True)), Wait)
    one = started(max_retries=0)
    assert one.error(failure(Cause.REFUSED, "no", should_retry=True)).message == "no"


def test_zero_retries_is_one_attempt_a_target() -> None:
    one = started(max_retries=0)
    assert one.target(failure(Cause.CONNECT)) == "b/m"
    assert isinstance(one.go(failure(Cause.CONNECT)), Fail)
    assert one.state.attempts == 2


def test_max_attempts_bounds_a_call_over_all_its_targets() -> None:
    one = started(A, B, C, max_attempts=2)
    assert one.target(failure(Cause.QUOTA)) == "b/m"
    assert one.error(failure(Cause.QUOTA, "second")).message == "second"


# --- the deadline ----------------------------------------------------------------------------------------------------


def test_the_nearer_of_total_and_the_calls_deadline_holds() -> None:
    assert run(total=60).state.deadline == 60
    assert run(total=60, call=call(deadline=20.0)).state.deadline == 20
    assert run(total=60, call=call(deadline=90.0), now=5.0).state.deadline == 65


def test_a_call_past_its_deadline_is_not_begun() -> None:
    error = run(call=call(deadline=0.0)).error()
    assert error.kind is Kind.TOTAL_TIMEOUT
    assert (error.message, error.waited_for) == ("The time for this call is up after 0 attempts.", "")


def test_a_deadline_that_passed_says_what_the_last_attempt_met() -> None:
    one = started(total=10)
    one.now = 10
    error = one.error(failure(Cause.QUOTA, "no credit"))
    assert error.kind is Kind.TOTAL_TIMEOUT
    assert error.message == "The time for this call is up after 1 attempt. The last attempt: no credit"
    assert error.waited_for == "1 attempt failed, the last so: no credit"


def test_without_targets_there_is_nothing_to_try() -> None:
    state = begin(call(), (), retries=Retries(), total=1, now=0)
    assert Run(state).error().kind is Kind.NO_TARGET


# --- credentials -----------------------------------------------------------------------------------------------------


def test_a_refused_credential_is_not_tried_again_at_another_model_or_under_another_name() -> None:
    key = Secret("shared", name="K")
    one, other = target("a", "m", api_key=key), target("a", "n", api_key=key)
    twin = Target(
        provider=provider("twin", base_url=one.provider.base_url, api_key=key), model="m", row=row("m", "twin")
    )
    elsewhere = target("elsewhere", api_key=key)
    led = started(one, other, twin, elsewhere)
    assert led.target(failure(Cause.CREDENTIALS)) == "elsewhere/m"
    assert led.state.rejected == ("a",)


def test_keys_that_are_read_later_are_told_apart_by_their_sources() -> None:
    def source(name: str) -> KeyCommand:
        return KeyCommand(argv=("op", "read", name), set_by="api_key of all of them")

    def at_one_address(name: str, key: str) -> Target:
        where = provider(name, base_url="https://one.example/v1", api_key=None, key_source=source(key))
        return Target(provider=where, model="m", row=row("m", name))

    led = started(at_one_address("a", "first"), at_one_address("twin", "first"), at_one_address("b", "second"))
    assert led.target(failure(Cause.CREDENTIALS)) == "b/m"


def test_providers_that_refused_earlier_come_last() -> None:
    one = run(A, B, C, rejected={"a"})
    assert one.target() == "b/m"
    assert one.target(failure(Cause.QUOTA)) == "c/m"
    assert one.target(failure(Cause.QUOTA)) == "a/m"


# --- context fallbacks -----------------------------------------------------------------------------------------------


def test_a_prompt_too_long_goes_only_to_the_listed_targets() -> None:
    one = started(A, B, context={"a/m": (C, A), "c/m": (A,)})
    assert one.target(failure(Cause.CONTEXT_LENGTH)) == "c/m"
    assert one.error(failure(Cause.CONTEXT_LENGTH, "still too long")).message == "still too long"


# --- repairs ---------------------------------------------------------------------------------------------------------


def refused(parameter: str) -> Failure:
    return failure(Cause.REPAIRABLE, f"no {parameter}", repair=parameter)


def test_a_refused_parameter_is_mended_at_once_and_reported() -> None:
    one = started(A, call=call(repair=True, body={"max_tokens": 5, "temperature": 1}), max_retries=0)
    step = one.go(refused("max_tokens"))
    assert isinstance(step, Try)
    assert step.target is A
    assert step.changes == (REPAIRS["max_tokens"],)
    step = one.go(refused("temperature"))
    assert isinstance(step, Try)
    assert step.changes == (REPAIRS["max_tokens"], REPAIRS["temperature"])
    assert one.state.attempts == 3
    assert one.state.warnings == (
        "a/m refuses max_tokens: sent as max_completion_tokens",
        "a/m refuses temperature: left out",
    )


def test_a_repair_that_did_not_help_is_not_repeated() -> None:
    one = started(call=call(repair=True, body={"temperature": 1}))
    assert isinstance(one.go(refused("temperature")), Try)
    assert one.error(refused("temperature")).message == "no temperature"


@pytest.mark.parametrize("parameter", ["temperature", "max_tokens", "seed", None])
def test_only_what_the_table_and_the_call_allow_is_mended(parameter: str | None) -> None:
    body = {"temperature": 1, "seed": 1}
    one = started(call=call(repair=parameter != "temperature", body=body))
    assert isinstance(one.go(failure(Cause.REPAIRABLE, repair=parameter)), Fail)


@pytest.mark.parametrize("parameter", ["stream_options", "stream"])
def test_what_the_router_wrote_itself_is_mended_for_every_call(parameter: str) -> None:
    one = started(call=call(repair=False))
    step = one.go(refused(parameter))
    assert isinstance(step, Try)
    assert step.stream is (parameter != "stream")
    whole = started(stream=False)
    assert isinstance(whole.go(refused(parameter)), Fail)


def test_a_target_that_cannot_stream_is_not_mended_for_stream_options() -> None:
    one = started()
    one.go(refused("stream"))
    assert isinstance(one.go(refused("stream_options")), Fail)


def test_at_most_four_repairs_are_made() -> None:
    names = ["temperature", "top_p", "presence_penalty", "frequency_penalty"]
    one = started(call=call(repair=True, body=dict.fromkeys([*names, "max_tokens"], 1)))
    for name in names:
        assert isinstance(one.go(refused(name)), Try)
    assert isinstance(one.go(refused("max_tokens")), Fail)


def test_a_repair_counts_as_an_attempt() -> None:
    one = started(call=call(repair=True, body={"temperature": 1}), max_attempts=1)
    assert isinstance(one.go(refused("temperature")), Fail)


def test_repairs_that_helped_earlier_are_made_from_the_first_attempt_where_they_apply() -> None:
    known = {"a/m": (REPAIRS["temperature"], REPAIRS["top_p"], REPAIRS["stream"]), "b/m": (REPAIRS["top_p"],)}
    one = run(call=call(repair=True, body={"temperature": 1}), repaired=known)
    step = one.go()
    assert isinstance(step, Try)
    assert step.changes == (REPAIRS["temperature"], REPAIRS["stream"])
    assert not step.stream
    step = one.go(failure(Cause.QUOTA))
    assert isinstance(step, Try)
    assert step.changes == ()
    assert step.stream
    assert len(one.state.warnings) == 2


# --- which error the caller reads ------------------------------------------------------------------------------------


def spoken(message: str, cause: Cause = Cause.QUOTA, **fields: Any) -> Failure:
    error = GatewayError(kind=Kind.UPSTREAM, message=message, body={"message": message})
    return Failure(cause=cause, error=error, **fields)


def test_the_first_upstream_that_spoke_is_heard_and_else_the_last_failure() -> None:
    one = started(A, B, C)
    one.go(failure(Cause.CONNECT_CLOCK, "silent"))
    one.go(spoken("my own words"))
    assert one.error(spoken("the fallback's words")).message == "my own words"
    quiet = started(A, B)
    quiet.go(failure(Cause.CONNECT_CLOCK, "first"))
    assert quiet.error(failure(Cause.MALFORMED, "last")).message == "last"


def test_of_one_target_the_last_word_is_heard() -> None:
    one = started(A)
    assert isinstance(one.go(spoken("too many", Cause.RATE_LIMITED, retry_after=1.0)), Wait)
    one.target()
    assert one.error(spoken("far too many", Cause.RATE_LIMITED, retry_after=1000.0)).message == "far too many"


def test_a_mended_refusal_is_not_heard_again() -> None:
    one = started(A, call=call(repair=True, body={"temperature": 1}))
    one.go(spoken("no temperature", cause=Cause.REPAIRABLE, repair="temperature"))
    assert one.error(spoken("no credit", cause=Cause.QUOTA)).message == "no credit"


def test_a_refusal_of_the_request_is_told_even_with_the_last_attempt() -> None:
    one = started(A, B, max_attempts=2)
    one.go(spoken("no credit", cause=Cause.QUOTA))
    assert one.error(spoken("bad request", cause=Cause.REFUSED)).message == "bad request"


# --- limits of ours, and places that are taken ------------------------------------------------------------------------


def limited(seconds: float | None, cause: Cause = Cause.LIMITED) -> Failure:
    return attrs.evolve(failure(cause), error=GatewayError(kind=Kind.RATE_LIMITED, message="full", retry_after=seconds))


@pytest.mark.parametrize("cause", OURS)
def test_a_limit_of_ours_sends_the_call_to_the_next_target_and_is_no_attempt(cause: Cause) -> None:
    one = started(max_attempts=1)
    assert one.target(limited(3, cause)) == "b/m"
    assert one.state.attempts == 1


def test_where_all_are_limited_the_one_that_frees_up_first_is_told() -> None:
    one = started(A, B, C)
    one.go(limited(30))
    one.go(limited(7))
    assert one.error(limited(None)).retry_after == 7
    assert one.state.attempts == 0


def test_a_call_stands_in_line_where_no_place_is_free_and_nobody_else_is_left() -> None:
    one = started(A, B)
    assert one.target(limited(None, Cause.BUSY)) == "b/m"
    step = one.go(failure(Cause.QUOTA))
    assert isinstance(step, Try)
    assert (step.target, step.in_line) == (A, True)
    assert one.error(limited(9)).retry_after == 9


def test_of_several_without_a_place_each_is_stood_in_line_for_once() -> None:
    one = started(A, B)
    one.go(limited(None, Cause.BUSY))
    lines = [one.go(limited(None, Cause.BUSY)), one.go(failure(Cause.QUOTA))]
    assert [(step.target, step.in_line) for step in lines if isinstance(step, Try)] == [(A, True), (B, True)]
    assert isinstance(one.go(failure(Cause.QUOTA)), Fail)


def test_a_refused_prompt_stands_in_no_line() -> None:
    one = started(A, B)
    one.go(limited(None, Cause.BUSY))
    assert one.error(failure(Cause.REFUSED, "no")).message == "no"


def test_the_words_of_an_upstream_are_told_before_a_limit_of_ours() -> None:
    one = started(A, B)
    one.go(spoken("overloaded", cause=Cause.QUOTA))
    assert one.error(limited(3)).message == "overloaded"


# --- a key that was read again ---------------------------------------------------------------------------------------


def test_a_target_whose_key_was_read_again_is_asked_once_more_at_once() -> None:
    one = started(A, B, max_retries=0)
    assert one.target(failure(Cause.CREDENTIALS, renewed=True)) == "a/m"
    assert one.target(failure(Cause.CREDENTIALS, renewed=True)) == "b/m"
    assert one.state.rejected == ("a",)


# --- an answer that goes on elsewhere --------------------------------------------------------------------------------


def test_text_that_was_cut_is_continued_by_the_next_target_that_can() -> None:
    one = started(A, B, ABLE, ABLE_TOO)
    step = one.go(failure(Cause.CUT, after_content=True, delivered="Hel"))
    assert isinstance(step, Try)
    assert (step.target, step.continues) == (ABLE, "Hel")
    again = one.go(failure(Cause.QUOTA))
    assert isinstance(again, Try)
    assert (again.target, again.continues) == (ABLE_TOO, "Hel")
    assert one.error(failure(Cause.QUOTA, "the end")).message == "the end"


def test_a_target_that_can_goes_on_itself_after_a_pause() -> None:
    one = started(ABLE)
    assert isinstance(one.go(failure(Cause.CUT, after_content=True, delivered="Hel")), Wait)
    step = one.go()
    assert isinstance(step, Try)
    assert step.continues == "Hel"
    assert isinstance(one.go(failure(Cause.RESET, after_content=True, delivered="Hello")), Wait)
    step = one.go()
    assert isinstance(step, Try)
    assert step.continues == "Hello"


def test_without_a_target_that_can_a_cut_is_an_error() -> None:
    one = started(A, B)
    assert one.error(failure(Cause.CUT, "cut", after_content=True, delivered="Hel")).message == "cut"


# --- requests that store something -----------------------------------------------------------------------------------

IN_DOUBT = [cause for cause, rule in RULES.items() if rule.in_doubt]


@pytest.mark.parametrize("cause", IN_DOUBT)
def test_a_request_that_stores_is_not_sent_again_where_it_may_have_been_carried_out(cause: Cause) -> None:
    one = started(call=call(endpoint="files"))
    assert one.error(failure(cause, "broke")).message == "broke"


def test_with_an_idempotency_key_it_is_sent_again_to_the_same_target_alone() -> None:
    one = started(call=call(endpoint="batches", idempotency_key="k"), max_retries=1)
    assert one.target(failure(Cause.SERVER_ERROR)) == "a/m"
    assert one.error(failure(Cause.SERVER_ERROR, "broke")).message == "broke"


def test_a_key_that_no_header_carries_protects_nothing() -> None:
    one = started(call=call(endpoint="batches", idempotency_key="two words"), max_retries=1)
    assert one.error(failure(Cause.SERVER_ERROR, "broke")).message == "broke"


@pytest.mark.parametrize("cause", [Cause.CONNECT, Cause.RATE_LIMITED, Cause.CREDENTIALS])
def test_a_request_that_was_surely_not_carried_out_may_be_sent_again(cause: Cause) -> None:
    one = started(call=call(endpoint="files"), max_retries=0)
    assert one.target(failure(cause)) == "b/m"


def test_an_endpoint_nobody_knows_is_taken_for_one_that_stores() -> None:
    one = started(call=call(endpoint="x/y"))
    assert one.error(failure(Cause.RESET, "broke")).message == "broke"


# --- the laws --------------------------------------------------------------------------------------------------------

_FAILURES = st.builds(
    failure,
    st.sampled_from(Cause),
    retry_after=st.none() | st.floats(-1, 100),
    should_retry=st.none() | st.booleans(),
    repair=st.none() | st.sampled_from([*REPAIRS, "other"]),
    renewed=st.booleans(),
    after_content=st.booleans(),
    delivered=st.none() | st.just("text"),
)


@given(
    targets=st.lists(st.sampled_from([A, B, C, ABLE, target("a", "n")]), max_size=5, unique_by=lambda one: one.name),
    data=st.data(),
    repair=st.booleans(),
    whole=st.booleans(),
    max_retries=st.integers(0, 5),
    max_attempts=st.integers(1, 12),
    total=st.floats(0, 100),
    random=st.floats(0, 1, exclude_max=True),
    endpoint=st.sampled_from(["chat/completions", "files"]),
)
def test_every_call_ends_within_its_attempts_and_never_waits_past_its_deadline(  # noqa: PLR0917 - one argument a strategy
    targets: list[Target],
    data: st.DataObject,
    repair: bool,
    whole: bool,
    max_retries: int,
    max_attempts: int,
    total: float,
    random: float,
    endpoint: str,
) -> None:
    wanted = call(endpoint=endpoint, repair=repair, whole=whole, body={"temperature": 1, "top_p": 1, "max_tokens": 1})
    limits = Retries(max_retries=max_retries, max_attempts=max_attempts)
    context = {"a/m": (C,), "c/m": (A, B)}
    led = Run(begin(wanted, tuple(targets), retries=limits, total=total, now=0.0, context=context), random=random)
    step, tries, per_target = led.go(), 0, dict[str, int]()
    while not isinstance(step, Fail):
        if isinstance(step, Wait):
            assert step.seconds >= 0
            led.now += step.seconds
            assert led.now < total
            step = led.go()
            assert isinstance(step, Try)
        assert led.now < total
        outcome, took = data.draw(_FAILURES), data.draw(st.floats(0, 20))
        if outcome.cause in OURS:
            outcome = failure(outcome.cause)  # nothing was sent
        else:
            tries += 1
            per_target[step.target.name] = per_target.get(step.target.name, 0) + 1
        assert not step.continues or step.target.row.prefill
        led.now += took
        step = led.go(outcome)
    assert tries == led.state.attempts <= max_attempts
    most = 1 + max_retries + led.state.repairs + 1  # a renewed key is tried once more
    assert all(count <= most for count in per_target.values())
    assert led.state.repairs <= 4
    event(f"{tries} attempts, {step.error.kind.name}")
