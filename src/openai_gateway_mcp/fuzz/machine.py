"""A client that says anything in any order, while the judge listens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from openai_gateway_mcp.fuzz import messages
from openai_gateway_mcp.fuzz.conversation import Await, Conversation, Finish, Line, Say
from openai_gateway_mcp.fuzz.damage import SIZES, cut, encode, mutated, spoilt
from openai_gateway_mcp.fuzz.messages import Facts
from openai_gateway_mcp.fuzz.rules import Deviation
from openai_gateway_mcp.fuzz.shapes import MODERN


class Deviated(AssertionError):
    """A rule was not kept."""

    def __init__(self, deviation: Deviation) -> None:
        super().__init__(f"{deviation.rule.id}: {deviation.text}")
        self.deviation = deviation


class Conversations(RuleBasedStateMachine):
    """Talks to any server. A subclass says how one is reached, and what is known of it.

    Each conversation has a server of its own, so that what one shows can be shown again.
    """

    opening: ClassVar[Callable[[], Line]]
    facts: ClassVar[Facts]
    patience: ClassVar[float] = 5.0
    known: ClassVar[Collection[tuple[str, str]]] = ()
    """The keys of deviations that are found already."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = ""
        self.conversation = Conversation(type(self).opening(), patience=self.patience)
        self._number = 0
        self._judged = 0
        self._asked: list[int | str] = []

    @initialize(data=st.data())
    def open(self, data: Any) -> None:
        self.revision = data.draw(st.sampled_from(self.facts.revisions))
        if self.revision not in MODERN:
            self._say(encode(messages.initialize(self.revision)))
            self._do(Await("initialize"))
            self._say(encode(messages.INITIALIZED))
        self._catch_up()

    @rule(data=st.data())
    def ask(self, data: Any) -> None:
        self._say(encode(self._request(data)))
        self._catch_up()

    @rule(data=st.data(), sizes=SIZES)
    def ask_much_at_once(self, data: Any, sizes: list[int]) -> None:
        """Requests, and what cancels them, in one go, cut anywhere."""
        lines = []
        for _ in range(data.draw(st.integers(1, 4))):
            request = self._request(data)
            lines.append(encode(request))
            if data.draw(st.booleans()):
                lines.append(encode(_cancellation(request["id"])))
        for piece in cut(b"\n".join(lines) + b"\n", sizes):
            self._do(Say(piece))
        self._catch_up()

    @rule(data=st.data())
    def ask_nearly_well(self, data: Any) -> None:
        self._say(encode(data.draw(spoilt(self._request(data)))))
        self._catch_up()

    @rule(data=st.data(), bad=messages.BAD_IDS)
    def ask_without_a_name(self, data: Any, bad: Any) -> None:
        self._say(encode({**self._request(data), "id": bad}))
        self._catch_up()

    @rule(notification=messages.NOTIFICATIONS)
    def notify(self, notification: dict[str, Any]) -> None:
        self._say(encode(notification))
        self._catch_up()

    @precondition(lambda self: self._asked)
    @rule(data=st.data())
    def cancel_what_is_over(self, data: Any) -> None:
        self._say(encode(_cancellation(data.draw(st.sampled_from(self._asked)))))
        self._catch_up()

    @rule(line=messages.LINES)
    def babble(self, line: bytes) -> None:
        self._say(line)
        self._catch_up()

    @rule(data=st.data())
    def damage(self, data: Any) -> None:
        self._say(data.draw(mutated(st.just(encode(self._request(data))))))
        self._catch_up()

    @rule(data=st.data())
    def ask_in_a_batch(self, data: Any) -> None:
        entries = [self._request(data) for _ in range(data.draw(st.integers(1, 3)))]
        self._say(encode([*entries, *data.draw(st.lists(messages.NOTIFICATIONS, max_size=1))]))
        self._catch_up()

    def deviated(self, deviation: Deviation) -> None:
        """A rule was not kept, of which nobody knew. The conversation goes on unless this raises."""
        self.conversation.end()  # what comes of a broken conversation later is no finding
        raise Deviated(deviation)

    def teardown(self) -> None:
        self._do(Finish())

    # ------------------------------------------------------------------------------------------------------------------

    def _request(self, data: Any) -> dict[str, Any]:
        self._number += 1
        id_ = messages.id_of(data.draw(messages.ID_KINDS), self._number)
        self._asked.append(id_)
        request: dict[str, Any] = data.draw(messages.requests(self.facts, self.revision))
        return {**request, "id": id_}

    def _say(self, line: bytes) -> None:
        self._do(Say(line + b"\n"))

    def _catch_up(self) -> None:
        """Whatever was said: a server goes on, and answers the next request."""
        self._number += 1
        probe = messages.probe(self.revision, self._number)
        self._say(encode(probe))
        self._do(Await(probe["id"]))

    def _do(self, step: Say | Await | Finish) -> None:
        self.conversation.do(step)
        fresh = self.conversation.judge.deviations[self._judged :]
        self._judged += len(fresh)
        for deviation in fresh:
            if deviation.key not in self.known:
                self.deviated(deviation)


def _cancellation(id_: int | str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
