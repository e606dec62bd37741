"""What the examples of a run reached: a property that never meets a case proves nothing about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from hypothesis import event

from tests.fuzz.laws import Sketch

EVENTS = (
    "ToolCalled", "ResourceRead", "PromptAsked", "CompletionAsked", "ExtensionCalled", "TaskAsked", "CallCancelled",
    "Remark",
)  # fmt: skip
CODES = (-32700, -32600, -32601, -32602, -32603, -32002, -32021, -32022, 1008)
MESSAGES = (
    "result",
    "array",
    "notifications/progress",
    "notifications/cancelled",
    "notifications/subscriptions/acknowledged",
)
REQUIRED = (*EVENTS, *(f"error {code}" for code in CODES), *MESSAGES)


class Census:
    """How many examples of each property reached each thing."""

    def __init__(self) -> None:
        self.examples: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()

    def count(self, fuzzed: str, said: Iterable[Sketch], happened: Iterable[Sketch] = ()) -> None:
        """Note one example of a property, by what went out and what the application saw."""
        self.examples[fuzzed] += 1
        for name in sorted({*_names(said), *(name for name, *_ in happened)}):
            event(name)
            self.reached[name] += 1

    def missing(self) -> list[str]:
        return [name for name in REQUIRED if not self.reached[name]]

    def lines(self) -> Iterator[str]:
        """A table for the end of the run."""
        for name, count in self.examples.items():
            yield f"{count:>9,} examples  {name}"
        for name in (*REQUIRED, *sorted(set(self.reached) - set(REQUIRED))):
            yield f"{self.reached[name]:>9,} reached   {name}"


def _names(said: Iterable[Sketch]) -> Iterator[str]:
    for kind, *rest in said:
        match kind:
            case "array":
                yield "array"
                yield from _names(rest[0])
            case "error":
                yield f"error {rest[1]}"
            case "note":
                yield rest[0]
            case _:
                yield kind


CENSUS = Census()
