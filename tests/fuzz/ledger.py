"""What a client knows of its conversation, kept by hand: the state machine checks each message against it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

import attrs

from openai_gateway_mcp.protocol.events import Call
from tests.fuzz.laws import Sketch

Id = str | int


@attrs.define(eq=False)
class Asked:
    """A call that waits or runs. `work` is the core's handle once it was handed out."""

    id: Id
    token: Id | None
    batch: Batch | None = None
    work: Call | None = None
    is_cancelled: bool = False
    is_answered: bool = False
    reported: float = 0

    @property
    def is_open(self) -> bool:
        return not (self.is_cancelled or self.is_answered)


@attrs.define(eq=False)
class Batch:
    """A batch whose array is still to come: the answers it must hold, and the calls that may add to them."""

    expected: list[tuple[str, Id | None, int | None]] = attrs.field(factory=list)
    ids: set[Id] = attrs.field(factory=set)
    calls: list[Asked] = attrs.field(factory=list)

    @property
    def is_due(self) -> bool:
        return not any(call.is_open for call in self.calls)


@attrs.define(eq=False)
class Ledger:
    max_in_flight: int
    max_parked: int
    waiting: deque[Asked] = attrs.field(factory=deque)
    running: list[Asked] = attrs.field(factory=list)  # handed out, not finished
    listens: dict[Id, set[str]] = attrs.field(factory=dict)
    batches: list[Batch] = attrs.field(factory=list)

    def is_taken(self, id_: Id) -> bool:
        calls = [*self.waiting, *self.running]
        return (
            id_ in self.listens
            or any(call.is_open and call.id == id_ for call in calls)
            or any(id_ in batch.ids for batch in self.batches)
        )

    def has_room(self) -> bool:
        return len(self.waiting) + len(self.running) < self.max_in_flight + self.max_parked

    def maybe_open(self, id_: Id) -> Asked | None:
        """The call that may still be cancelled under this id."""
        return next((call for call in [*self.waiting, *self.running] if call.is_open and call.id == id_), None)

    def cancel(self, id_: Id) -> Asked | None:
        """Note a cancellation; the call if the application must be told of it."""
        self.listens.pop(id_, None)
        call = self.maybe_open(id_)
        if call is None:
            return None
        call.is_cancelled = True
        if call in self.waiting:
            self.waiting.remove(call)
            return None
        return call

    def hear_arrays(self, said: Iterable[Sketch]) -> list[Sketch]:
        """Take the arrays out of what was said: each must be that of a batch that is due, with exactly its answers."""
        rest = [sketch for sketch in said if sketch[0] != "array"]
        arrays = [sketch[1] for sketch in said if sketch[0] == "array"]
        due = [batch for batch in self.batches if batch.is_due]
        self.batches = [batch for batch in self.batches if not batch.is_due]
        assert [Counter(batch.expected) for batch in due if batch.expected] == [
            Counter((kind, id_, code[0] if code else None) for kind, id_, *code in array) for array in arrays
        ]
        return rest
