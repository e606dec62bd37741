"""Properties of whole conversations: any bytes, any cuts, and realistic traffic against the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.damage import SIZES, cut, encode, mutated
from openai_gateway_mcp.protocol.connection import Connection
from tests.fuzz.application import Act, Application, Limits, Opening
from tests.fuzz.census import CENSUS
from tests.fuzz.oracle import MODERN, Oracle
from tests.fuzz.oracle_params import CAPABILITIES, CLIENT, LOG_LEVEL, VERSION
from tests.fuzz.traffic import GOOD, LIMITS, LINES, PLANS, THOROUGH, cancellation, conversations

PING = b'\n{"jsonrpc":"2.0","id":"are you there","method":"ping"}\n'
PONG = ("result", "are you there")

_BATCHING = {"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": GOOD["initialize"][1]}
_CALLS = [{"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": {"name": "chat"}} for id_ in range(5)]
_OPENING = encode(_BATCHING, ascii_only=True, spaced=False) + b"\n"
FULL_BATCH = _OPENING + encode(_CALLS, ascii_only=True, spaced=False)
DOUBLED_IN_A_BATCH = _OPENING + b'[{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}]'
AT_THE_LIMIT = b"\n".join(b'{"jsonrpc":"2.0","id":2,"method":"ping"' + b"}".rjust(size) for size in (261, 262, 261))
# The cancelled call keeps its slot until the application has heard of it, which is after the line.
WITHDRAWN_IN_A_BATCH = _OPENING + b"\n".join(
    encode(value, ascii_only=True, spaced=False) for value in (_CALLS[0], [cancellation(0, None), _CALLS[0]])
)
SOUP = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(LINES),
        st.sampled_from(
            [b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b'"id":1', b'"method":"ping"', b'"jsonrpc":"2.0",']
        ),
    ),
    max_size=12,
).map(b"".join)


def check_that_it_goes_on(
    data: bytes, limits: Limits, plan: Sequence[Act], opening: Opening = Connection
) -> Application:
    """Nothing is raised, all that goes out is JSON-RPC, and a ping afterwards is answered."""
    application = Application(plan, limits, opening=opening)
    application.run([data, PING])
    assert PONG in application.said
    return application


def check_that_cuts_do_not_matter(
    data: bytes, sizes: Sequence[int], limits: Limits, plan: Sequence[Act], opening: Opening = Connection
) -> Application:
    """Whole, byte by byte, and in these pieces: the same events, the same bytes out."""
    runs = [Application(plan, limits, opening=opening) for _ in range(3)]
    ways = ([data], [data[at : at + 1] for at in range(len(data))], cut(data, sizes))
    for run, way in zip(runs, ways, strict=True):
        run.run(way)
    whole, *others = runs
    for other in others:
        assert other.sent == whole.sent
        assert other.structure == whole.structure
    return whole


def check_against_the_oracle(
    data: bytes, sizes: Sequence[int], limits: Limits, plan: Sequence[Act], opening: Opening = Connection
) -> Application:
    """Every message and every event is the one that the oracle tells, in its order."""
    application = Application(plan, limits, opening=opening)
    application.run(cut(data, sizes))
    oracle = Oracle(plan, limits)
    oracle.hear(data)
    assert application.said == oracle.said
    assert application.happened == oracle.happened
    return application


@given(data=st.one_of(st.binary(max_size=200), SOUP, mutated(conversations())), limits=LIMITS, plan=PLANS)
def test_any_bytes_are_survived(data: bytes, limits: Limits, plan: list[Act]) -> None:
    application = check_that_it_goes_on(data, limits, plan)
    CENSUS.count("any bytes", application.said, application.happened)


@given(data=st.one_of(conversations(), mutated(conversations()), SOUP), sizes=SIZES, limits=LIMITS, plan=PLANS)
def test_cuts_do_not_matter(data: bytes, sizes: list[int], limits: Limits, plan: list[Act]) -> None:
    application = check_that_cuts_do_not_matter(data, sizes, limits, plan)
    CENSUS.count("cuts", application.said, application.happened)


@THOROUGH
@given(data=conversations(), sizes=SIZES, limits=LIMITS, plan=PLANS)
@example(data=FULL_BATCH, sizes=[], limits=Limits(max_in_flight=1, max_parked=1), plan=[Act.HOLD])
@example(data=FULL_BATCH, sizes=[], limits=Limits(max_in_flight=1, max_parked_bytes=100), plan=[Act.HOLD])
@example(data=AT_THE_LIMIT, sizes=[7], limits=Limits(max_message_bytes=300), plan=[Act.HOLD])
@example(data=WITHDRAWN_IN_A_BATCH, sizes=[], limits=Limits(max_in_flight=1, max_parked=0), plan=[Act.HOLD])
@example(data=DOUBLED_IN_A_BATCH, sizes=[], limits=Limits(), plan=[Act.HOLD])
@example(data=b'{"jsonrpc":"2.0","id":9007199254740993.0,"method":"ping"}', sizes=[], limits=Limits(), plan=[Act.HOLD])
def test_realistic_conversations_are_answered_as_the_oracle_says(
    data: bytes, sizes: list[int], limits: Limits, plan: list[Act]
) -> None:
    application = check_against_the_oracle(data, sizes, limits, plan)
    CENSUS.count("realistic", application.said, application.happened)


@THOROUGH
@given(data=mutated(conversations()), sizes=SIZES, limits=LIMITS, plan=PLANS)
def test_damaged_conversations_are_answered_as_the_oracle_says(
    data: bytes, sizes: list[int], limits: Limits, plan: list[Act]
) -> None:
    application = check_against_the_oracle(data, sizes, limits, plan)
    CENSUS.count("damaged", application.said, application.happened)


def faults(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The object with one thing wrong, each way there is: a member at any depth gone, of another type, or added."""
    for name, member in value.items():
        yield {key: other for key, other in value.items() if key != name}
        for wrong in (None, True, 7, 1.5, "wrong", [], [7], {}, {"wrong": 7}):
            yield {**value, name: wrong}
        if isinstance(member, dict):
            yield from ({**value, name: inner} for inner in faults(member))
    for name in ("result", "error", "cursor", "prompt", "ref", VERSION, CLIENT, LOG_LEVEL, "progressToken"):
        yield {**value, name: 7}


@pytest.mark.parametrize("method", GOOD)
@pytest.mark.parametrize(
    "meta", [{}, {VERSION: MODERN, CAPABILITIES: {}, "progressToken": 1}], ids=["legacy", "modern"]
)
def test_each_request_with_one_thing_wrong_is_answered_as_the_oracle_says(method: str, meta: dict[str, Any]) -> None:
    for params in GOOD[method]:
        right = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        for request in (right, *faults(right)):
            line = encode(request, ascii_only=True, spaced=False)
            check_against_the_oracle(line, [], Limits(), [Act.ANSWER])
            check_against_the_oracle(_OPENING + b"[" + line + b"]", [], Limits(), [Act.ANSWER])
