"""A search for deviations of one server: conversations until the time is over, and each finding made short."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import attrs
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from openai_gateway_mcp.fuzz.conversation import Conversation, Finish, Line, Step
from openai_gateway_mcp.fuzz.machine import Conversations
from openai_gateway_mcp.fuzz.messages import Facts
from openai_gateway_mcp.fuzz.rules import Deviation
from openai_gateway_mcp.fuzz.shorten import shorten

ROUND: Final = 10  # conversations between two looks at the clock
LENGTH: Final = 15  # rules of the machine in a conversation
SHORTENING: Final = 60.0  # seconds at most for each finding
SHORTENINGS: Final = 200  # tries, too


@attrs.frozen
class Finding:
    """`steps` show the deviation; `heard` is what the server said on the way."""

    deviation: Deviation
    steps: Sequence[Step]
    heard: Sequence[bytes]
    shows_again: bool = True
    """False for one that was seen once, and not again when the same was said."""


@attrs.frozen(kw_only=True)
class Budget:
    """A search ends with whichever is reached first: None is no limit."""

    seconds: float | None
    examples: int | None


def replay(opening: Callable[[], Line], steps: Sequence[Step], *, patience: float) -> Conversation:
    """Have the same conversation again, with a server that is started for it."""
    conversation = Conversation(opening(), patience=patience)
    for step in steps:
        conversation.do(step)
    conversation.end()
    return conversation


@attrs.define(eq=False)
class Campaign:
    """`search` fills `findings`, and tells each to `found` as soon as it is short."""

    opening: Callable[[], Line]
    facts: Facts
    found: Callable[[Finding], None]
    patience: float = 5.0
    seed: int = 0
    conversations: int = attrs.field(default=0, init=False)
    findings: list[Finding] = attrs.field(factory=list, init=False)
    _known: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    _fresh: list[Finding] = attrs.field(factory=list, init=False)

    def again(self, steps: Sequence[Step]) -> bool:
        """Whether an earlier finding's conversation shows anything; what it shows is a finding, and made no shorter."""
        conversation = replay(self.opening, steps, patience=self.patience)
        fresh = [one for one in conversation.judge.deviations if one.key not in self._known]
        for deviation in {one.key: one for one in fresh}.values():
            self._keep(Finding(deviation, steps, conversation.heard))
        return bool(conversation.judge.deviations)

    def search(self, budget: Budget) -> None:
        """Have conversations until the budget is spent."""
        until = None if budget.seconds is None else time.monotonic() + budget.seconds
        number = 0
        while until is None or time.monotonic() < until:
            left = None if budget.examples is None else budget.examples - self.conversations
            if left is not None and left <= 0:
                break
            self._round(self.seed * 1_000_003 + number, ROUND if left is None else min(ROUND, left))
            number += 1

    def _round(self, number: int, examples: int) -> None:
        campaign = self

        class Searching(Conversations):
            opening = staticmethod(self.opening)
            facts: ClassVar[Facts] = self.facts
            patience = self.patience
            known = self._known

            def __init__(self) -> None:
                super().__init__()
                campaign.conversations += 1

            def deviated(self, deviation: Deviation) -> None:
                campaign.noticed(self.conversation, deviation)

        run: Any = seed(number)(Searching)
        run_state_machine_as_test(
            run,
            settings=settings(
                max_examples=examples,
                stateful_step_count=LENGTH,
                phases=[Phase.generate],
                database=None,
                deadline=None,
                derandomize=False,
                verbosity=Verbosity.quiet,
                suppress_health_check=list(HealthCheck),
            ),
        )
        fresh, self._fresh = self._fresh, []
        for finding in fresh:
            self._keep(self._short(finding))

    def noticed(self, conversation: Conversation, deviation: Deviation) -> None:
        """A conversation, which goes on, has shown it."""
        self._known.add(deviation.key)
        # With an end, so that what the server was slow to say is waited for when the same is said again.
        steps = [*(step for step in conversation.steps if step != Finish()), Finish()]
        self._fresh.append(Finding(deviation, steps, tuple(conversation.heard), shows_again=False))

    def _keep(self, finding: Finding) -> None:
        self._known.add(finding.deviation.key)
        self.findings.append(finding)
        self.found(finding)

    def _short(self, finding: Finding) -> Finding:
        shortest = finding
        until, tries = time.monotonic() + SHORTENING, SHORTENINGS

        def shows(steps: Sequence[Step]) -> bool:
            nonlocal shortest, tries
            tries -= 1
            conversation = replay(self.opening, steps, patience=self.patience)
            same = [one for one in conversation.judge.deviations if one.key == finding.deviation.key]
            if same:
                shortest = Finding(same[0], tuple(conversation.steps), tuple(conversation.heard))
            return bool(same)

        if shows(finding.steps):
            shorten(shortest.steps, shows, lambda: tries > 0 and time.monotonic() < until)
        return shortest
