"""Faults of the kind that servers really have, each planted in an otherwise sound connection."""

from __future__ import annotations

from typing import Any

from openai_gateway_mcp.protocol import jsonrpc
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.errors import INVALID_REQUEST, METHOD_NOT_FOUND
from openai_gateway_mcp.protocol.events import Call
from openai_gateway_mcp.protocol.flights import Flight, Flights, State
from openai_gateway_mcp.protocol.jsonrpc import Id, Notification
from openai_gateway_mcp.protocol.lines import LineBuffer
from openai_gateway_mcp.protocol.model import Result


class AnswersAfterCancel(Connection):
    """A handler that was about to answer when the cancellation came still gets its answer through."""

    def answer(self, call: Call, result: Result) -> None:
        flight = self._flights.running(call)
        if flight.state is State.CANCELLED:
            self._emit(jsonrpc.result_bytes(flight.id, b"{}"))
        else:
            super().answer(call, result)


class AnswersTwice(Connection):
    """The end of a call's task is taken for a call without an answer, if it had reported progress."""

    def finished(self, call: Call) -> None:
        flight = self._flights.running(call)
        if flight.state is State.ANSWERED and flight.reported is not None:
            self._emit(jsonrpc.error_bytes(flight.id, -32603, "Internal error"))
        super().finished(call)


class ForgetfulFlights(Flights):
    """Does not see that an id is taken: the later call displaces the first."""

    def is_taken(self, id_: Id) -> bool:
        return False

    def release(self, id_: Id) -> None:
        self._holders.pop(id_, None)


class ReusesIds(Connection):
    """Serves a second request under an id that is in flight."""

    def __init__(self, *args: Any, max_in_flight: int, max_parked: int, **limits: Any) -> None:
        super().__init__(*args, max_in_flight=max_in_flight, max_parked=max_parked, **limits)
        self._flights = ForgetfulFlights(
            max_running=max_in_flight, max_parked=max_parked, max_parked_bytes=limits.get("max_parked_bytes", 2**20)
        )


class EagerLines(LineBuffer):
    """Decodes what one read gave, though a character may go on in the next."""

    def receive_data(self, data: bytes) -> None:
        super().receive_data(data.decode("utf-8", "replace").encode())


class SplitsCharacters(Connection):
    """Breaks a character that two reads share."""

    def __init__(self, *args: Any, max_message_bytes: int, **limits: Any) -> None:
        super().__init__(*args, max_message_bytes=max_message_bytes, **limits)
        self._lines = EagerLines(max_message_bytes)


class AnswersNotifications(Connection):
    """Tells the sender of an unknown notification that it is unknown."""

    def _take_notification(self, message: Notification) -> None:
        if message.method.startswith("notifications/"):
            super()._take_notification(message)
        else:
            self._emit(jsonrpc.error_bytes(None, METHOD_NOT_FOUND, "Method not found"))


class KeepsIdsOfCancelled(Connection):
    """Refuses an id that was freed by a cancellation until the cancelled task has ended."""

    def _take_request(self, request: jsonrpc.Request, *rest: Any) -> None:
        if any(call.id == request.id and self._is_cancelled(flight) for call, flight in self._flights._started.items()):
            self._emit(jsonrpc.error_bytes(request.id, INVALID_REQUEST, "in flight"))
        else:
            super()._take_request(request, *rest)

    def _is_cancelled(self, flight: Flight) -> bool:
        return flight.state is State.CANCELLED


FAULTS = (
    AnswersAfterCancel, AnswersTwice, ReusesIds, SplitsCharacters, AnswersNotifications, KeepsIdsOfCancelled,
)  # fmt: skip
