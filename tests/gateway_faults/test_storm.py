"""Ten thousand calls through random faults: each is answered once or told why not, and nothing stays behind.

What holds of every single call is in storm.py, where a call is settled. Planted faults show that a storm finds them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway.engine.journey import Journey
from openai_gateway.engine.store.hold import Hold
from openai_gateway.net.connection import Connection
from openai_gateway.net.pool import Place, Pool
from openai_gateway.routing.accounts import Outcome
from openai_gateway.routing.reading import Reading
from tests.gateway_faults.storm import HOSTS, Storm, storm

CALLS: Final = 10_000
PARTS: Final = 4


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """pytest keeps every record of a test, which is a leak of its own."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(400)
@pytest.mark.peers  # a minute of one core, once
async def test_ten_thousand_calls(autojump_clock: MockClock) -> None:
    async with storm(seed=3) as going:
        blocks = [await one_part(going, CALLS // PARTS) for _ in range(PARTS)]

    check_the_counts(going, CALLS, PARTS)
    # A storm must show something of everything.
    assert going.counts[Outcome.ANSWERED] > 0.7 * CALLS
    assert going.counts[Outcome.FAILED] > 0.05 * CALLS
    assert going.counts[Outcome.LEFT] > 0.03 * CALLS
    assert going.attempts > 1.2 * CALLS
    assert going.longest < 600  # the total clock
    check_the_memory(blocks, CALLS // PARTS)


async def one_part(going: Storm, calls: int) -> int:
    await going.blow(calls, callers=50)
    return await going.calm()


def check_the_counts(going: Storm, calls: int, calms: int) -> None:
    """Answers, errors and those who left are all calls there were; what was told of attempts is what was seen."""
    assert going.counts.total() == going.next_number == calls + calms * len(HOSTS)
    assert going.sightings.attempts <= going.attempts <= going.sightings.attempts + going.counts[Outcome.LEFT]


def check_the_memory(blocks: list[int], calls: int) -> None:
    """Nothing is kept of a call that is over: a single object of each would be one block a call.

    The first part fills what is filled once (interned names, caches, breakers, pools). Of the others the last must not
    have more than the first by a tenth of a block a call; what comes and goes between two measurements is some hundred.
    """
    assert blocks[-1] - blocks[1] < max(500, 0.1 * calls * (len(blocks) - 2))


@pytest.mark.parametrize("seed", range(3))
async def test_a_crowd_before_too_few_connections(autojump_clock: MockClock, seed: int) -> None:
    async with storm(seed=seed, places=3, crowded=True) as going:
        await one_part(going, 500)

    check_the_counts_of_a_crowd(going)


def check_the_counts_of_a_crowd(going: Storm) -> None:
    assert going.counts.total() == 500 + len(HOSTS)
    assert going.counts[Outcome.ANSWERED] > 100
    assert going.attempts > going.sightings.attempts  # or it was no crowd


# --- planted faults --------------------------------------------------------------------------------------------------


def loses_a_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "give_back", lambda pool, place: pool._taken.discard(place))


def keeps_a_reservation(patch: pytest.MonkeyPatch) -> None:
    async def aclose(hold: Hold) -> None:
        await trio.lowlevel.checkpoint()

    patch.setattr(Hold, "aclose", aclose)


def leaves_connections_open(patch: pytest.MonkeyPatch) -> None:
    async def aclose(place: Place) -> None:
        place.connection = None
        await close(place)

    close = Place.aclose
    patch.setattr(Place, "aclose", aclose)


def takes_what_is_left_over_for_the_next_answer(patch: pytest.MonkeyPatch) -> None:
    def renew(connection: Connection) -> bool:
        connection._body = None
        connection._served = True
        connection._sent = connection._answering = connection._complete = False
        return True

    patch.setattr(Connection, "renew", renew)


def keeps_something_of_each_call(patch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    def end(journey: Journey, *args: Any, **named: Any) -> None:
        kept.append(object())
        ended(journey, *args, **named)

    ended = Journey.end
    patch.setattr(Journey, "end", end)


def records_twice(patch: pytest.MonkeyPatch) -> None:
    def end(journey: Journey, *args: Any, **named: Any) -> None:
        journey._account = None
        ended(journey, *args, **named)

    ended = Journey.end
    patch.setattr(Journey, "end", end)


def counts_no_retries(patch: pytest.MonkeyPatch) -> None:
    def end(journey: Journey, *args: Any, **named: Any) -> None:
        del journey._asked[1:]
        ended(journey, *args, **named)

    ended = Journey.end
    patch.setattr(Journey, "end", end)


def answers_after_content(patch: pytest.MonkeyPatch) -> None:
    with_what_came = Reading._with_what_came
    patch.setattr(
        Reading,
        "_with_what_came",
        lambda *args: attrs.evolve(with_what_came(*args), after_content=False, delivered=None),
    )


PLANTED: Final[tuple[Callable[[pytest.MonkeyPatch], None], ...]] = (
    loses_a_place, keeps_a_reservation, leaves_connections_open, takes_what_is_left_over_for_the_next_answer,
    keeps_something_of_each_call,
    records_twice, counts_no_retries, answers_after_content,
)  # fmt: skip


async def small_storm() -> None:
    async with storm(seed=1) as going:
        blocks = [await one_part(going, 300) for _ in range(PARTS)]
    check_the_counts(going, 300 * PARTS, PARTS)
    check_the_memory(blocks, 300)


async def test_a_small_storm_is_weathered(autojump_clock: MockClock) -> None:
    await small_storm()


@pytest.mark.peers  # it looks at the test and not at the code: once is enough
@pytest.mark.parametrize("planted", PLANTED)
async def test_a_planted_fault_is_found(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, planted: Callable[[pytest.MonkeyPatch], None]
) -> None:
    planted(monkeypatch)
    found = False
    try:
        await small_storm()
    except* AssertionError:  # of several callers at once, perhaps
        found = True
    assert found
