"""The table of faults: what the upstream does, and what follows from it for each kind of caller.

By the rules of docs/spec/gateway.md. Every row says all three ways; one that leaves a way out cannot be made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from openai_gateway import Kind
from tests.gateway_faults import faults
from tests.gateway_faults.answers import HEALTHY, TEXT, said
from tests.gateway_faults.seen import Seen, Way
from tests.gateway_faults.upstream import FOREVER, Answer, Dial

ATTEMPTS: Final = 4  # on one target: max_retries is 3
PRICES: Final = {"one": (1.0, 10.0), "two": (2.0, 20.0), "large": (3.0, 30.0)}
"""US dollars per million tokens of input and output: who served shows in the cost."""

_COSTS: Final = {"one": 0.0016, "two": 0.0032, "large": 0.0048}
_WAITS: Final = (0.0, 0.5, 1.5, 3.5)  # the moments of a target's attempts, without the jitter


@attrs.frozen(kw_only=True)
class Row:
    """One fault. `one` is what the first target does, `two` the second, the last answer of each again and again.

    `alone`: there is no second target. `larger`: a third stands in the first's context_fallbacks. `prefill`: the second
    can go on from a text. `calls` are made one
    after the other, `pause` seconds apart; the last is told. `deadline` is the call's own, in seconds. `bench`: the row
    is one of those that a failover bench of gateways has.
    """

    name: str
    one: Sequence[Answer]
    two: Sequence[Answer] = (HEALTHY,)
    dials: Sequence[Dial] = (0.0,)
    seen: Mapping[Way, Seen] = attrs.field()
    alone: bool = False
    larger: bool = False
    prefill: bool = False
    calls: int = 1
    pause: float = 0.0
    deadline: float | None = None
    bench: bool = False
    broken_over: Mapping[str, str] = attrs.field(factory=dict)

    @seen.validator
    def _all_ways_are_said(self, _: object, value: Mapping[Way, Seen]) -> None:
        assert set(value) == set(Way), f"{self.name}: not all ways of calling have an expectation"

    def takes_no_time(self, way: Way) -> bool:
        """Whether the real clock and the real network can play it: nothing is waited for, and every dial succeeds."""
        acts = [
            act for answer in (*self.one, *self.two) for act in (answer.whole if way is Way.WHOLE else answer.stream)
        ]
        seen = self.seen[way]
        at_once = all(entry.endswith("@0") for entry in seen.asked.split()) and seen.took == 0
        return at_once and not any(isinstance(act, float) for act in acts) and self.dials == (0.0,)


def ok(asked: str, **more: Any) -> Seen:
    """The whole text from the target that was asked last, with its usage charged at its price."""
    host, _, at = asked.rsplit(maxsplit=1)[-1].partition("@")
    return Seen(
        **{
            "text": TEXT,
            "asked": asked,
            "took": float(at),
            "served": f"{host}/m-at-{host}",
            "usage": (1_000, 60),
            "charged": "1000+60",
            "cost": _COSTS[host],
            **more,
        }
    )


def fails(kind: Kind, asked: str, text: str = "", **more: Any) -> Seen:
    """An error of this kind; `status` and `code` are the kind's where the upstream's own are not kept."""
    took = more.pop("took", float(asked.rpartition("@")[2]))
    said = {"kind": kind, "status": kind.status, "code": kind.code}
    return Seen(**{"text": text, "asked": asked, "took": took, **said, **more})


def each(*, stream: Seen, patient: Seen, whole: Seen) -> dict[Way, Seen]:
    return {Way.STREAM: stream, Way.PATIENT: patient, Way.WHOLE: whole}


def alike(seen: Seen) -> dict[Way, Seen]:
    """The same for all callers."""
    return each(stream=seen, patient=seen, whole=seen)


def streams(seen: Seen, *, whole: Seen) -> dict[Way, Seen]:
    """The same for both kinds of streams."""
    return each(stream=seen, patient=seen, whole=whole)


def retried(host: str = "one", since: float = 0.0) -> str:
    """All attempts that one target gets."""
    return " ".join(f"{host}@{since + wait:g}" for wait in _WAITS)


NEXT_AFTER_ALL: Final = f"{retried()} two@3.5"
_BOTH: Final = f"{retried()} {retried('two', 3.5)}"
_DIALS: Final = re.sub("one", "(one)", NEXT_AFTER_ALL)
_KEEPS_GARBAGE: Final = "httpcore keeps the connection, and takes what nobody asked for as the next answer"
_SKIPPED: Final = ("1 unreadable event(s) of the stream were skipped",)
_NO_OPTIONS: Final = ("one/m-at-one refuses stream_options: left out, so the usage of this call is estimated",)

# Where the provider does not count, we do: four bytes a token, 2 of the prompt, 38 up to token 40, 18 up to token 20.
_ESTIMATED: Final[Mapping[str, Any]] = {"usage": (2, 58), "charged": "~2+58", "cost": 0.000582}
_40: Final[Mapping[str, Any]] = {"charged": "~2+38", "cost": 0.000382}
_40_AND_ALL: Final[Mapping[str, Any]] = {"charged": "~1002+98", "cost": 0.001982}
_20: Final[Mapping[str, Any]] = {"charged": "~2+18", "cost": 0.000182}
_20_AND_ALL: Final[Mapping[str, Any]] = {"charged": "~1002+78", "cost": 0.001782}

ROWS: Final[tuple[Row, ...]] = (
    Row(name="nothing is wrong", one=[HEALTHY], seen=alike(ok("one@0"))),
    # --- 429 ---------------------------------------------------------------------------------------------------------
    Row(
        name="429 with Retry-After in seconds", bench=True,
        one=[faults.LIMITED_FOR_7_SECONDS, HEALTHY],
        seen=alike(ok("one@0 one@7")),
    ),
    Row(
        name="429 with Retry-After as a date", bench=True,
        one=[faults.LIMITED_UNTIL_A_DATE, HEALTHY],
        seen=alike(ok("one@0 one@9")),
    ),
    Row(
        name="429 with Retry-After as a date that is past",
        one=[faults.LIMITED_UNTIL_A_PAST_DATE, HEALTHY],
        seen=alike(ok("one@0 one@0")),
    ),
    Row(
        name="429 with retry-after-ms, which goes before retry-after",
        one=[faults.LIMITED_FOR_1500_MS, HEALTHY],
        seen=alike(ok("one@0 one@1.5")),
    ),
    Row(
        name="429 with a Retry-After that outlasts the call", bench=True,
        one=[faults.LIMITED_FOR_AN_HOUR],
        seen=alike(ok("one@0 two@0")),
    ),
    Row(
        name="429 for ever", bench=True,
        one=[faults.LIMITED],
        seen=alike(ok(NEXT_AFTER_ALL)),
    ),
    Row(
        name="429 for ever with Retry-After",
        one=[faults.LIMITED_FOR_7_SECONDS],
        seen=alike(ok("one@0 one@7 one@14 one@21 two@21")),
    ),
    Row(
        name="429 everywhere, longer than the call may wait",
        one=[faults.LIMITED_FOR_AN_HOUR], two=[faults.LIMITED_FOR_AN_HOUR],
        seen=alike(fails(Kind.RATE_LIMITED, "one@0 two@0", retry_after=3600)),
    ),
    Row(
        name="429 insufficient_quota", bench=True,
        one=[faults.NO_QUOTA],
        seen=alike(ok("one@0 two@0")),
    ),
    Row(
        name="429 insufficient_quota of the only target",
        one=[faults.NO_QUOTA], alone=True,
        seen=alike(fails(Kind.QUOTA, "one@0")),
    ),
    # --- outages -----------------------------------------------------------------------------------------------------
    Row(
        name="500 once", bench=True,
        one=[faults.INTERNAL_ERROR, HEALTHY],
        seen=alike(ok("one@0 one@0.5")),
    ),
    Row(
        name="503 for ever", bench=True,
        one=[faults.UNAVAILABLE],
        seen=alike(ok(NEXT_AFTER_ALL)),
    ),
    Row(
        name="503 for ever, everywhere",
        one=[faults.UNAVAILABLE], two=[faults.INTERNAL_ERROR],
        seen=alike(fails(Kind.UPSTREAM, _BOTH, status=503, code="overloaded")),
    ),
    Row(name="529 once", one=[faults.OVERLOADED, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(name="409 once", one=[faults.CONFLICT, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(name="x-should-retry: false", one=[faults.DO_NOT_RETRY], seen=alike(ok("one@0 two@0"))),
    Row(name="x-should-retry: true", one=[faults.DO_RETRY, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(name="an HTML error page once", one=[faults.PAGE_502, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(
        name="an HTML error page for ever", bench=True,
        one=[faults.PAGE_502],
        seen=alike(ok(NEXT_AFTER_ALL)),
    ),
    Row(
        name="a reset before the answer, once", bench=True,
        one=[faults.RESET, HEALTHY],
        seen=alike(ok("one@0 one@0.5")),
    ),
    Row(name="a reset before the answer, for ever", one=[faults.RESET], seen=alike(ok(NEXT_AFTER_ALL))),
    Row(name="an end before the answer, once", one=[faults.HANGS_UP, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(
        name="no connection once", dials=[faults.REFUSED, 0.0],
        one=[HEALTHY],
        seen=alike(ok("(one)@0 one@0.5")),
    ),
    Row(
        name="no connection for ever", bench=True, dials=[faults.REFUSED],
        one=[HEALTHY],
        seen=alike(ok(_DIALS)),
    ),
    Row(
        name="a host that nobody knows", dials=[faults.UNKNOWN_HOST], alone=True,
        one=[HEALTHY],
        seen=alike(fails(Kind.NETWORK, _DIALS.removesuffix(" two@3.5"), took=3.5)),
    ),
    Row(
        name="503 for ever, and a third call", calls=3,
        one=[faults.UNAVAILABLE],
        seen=alike(ok(f"{NEXT_AFTER_ALL} {retried(since=3.5)} two@7 two@7", took=7)),  # it has its breaker open by then
    ),
    Row(
        name="500 until its breaker is open, and then well again", calls=4, pause=20,
        one=[*[faults.INTERNAL_ERROR] * 8, HEALTHY],
        # The fourth call is the one that finds out: 20 s after the third, which the breaker's rest of 15 s kept away.
        seen=alike(ok(f"{NEXT_AFTER_ALL} {retried(since=23.5)} two@27 one@47 one@67")),
    ),
    Row(
        name="429 with a Retry-After of an hour, and a second call", calls=2,
        one=[faults.LIMITED_FOR_AN_HOUR],
        seen=alike(ok("one@0 two@0 two@0")),
    ),
    # --- refusals ----------------------------------------------------------------------------------------------------
    Row(
        name="context_length_exceeded", bench=True,
        one=[faults.CONTEXT_LENGTH],
        seen=alike(fails(Kind.INVALID_REQUEST, "one@0", code="context_length_exceeded")),
    ),
    Row(
        name="context_length_exceeded, and a larger model is listed",
        one=[faults.CONTEXT_LENGTH], larger=True,
        seen=alike(ok("one@0 large@0")),
    ),
    Row(
        name="content_policy_violation", bench=True,
        one=[faults.CONTENT_POLICY],
        seen=alike(fails(Kind.INVALID_REQUEST, "one@0", code="content_policy_violation")),
    ),
    Row(
        name="a bad request",
        one=[faults.BAD_REQUEST],
        seen=alike(fails(Kind.INVALID_REQUEST, "one@0", code=None)),
    ),
    Row(name="a model that is not there", one=[faults.NO_SUCH_MODEL], seen=alike(ok("one@0 two@0"))),
    Row(
        name="401 that quotes the key", bench=True,
        one=[faults.KEY_REFUSED],
        seen=alike(ok("one@0 two@0")),
    ),
    Row(
        name="401 that quotes the key, of the only target",
        one=[faults.KEY_REFUSED], alone=True,
        seen=alike(fails(Kind.CREDENTIALS_REJECTED, "one@0")),
    ),
    Row(
        name="stream_options refused",
        one=[faults.NO_STREAM_OPTIONS, faults.NO_USAGE],
        seen=streams(ok("one@0 one@0", warnings=_NO_OPTIONS, **_ESTIMATED), whole=ok("one@0")),
    ),
    Row(name="a redirect to another host", one=[faults.REDIRECT], seen=alike(ok("one@0 two@0"))),
    Row(
        name="a redirect to another host, of the only target",
        one=[faults.REDIRECT], alone=True,
        seen=alike(fails(Kind.UPSTREAM, "one@0")),
    ),
    # --- silence -----------------------------------------------------------------------------------------------------
    Row(
        name="no connection, and no refusal either", bench=True, dials=[FOREVER],
        one=[HEALTHY],
        seen=alike(ok("(one)@5 two@5")),
    ),
    Row(
        name="accepted and never answered", bench=True,
        one=[faults.SILENT],
        seen=alike(ok("one@0 two@30")),
    ),
    Row(
        name="accepted and never answered, everywhere",
        one=[faults.SILENT], two=[faults.SILENT],
        seen=alike(fails(Kind.FIRST_BYTE_TIMEOUT, "one@0 two@30", took=60)),
    ),
    Row(
        name="accepted and never answered, and the caller has 20 s",
        one=[faults.SILENT], deadline=20,
        seen=alike(fails(Kind.TOTAL_TIMEOUT, "one@0", took=20)),
    ),
    Row(
        name="429 with a Retry-After longer than the caller's 5 s",
        one=[faults.LIMITED_FOR_7_SECONDS], deadline=5,
        seen=alike(ok("one@0 two@0")),
    ),
    Row(name="a head that dribbles", one=[faults.SLOW_HEAD], seen=alike(ok("one@0 two@30"))),
    Row(name="comments and nothing else", one=[faults.ONLY_COMMENTS], seen=alike(ok("one@0 two@30"))),
    Row(
        name="the first token after 20 s", bench=True,
        one=[faults.FIRST_TOKEN_AFTER_20_S],
        seen=alike(ok("one@0", took=20)),
    ),
    Row(name="a head, and 20 s later the answer", one=[faults.HEAD_AND_THEN_20_S], seen=alike(ok("one@0", took=20))),
    # --- answers that break ------------------------------------------------------------------------------------------
    Row(
        name="a cut at token 40 of 60", bench=True,
        one=[faults.CUT_AT_40, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), **_40),
            patient=ok("one@0 one@0.5", restarted=1, **_40_AND_ALL),
            whole=ok("one@0 one@0.5"),
        ),
    ),
    Row(
        name="a cut at token 40 of 60, for ever",
        one=[faults.CUT_AT_40],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), **_40),
            patient=ok(NEXT_AFTER_ALL, restarted=ATTEMPTS, charged="~1008+212", cost=0.004728),
            whole=ok(NEXT_AFTER_ALL),
        ),
    ),
    Row(
        name="a cut at token 40 of 60, everywhere",
        one=[faults.CUT_AT_40], two=[faults.CUT_AT_40],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), **_40),
            patient=fails(Kind.UPSTREAM, _BOTH, said(40), restarted=7, charged="~16+304", cost=0.004584),
            whole=fails(Kind.UPSTREAM, _BOTH),
        ),
    ),
    Row(
        name="a cut at token 40 of 60, and another target can go on", prefill=True,
        one=[faults.CUT_AT_40, HEALTHY], two=[faults.GOES_ON_FROM_40],
        seen=each(
            stream=ok("one@0 two@0", usage=(1_042, 58), charged="~1042+58", cost=0.002862),
            patient=ok("one@0 one@0.5", restarted=1, **_40_AND_ALL),
            whole=ok("one@0 one@0.5"),
        ),
    ),
    Row(
        name="a stall after token 20, and another target can go on, which is cut in its turn", prefill=True,
        one=[faults.STALL_AFTER_20, HEALTHY], two=[faults.CUT_AFTER_10_MORE, faults.GOES_ON_FROM_30],
        seen=each(
            stream=ok("one@0 two@30 two@30.5", usage=(1_061, 58), charged="~1061+58", cost=0.0031),
            patient=ok("one@0 one@30.5", restarted=1, **_20_AND_ALL),
            whole=ok("one@0 one@30.5"),
        ),
    ),
    Row(
        name="a reset at token 40 of 60",
        one=[faults.RESET_AT_40, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), took=1, **_40),
            patient=ok("one@0 one@1.5", restarted=1, **_40_AND_ALL),
            whole=ok("one@0 one@1.5"),
        ),
    ),
    Row(
        name="a cut of a body without a length",
        one=[faults.CUT_WITHOUT_FRAMING, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), **_40),
            patient=ok("one@0 one@0.5", restarted=1, **_40_AND_ALL),
            whole=ok("one@0 two@0"),  # half an object in the place of an answer: nothing tells that it was cut
        ),
    ),
    Row(
        name="an end in peace at token 40 of 60",
        one=[faults.ENDED_AT_40, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(40), **_40),
            patient=ok("one@0 one@0.5", restarted=1, **_40_AND_ALL),
            whole=ok("one@0 two@0"),
        ),
    ),
    Row(
        name="a cut before any content",
        one=[faults.CUT_BEFORE_CONTENT, HEALTHY],
        seen=alike(ok("one@0 one@0.5")),
    ),
    Row(
        name="a stall of 29 s after token 20", bench=True,
        one=[faults.PAUSE_AFTER_20],
        seen=alike(ok("one@0", took=29)),
    ),
    Row(
        name="a stall after token 20", bench=True,
        one=[faults.STALL_AFTER_20, HEALTHY],
        seen=each(
            stream=fails(Kind.IDLE_TIMEOUT, "one@0", said(20), took=30, **_20),
            patient=ok("one@0 one@30.5", restarted=1, **_20_AND_ALL),
            whole=ok("one@0 one@30.5"),
        ),
    ),
    Row(
        name="an error in the stream after token 20", bench=True,
        one=[faults.ERROR_AT_20, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(20), status=500, **_20),
            patient=ok("one@0 one@0.5", restarted=1, **_20_AND_ALL),
            whole=ok("one@0 one@0.5"),
        ),
    ),
    Row(
        name="finish_reason error after token 20",
        one=[faults.FINISHED_WITH_ERROR, HEALTHY],
        seen=each(
            stream=fails(Kind.UPSTREAM, "one@0", said(20), **_20),
            patient=ok("one@0 one@0.5", restarted=1, **_20_AND_ALL),
            whole=ok("one@0 one@0.5", charged="~1002+61", cost=0.001612),
        ),
    ),
    Row(
        name="HTTP 200 around an error", bench=True,
        one=[faults.ERROR_IN_200, HEALTHY],
        seen=alike(ok("one@0 one@0.5")),
    ),
    Row(
        name="HTTP 200 around an error, for ever",
        one=[faults.ERROR_IN_200], alone=True,
        seen=alike(fails(Kind.UPSTREAM, retried(), status=500)),
    ),
    Row(name="HTTP 200 around a 429", one=[faults.LIMITED_IN_200, HEALTHY], seen=alike(ok("one@0 one@0.5"))),
    Row(name="an HTML page with 200", bench=True, one=[faults.PAGE_200], seen=alike(ok("one@0 two@0"))),
    Row(name="nothing with 200", one=[faults.EMPTY_200], seen=alike(ok("one@0 two@0"))),
    Row(name="no HTTP at all", one=[faults.NO_HTTP], seen=alike(ok("one@0 two@0"))),
    Row(
        name="an event of 50 MB, an answer of 70",
        one=[faults.HUGE],
        seen=alike(fails(Kind.UPSTREAM, "one@0")),
    ),
    Row(
        name="an event of 50 MB after token 20",
        one=[faults.HUGE_AFTER_20],
        seen=streams(fails(Kind.UPSTREAM, "one@0", said(20), **_20), whole=fails(Kind.UPSTREAM, "one@0")),
    ),
    Row(name="gzip that nobody asked for", one=[faults.GZIP], seen=alike(ok("one@0 two@0"))),
    # --- answers that are odd ----------------------------------------------------------------------------------------
    Row(
        name="a malformed event", bench=True,
        one=[faults.MALFORMED_EVENT],
        seen=streams(ok("one@0", warnings=_SKIPPED), whole=ok("one@0 two@0")),
    ),
    Row(name="no [DONE]", bench=True, one=[faults.NO_DONE], seen=alike(ok("one@0"))),
    Row(
        name="no [DONE] and no end either",
        one=[faults.STALL_WITHOUT_DONE],
        seen=streams(ok("one@0", took=30), whole=ok("one@0")),
    ),
    Row(
        name="a cut between finish_reason and the usage",
        one=[faults.CUT_WITHOUT_DONE],
        seen=streams(ok("one@0", **_ESTIMATED), whole=ok("one@0")),
    ),
    Row(name="no finish_reason", one=[faults.NO_FINISH_REASON], seen=alike(ok("one@0"))),
    Row(
        name="it goes on after [DONE]",
        one=[faults.GOES_ON_AFTER_DONE],
        seen=streams(ok("one@0", took=0.1), whole=ok("one@0")),
    ),
    Row(name="a whole answer to a streamed call", one=[faults.WHOLE_FOR_ALL], seen=alike(ok("one@0"))),
    Row(name="usage on odd chunks", one=[faults.USAGE_ON_ODD_CHUNKS], seen=alike(ok("one@0"))),
    Row(name="usage at first", one=[faults.USAGE_AT_FIRST], seen=alike(ok("one@0"))),
    Row(name="usage twice", one=[faults.USAGE_TWICE], seen=alike(ok("one@0"))),
    Row(name="no usage", one=[faults.NO_USAGE], seen=alike(ok("one@0", **_ESTIMATED))),
    Row(name="CRLF", one=[faults.CRLF], seen=alike(ok("one@0"))),
    Row(name="split anywhere", one=[faults.SPLIT_ANYWHERE], seen=alike(ok("one@0"))),
    Row(name="data in several lines", one=[faults.MULTI_LINE_DATA], seen=alike(ok("one@0"))),
    Row(name="comments, names and ids", bench=True, one=[faults.COMMENTS], seen=alike(ok("one@0"))),
    Row(name="interim heads", one=[faults.INTERIM_HEADS], seen=alike(ok("one@0"))),
    # --- connections that are kept -----------------------------------------------------------------------------------
    Row(
        name="garbage behind the answer",
        one=[faults.TRAILING_GARBAGE, HEALTHY], calls=2,
        broken_over={"httpx": _KEEPS_GARBAGE},
        seen=alike(ok("one@0 one@0")),
    ),
    Row(
        name="closed while idle in the pool",
        one=[faults.CLOSES_WHEN_IDLE, HEALTHY], calls=2, pause=2.0,
        seen=alike(ok("one@0 one@2")),
    ),
    Row(
        name="closed at the very moment in which it is used again",
        one=[HEALTHY, faults.HANGS_UP, HEALTHY], calls=2,
        seen=alike(ok("one@0 one@0 one@0")),
    ),
    Row(
        name="reset at the very moment in which it is used again",
        one=[HEALTHY, faults.RESET, HEALTHY], calls=2,
        seen=alike(ok("one@0 one@0 one@0")),
    ),
)  # fmt: skip
