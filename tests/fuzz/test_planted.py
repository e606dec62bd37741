"""The fuzz tests can fail: each planted fault is found, by the state machine and by the oracle."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from openai_gateway_mcp.fuzz.damage import SIZES
from openai_gateway_mcp.protocol.connection import Connection
from tests.fuzz.application import Act, Limits
from tests.fuzz.machine import Conversations
from tests.fuzz.planted import FAULTS, KeepsIdsOfCancelled
from tests.fuzz.test_conversations import check_against_the_oracle
from tests.fuzz.traffic import LIMITS, PLANS, conversations

pytestmark = pytest.mark.peers  # they look at the tests and not at the code: once is enough

# No shrinking: the first counterexample will do. Within a tenth of what the fuzz profile runs.
SEARCH = settings(
    max_examples=1_000,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def run_machine(connection: type[Connection]) -> None:
    class Faulty(Conversations):
        opening = connection

    run_state_machine_as_test(Faulty, settings=SEARCH)


def run_oracle(connection: type[Connection]) -> None:
    @SEARCH
    @given(data=conversations(), sizes=SIZES, limits=LIMITS, plan=PLANS)
    def search(data: bytes, sizes: list[int], limits: Limits, plan: list[Act]) -> None:
        check_against_the_oracle(data, sizes, limits, plan, connection)

    search()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_state_machine_finds_a_planted_fault(fault: type[Connection]) -> None:
    with pytest.raises(AssertionError):
        run_machine(fault)


# A call that is cancelled there is finished in the same breath, so that its id is never kept.
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not KeepsIdsOfCancelled])
def test_the_oracle_finds_a_planted_fault(fault: type[Connection]) -> None:
    with pytest.raises(AssertionError):
        run_oracle(fault)
