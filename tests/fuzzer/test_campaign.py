"""A search ends with its budget; each thing it finds is told once, short, and shown by its script."""

from __future__ import annotations

import functools
import itertools
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from openai_gateway_mcp.fuzz.campaign import Budget, Campaign, Finding, replay
from openai_gateway_mcp.fuzz.conversation import Await, Conversation, Finish, Line, Refused, Say, Step, read_script
from openai_gateway_mcp.fuzz.report import as_junit, as_script, file_name
from openai_gateway_mcp.fuzz.rules import BY_ID, RULES, Deviation
from openai_gateway_mcp.protocol.connection import Connection
from tests.fuzz.planted import AnswersNotifications, AnswersTwice
from tests.fuzzer.scripted import Scripted, result_of
from tests.fuzzer.test_machine import FACTS, Confuses, InMemory

PING = Say(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')


def noisy() -> Scripted:
    return Scripted(lambda _: [b"hm"])


def searched(opening: Any, examples: int, seed: int = 0) -> Campaign:
    campaign = Campaign(opening, FACTS, lambda _: None, patience=0.0, seed=seed)
    campaign.search(Budget(seconds=None, examples=examples))
    return campaign


@pytest.mark.parametrize(
    ("fault", "rule"), [(AnswersTwice, "once"), (AnswersNotifications, "silence"), (Confuses, "asked")]
)
def test_a_finding_is_short_and_its_script_shows_it_again(fault: type[Connection], rule: str) -> None:
    opening = functools.partial(InMemory, fault)
    told: list[Finding] = []
    campaign = Campaign(opening, FACTS, told.append, patience=0.0)
    while not any(finding.deviation.rule.id == rule for finding in told):
        campaign.search(Budget(seconds=None, examples=campaign.conversations + 100))
        assert campaign.conversations <= 5_000  # what is drawn depends on all modules that are imported
    assert campaign.findings == told
    assert len({finding.deviation.key for finding in told}) == len(told)
    finding = next(finding for finding in told if finding.deviation.rule.id == rule)
    assert finding.shows_again
    assert sum(isinstance(step, Say) for step in finding.steps) <= 5
    again = replay(opening, list(read_script(as_script(finding))), patience=0.0)
    assert finding.deviation in again.judge.deviations


def test_nothing_is_found_in_what_is_sound_and_the_budget_is_kept_to() -> None:
    campaign = searched(InMemory, 25)
    assert (campaign.conversations, campaign.findings) == (25, [])
    campaign.search(Budget(seconds=0.0, examples=None))
    assert campaign.conversations == 25


def test_the_same_seed_says_the_same() -> None:
    def all_said(seed: int) -> list[bytes]:
        said: list[bytes] = []

        class Listening(InMemory):
            def say(self, data: bytes) -> None:
                said.append(data)
                super().say(data)

        searched(Listening, 5, seed)
        return said

    assert all_said(1) == all_said(1) != all_said(2)


def test_what_is_seen_once_is_told_as_that() -> None:
    opened = itertools.count()

    def opening() -> Line:
        return noisy() if next(opened) < 10 else InMemory()

    campaign = searched(opening, 10)
    assert "wire" in [finding.deviation.rule.id for finding in campaign.findings]
    assert not any(finding.shows_again for finding in campaign.findings)
    assert "seen once" in as_script(campaign.findings[0])


def test_an_earlier_finding_is_tried_again_and_told_once() -> None:
    steps: list[Step] = [PING, Finish()]
    sound = Campaign(InMemory, FACTS, lambda _: None, patience=0.0)
    assert not sound.again(steps)
    assert sound.findings == []
    faulty = Campaign(noisy, FACTS, lambda _: None, patience=0.0)
    assert faulty.again(steps)
    assert faulty.again(steps)
    assert [finding.deviation.rule.id for finding in faulty.findings] == ["wire", "answered"]


def test_a_replay_lets_go_of_its_server() -> None:
    line = Scripted(lambda message: [result_of(message, {})])
    replay(lambda: line, [PING, Await(1)], patience=0.0)
    assert line.is_finished


def test_what_is_said_after_the_end_of_the_input_is_judged() -> None:
    conversation = Conversation(Scripted(lambda _: [], last=[b"bye!"]), patience=0.0)
    conversation.do(Finish())
    assert [deviation.rule.id for deviation in conversation.judge.deviations] == ["wire"]


def test_what_the_transport_refuses_needs_no_answer_and_what_it_finds_is_kept() -> None:
    found = Deviation(BY_ID["http-fault"], "status 500", "500")
    conversation = Conversation(Scripted(lambda _: [found, Refused(PING.data[:-1])]), patience=0.0)
    conversation.do(PING)
    conversation.do(Await(1))
    conversation.do(Finish())
    assert conversation.judge.deviations == [found]


def test_where_answers_show_no_order_one_to_what_was_cancelled_may_be_late() -> None:
    cancel = Say(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"late"}}\n')
    late = Say(b'{"jsonrpc":"2.0","id":"late","method":"tools/list"}\n')

    def judged(*, keeps_order: bool) -> list[str]:
        kept: list[dict[str, Any]] = []

        def says(message: dict[str, Any]) -> list[bytes]:
            if message.get("id") == "late":
                kept.append(message)
                return []
            answers = [result_of(message, {})] if "id" in message else []
            return [*answers, *(result_of(one, {"tools": []}) for one in kept)] if message.get("id") == 2 else answers

        line = Scripted(says)
        line.keeps_order = keeps_order
        conversation = Conversation(line, patience=0.0)
        for step in (late, cancel, PING, Await(1), Say(PING.data.replace(b"1,", b"2,")), Await(2), Finish()):
            conversation.do(step)
        return [deviation.rule.id for deviation in conversation.judge.deviations]

    assert judged(keeps_order=True) == ["withdrawn-legacy"]
    assert judged(keeps_order=False) == []


FINDING = Finding(
    Deviation(BY_ID["wire"], "no JSON", "it said \x1b[2J\ud800 <&>\nand more"), [PING], [b"\x00\xff", b"x" * 3_000]
)


def test_a_script_hides_nothing_and_moves_no_cursor() -> None:
    text = as_script(FINDING)
    assert list(read_script(text)) == [PING]
    assert all(letter.isprintable() or letter == "\n" for letter in text.replace("…", ""))
    assert text.splitlines()[0] == r"# MUST wire: it said \x1b[2J\ud800 <&>\nand more"
    assert "x" * 2_000 + "…" in text
    assert "x" * 2_001 not in text


def test_the_junit_report_has_a_case_a_rule_and_is_xml_whatever_was_found() -> None:
    report = as_junit([FINDING, FINDING], server="a\x00b", conversations=7, seed=3, seconds=1.5)
    suite = ET.fromstring(report)  # noqa: S314 - we wrote it
    assert suite.attrib == {
        "name": "a\ufffdb", "tests": str(len(RULES)), "failures": "1", "errors": "0", "time": "1.500",
    }  # fmt: skip
    cases = {case.get("name"): [failure.get("type") for failure in case] for case in suite.iter("testcase")}
    assert cases.pop("wire") == ["MUST", "MUST"]
    assert not any(cases.values())
    assert len(cases) == len(RULES) - 1
    assert {one.get("name"): one.get("value") for one in suite.iter("property")} == {"seed": "3", "conversations": "7"}


def test_a_finding_has_a_file_of_its_own() -> None:
    other = Finding(Deviation(BY_ID["wire"], "no message", ""), [], [])
    assert file_name(FINDING) == file_name(Finding(FINDING.deviation, [], []))
    assert file_name(FINDING) != file_name(other)
