"""The state machine has nothing against our own protocol layer, and finds the faults that are planted in it."""

from __future__ import annotations

import functools
from collections import deque

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from openai_gateway_mcp.fuzz.conversation import Await, Conversation, Ended, Finish, Say, read_script, write_script
from openai_gateway_mcp.fuzz.machine import Conversations, Deviated
from openai_gateway_mcp.fuzz.messages import Facts
from openai_gateway_mcp.fuzz.shapes import REVISIONS
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.events import Call
from tests.fuzz.application import Act, Application, Limits, Opening
from tests.fuzz.planted import AnswersNotifications, AnswersTwice

PLAN = (Act.REPORT, Act.ANSWER, Act.FAIL, Act.NOT_FOUND, Act.VANISH)
LIMITS = Limits(max_message_bytes=100_000, max_in_flight=64, max_parked=64, max_parked_bytes=10**6)
FACTS = Facts(revisions=REVISIONS, tools=("chat", "list_models"), prompts=("ask",), resources=("openai://models",))


class InMemory:
    """A Line to our protocol core, with an application that answers at once."""

    keeps_order = True

    def __init__(self, opening: Opening = Connection) -> None:
        self._application = Application(PLAN, LIMITS, opening=opening)
        self._heard = 0
        self._lines: deque[bytes] = deque()

    def say(self, data: bytes) -> None:
        self._application.receive(data)

    def hear(self, seconds: float) -> bytes | None:
        *lines, _ = self._application.sent[self._heard :].split(b"\n")
        self._heard = len(self._application.sent)
        self._lines.extend(lines)
        return self._lines.popleft() if self._lines else None

    def finish(self, seconds: float) -> bool:
        self._application.end()
        return True


class Confuses(Connection):
    """Numbers come back as texts."""

    def data_to_send(self) -> bytes:
        return super().data_to_send().replace(b'"id":7,', b'"id":"7",')


class Prints(Connection):
    """A library says something on stdout."""

    def fail(self, call: Call, error: Exception) -> None:
        self._emit(b"an error occurred\n")
        super().fail(call, error)  # type: ignore[arg-type]  # whatever it was given


class ForgetsDress(Connection):
    """The modern era's members are left out."""

    def data_to_send(self) -> bytes:
        return super().data_to_send().replace(b'"resultType":"complete"', b'"kind":"complete"')


class Bare(Connection):
    """An error without words."""

    def data_to_send(self) -> bytes:
        return super().data_to_send().replace(b'"message":', b'"words":')


def search(core: Opening, examples: int) -> None:
    class Searching(Conversations):
        opening = staticmethod(functools.partial(InMemory, core))
        facts = FACTS
        patience = 0.0

    run_state_machine_as_test(
        Searching,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_is_held_against_our_own_protocol_layer() -> None:
    search(Connection, settings().max_examples)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (AnswersNotifications, "silence"),
        (AnswersTwice, "once"),
        (Confuses, "asked"),
        (Prints, "wire"),
        (ForgetsDress, "dress"),
        (Bare, "envelope"),
    ],
)
def test_a_planted_fault_is_found(fault: type[Connection], rule: str) -> None:
    with pytest.raises(Deviated) as raised:
        search(fault, 5_000)  # the rarest takes some 80; what is drawn depends on all modules that are imported
    assert raised.value.deviation.rule.id == rule


class Gone(InMemory):
    def hear(self, seconds: float) -> bytes | None:
        raise Ended(3)


class Deaf(InMemory):
    def say(self, data: bytes) -> None:
        raise TimeoutError


class Stubborn(InMemory):
    def finish(self, seconds: float) -> bool:
        return False


@pytest.mark.parametrize(
    ("line", "steps", "text"),
    [
        (Gone, [Say(b"{}\n"), Await("x"), Say(b"{}\n")], ""),
        (
            Gone,
            [Say(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'), Await(1), Finish()],
            "the server ended with status 3, its input still open",
        ),
        (Deaf, [Say(b"{}\n")], "the server reads no more"),
        (Stubborn, [Finish()], "the server went on after the end of its input"),
    ],
)
def test_what_becomes_of_the_server_itself_is_told(
    line: type[InMemory], steps: list[Say | Await | Finish], text: str
) -> None:
    conversation = Conversation(line(), patience=0.0)
    for step in steps:
        conversation.do(step)
    assert [deviation.text for deviation in conversation.judge.deviations] == ([text] if text else [])


def test_bytes_that_are_no_whole_line_are_judged_once_they_are() -> None:
    conversation = Conversation(InMemory(), patience=0.0)
    for piece in (b'{"jsonrpc":"2.0",', b'"id":1,"method":"pi', b'ng"}\n'):
        conversation.do(Say(piece))
    conversation.do(Await(1))
    assert conversation.answer(1) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert conversation.answer(2) is None
    conversation.do(Finish())
    assert conversation.judge.deviations == []


def test_an_answer_that_does_not_come_is_missed() -> None:
    class Silent(InMemory):
        def hear(self, seconds: float) -> bytes | None:
            return None

    conversation = Conversation(Silent(), patience=0.0)
    conversation.do(Say(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'))
    conversation.do(Await(1))
    assert [deviation.rule.id for deviation in conversation.judge.deviations] == ["answered"]


def test_a_script_keeps_every_byte() -> None:
    steps: list[Say | Await | Finish] = [Say(b"\xff\n"), Say("ü\n".encode()), Await(1), Await("x"), Finish()]
    assert list(read_script(write_script(steps))) == steps
    assert list(read_script("# for people\n\n" + write_script(steps))) == steps
    with pytest.raises(ValueError, match="no step"):
        list(read_script('{"sing": "la"}'))
