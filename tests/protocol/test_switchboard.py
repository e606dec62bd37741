"""A relay's ids: every request goes on under a number of ours, and is answered once, under the client's own id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import SUBSCRIPTION_ID, cancel, modern, notification, request

from openai_gateway_mcp.protocol.switchboard import Asked, Switchboard, meta_of

Json = Any


def asked(board: Switchboard, message: Json) -> Asked:
    found = board.ask(message["id"], message)
    assert isinstance(found, Asked)
    return found


def heard(board: Switchboard, message: Json) -> Json:
    said = board.hear(message)
    return None if said is None else json.loads(said)


def answer(number: Json, **members: Json) -> Json:
    return {"jsonrpc": "2.0", "id": number, "result": members}


@given(st.lists(st.one_of(st.text(), st.integers()), unique_by=lambda one: (type(one), one)), st.randoms())
def test_answers_come_back_under_the_ids_they_were_asked_under(ids: list[Json], random: Any) -> None:
    board = Switchboard()
    sent = [asked(board, request(id_, "ping", n=place)) for place, id_ in enumerate(ids)]
    assert len({one.number for one in sent}) == len(ids) == len(board)
    random.shuffle(sent)
    for one in sent:
        assert heard(board, answer(one.number, n=one.id)) == answer(one.id, n=one.id)
        assert heard(board, answer(one.number)) is None
    assert len(board) == 0


def test_the_numbers_count_what_was_asked_from_1_on() -> None:
    board = Switchboard()
    assert [asked(board, request(id_, "ping")).number for id_ in ("z", 7, "a")] == [1, 2, 3]


def test_a_request_passes_with_all_that_it_has() -> None:
    board = Switchboard()
    message = {**modern("x", "no/such", deep={"a": [1]}), "extra": 1}
    one = asked(board, message)
    assert one.message == {**message, "id": one.number}
    assert one.is_modern
    assert one.method == "no/such"
    assert not asked(board, request(1, "ping")).is_modern


def test_an_id_in_flight_is_refused_and_the_first_call_goes_on() -> None:
    board = Switchboard()
    one = asked(board, request(1, "ping"))
    refused = board.ask(1, request(1, "ping"))
    assert isinstance(refused, bytes)
    error = {"code": -32600, "message": "Invalid Request: this id is in flight already"}
    assert json.loads(refused) == {"jsonrpc": "2.0", "id": 1, "error": error}
    assert isinstance(board.ask("1", request("1", "ping")), Asked)
    assert heard(board, answer(one.number)) == answer(1)
    assert isinstance(board.ask(1, request(1, "ping")), Asked)


def test_a_cancellation_goes_on_under_the_number_and_nothing_comes_back() -> None:
    board = Switchboard()
    one = asked(board, request("a", "ping"))
    message, withdrawn = board.tell(cancel("a", reason="r"))
    assert message == cancel(one.number, reason="r")
    assert withdrawn is one
    assert heard(board, answer(one.number)) is None
    assert board.fail(one, 1006, "x") is None


@pytest.mark.parametrize("message", [cancel("b"), cancel(None), notification("notifications/cancelled")])
def test_a_cancellation_of_nothing_goes_nowhere(message: Json) -> None:
    board = Switchboard()
    asked(board, request("a", "ping"))
    assert board.tell(message) == (None, None)
    assert len(board) == 1


def test_other_notifications_pass() -> None:
    board = Switchboard()
    note = notification("notifications/of/theirs", a=1)
    assert board.tell(note) == (note, None)
    assert heard(board, note) == note


def test_what_the_remote_asks_passes_under_its_own_id() -> None:
    asking = request("theirs", "roots/list")
    assert heard(Switchboard(), asking) == asking


def test_what_stands_on_a_subscription_is_tagged_with_the_client_s_id() -> None:
    board = Switchboard()
    one = asked(board, modern("listen", "subscriptions/listen"))
    theirs = notification("notifications/tools/list_changed", _meta={SUBSCRIPTION_ID: one.number, "a": 1})
    mine = notification("notifications/tools/list_changed", _meta={SUBSCRIPTION_ID: "listen", "a": 1})
    assert heard(board, theirs) == mine
    ended = cancel(one.number, _meta={SUBSCRIPTION_ID: one.number})
    assert heard(board, ended) == cancel("listen", _meta={SUBSCRIPTION_ID: "listen"})
    result = answer(one.number, _meta={SUBSCRIPTION_ID: one.number})
    assert heard(board, result) == answer("listen", _meta={SUBSCRIPTION_ID: "listen"})
    assert heard(board, theirs) is None


@pytest.mark.parametrize("tag", ["x", 9, None, [1]])
def test_a_tag_of_nobody_s_is_dropped(tag: Json) -> None:
    said = notification("n", _meta={SUBSCRIPTION_ID: tag})
    assert heard(Switchboard(), said) == (said if tag is None else None)


@pytest.mark.parametrize("number", [None, "1", 7, [1], 1.5])
def test_an_answer_to_nothing_is_dropped(number: Json) -> None:
    board = Switchboard()
    asked(board, request("a", "ping"))
    assert heard(board, answer(number)) is None
    assert len(board) == 1


def test_each_lost_request_is_answered_once() -> None:
    board = Switchboard()
    sent = [asked(board, request(id_, "ping")) for id_ in ("a", "b", "c")]
    assert json.loads(board.fail(sent[0], 1006, "gone") or b"") == {
        "jsonrpc": "2.0",
        "id": "a",
        "error": {"code": 1006, "message": "gone"},
    }
    assert [json.loads(one) for one in board.fail_all(1007, "all gone")] == [
        {"jsonrpc": "2.0", "id": id_, "error": {"code": 1007, "message": "all gone"}} for id_ in ("b", "c")
    ]
    assert board.fail_all(1006, "gone") == []
    assert heard(board, answer(sent[1].number)) is None


@pytest.mark.parametrize("message", [{}, {"params": 1}, {"params": {"_meta": 1}}, {"params": {}}])
def test_what_has_no_meta(message: Json) -> None:
    assert meta_of(message) == {}
