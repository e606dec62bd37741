"""The calls in flight: who waits, who runs, whose id is taken, and whose answer belongs to a batch."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from openai_gateway_mcp.protocol.errors import LocalProtocolError
from openai_gateway_mcp.protocol.events import Call, Work
from openai_gateway_mcp.protocol.jsonrpc import Id
from openai_gateway_mcp.protocol.revisions import Revision


class State(enum.Enum):
    """A call's way: PARKED → RUNNING → ANSWERED, or CANCELLED from either; `finished` ends it from the last three."""

    PARKED = enum.auto()
    RUNNING = enum.auto()
    ANSWERED = enum.auto()
    CANCELLED = enum.auto()


@attrs.define(eq=False)
class BatchReply:
    """The array that answers a 2025-03-26 batch, as it fills. `ids` are those it already holds an answer for."""

    replies: list[bytes] = attrs.field(factory=list)
    ids: list[Id] = attrs.field(factory=list)
    awaited: int = 0
    whole: bool = False  # all entries of the request have been read

    @property
    def is_due(self) -> bool:
        return self.whole and self.awaited == 0


@attrs.define(eq=False, kw_only=True)
class Flight:
    """One call, from its request to the end of the task that ran it. `params` and `size` (bytes) are its request's."""

    work: Work
    revision: Revision
    token: Id | None
    params: Mapping[str, Any]
    batch: BatchReply | None
    size: int
    state: State = State.PARKED
    reported: float | None = None  # the last progress that went out

    @property
    def id(self) -> Id:
        return self.work.call.id


@attrs.define(eq=False, kw_only=True)
class Listen:
    """One open `subscriptions/listen`: the kinds of notice it gets, and the call that watches its tasks, if any."""

    id: Id
    revision: Revision
    wants: frozenset[str]
    watch: Call | None = None


Holder = Flight | Listen | BatchReply


class Flights:
    """Every call and listen that the connection knows of, with the limits on how many may run and wait."""

    def __init__(self, *, max_running: int, max_parked: int, max_parked_bytes: int) -> None:
        self._max_running = max_running
        self._max_parked = max_parked
        self._max_parked_bytes = max_parked_bytes
        self._holders: dict[Id, Holder] = {}  # whose id is taken: an answer to it is still to come
        self._listens: dict[Id, Listen] = {}  # those among them
        self._started: dict[Call, Flight] = {}  # handed out and not yet finished, cancelled ones included
        self._parked: dict[Flight, None] = {}  # in order; a dict, so that a cancel removes one in constant time
        self._parked_bytes = 0

    def __len__(self) -> int:
        return len(self._started) + len(self._parked)

    @property
    def are_settled(self) -> bool:
        """Whether no id is taken."""
        return not self._holders

    def is_taken(self, id_: Id) -> bool:
        """Whether an answer to this id is still to come."""
        return id_ in self._holders

    def holder(self, id_: Id) -> Holder | None:
        """What holds an id, if anything does."""
        return self._holders.get(id_)

    def hold(self, id_: Id, holder: Holder) -> None:
        """Take an id until `release`."""
        self._holders[id_] = holder
        if isinstance(holder, Listen):
            self._listens[id_] = holder

    def release(self, id_: Id) -> None:
        """Its answer is out, or never comes: the peer may use the id again."""
        del self._holders[id_]
        self._listens.pop(id_, None)

    def listens(self) -> list[Listen]:
        """The open listens, oldest first."""
        return list(self._listens.values())

    def has_room_for(self, size: int) -> bool:
        """Whether one more call of so many bytes may run or wait. (A batch parks all its calls before one starts.)"""
        if len(self) < self._max_running:
            return True
        fits = self._parked_bytes + size <= self._max_parked_bytes
        return fits and len(self) < self._max_running + self._max_parked

    def park(self, flight: Flight) -> None:
        """Queue a call; it takes its id at once."""
        self.hold(flight.id, flight)
        self._parked[flight] = None
        self._parked_bytes += flight.size

    def start(self, flight: Flight) -> None:
        """A call that holds no id of its own runs at once: the watch of a listen."""
        flight.state = State.RUNNING
        self._started[flight.work.call] = flight

    def maybe_start(self) -> Work | None:
        """The oldest waiting call, if a slot is free for it."""
        if not self._parked or len(self._started) >= self._max_running:
            return None
        flight = next(iter(self._parked))
        self._unpark(flight)
        flight.state = State.RUNNING
        self._started[flight.work.call] = flight
        return flight.work

    def cancel(self, flight: Flight) -> bool:
        """Withdraw a call and free its id; True if the application knows of it and must be told."""
        was_running = flight.state is State.RUNNING
        if flight.state is State.PARKED:
            self._unpark(flight)
        flight.state = State.CANCELLED
        self.release(flight.id)
        return was_running

    def running(self, call: Call) -> Flight:
        """The flight of a call that was handed out; LocalProtocolError if it never was, or is finished."""
        try:
            return self._started[call]
        except KeyError:
            raise LocalProtocolError(f"{call.method} {call.id!r} is not running") from None

    def finish(self, flight: Flight) -> None:
        """Free the slot of a call whose task is gone."""
        del self._started[flight.work.call]

    def cancel_all(self) -> None:
        """Withdraw every call; their tasks are the session's to end."""
        for holder in list(self._holders.values()):
            if isinstance(holder, Flight):
                self.cancel(holder)

    def _unpark(self, flight: Flight) -> None:
        del self._parked[flight]
        self._parked_bytes -= flight.size
