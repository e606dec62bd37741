"""A whole connection: it goes on whatever comes, cuts change nothing, and it says what the oracle says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openai_gateway_mcp.fuzz.damage import SIZES, mutated
from openai_gateway_mcp.protocol.connection import Connection
from tests.fuzz.application import Act, Limits
from tests.fuzz.test_conversations import (
    check_against_the_oracle,
    check_that_cuts_do_not_matter,
    check_that_it_goes_on,
)
from tests.fuzz.traffic import LIMITS, PLANS, conversations
from tests.guided.target import Target, by_choices, examples

CORPUS = Path(__file__).parent.parent / "corpus"
PLAN = (Act.REPORT, Act.HOLD, Act.FAIL, Act.ANSWER)
ROOMY = Limits(max_message_bytes=6000)


def target(opening: type[Connection] = Connection) -> Target:
    def check(data: bytes, sizes: Sequence[int], limits: Limits, plan: Sequence[Act]) -> None:
        check_that_it_goes_on(data, limits, plan, opening)
        check_that_cuts_do_not_matter(data, sizes, limits, plan, opening)
        check_against_the_oracle(data, sizes, limits, plan, opening)

    traffic = conversations() | mutated(conversations())
    return Target(
        name="conversations",
        of_bytes=lambda data: check(data, [3, 1, 7], ROOMY, PLAN),
        of_choices=by_choices(check, data=traffic, sizes=SIZES, limits=LIMITS, plan=PLANS),
        sound=lambda: [*sessions(), *examples(conversations(), 40)],
    )


def sessions() -> list[bytes]:
    """What real clients said."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.jsonl"))]
