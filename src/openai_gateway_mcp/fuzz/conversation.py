"""One conversation with a server: what is done, what is told to the judge, and the script that does it again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

import attrs

from openai_gateway_mcp.fuzz.judge import Judge
from openai_gateway_mcp.fuzz.reading import Id
from openai_gateway_mcp.fuzz.rules import Deviation

ENDS_IN: Final = 5.0  # seconds that a server has after the end of its input


class Ended(Exception):
    """The server has ended."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


@attrs.frozen
class Refused:
    """This line (without its newline) was turned away by the transport, by an HTTP status: no message answers it."""

    line: bytes


Heard = bytes | Refused | Deviation
"""A line that the server said; or what only the transport can see."""


class Line(Protocol):
    """The way to one server, for one conversation. After `finish`, or once Ended was raised, nothing of it is left."""

    keeps_order: bool
    """Whether an answer shows that all that was said before it was read."""

    def say(self, data: bytes) -> None:
        """Send these bytes. Raises Ended, and TimeoutError where the server does not read."""

    def hear(self, seconds: float) -> Heard | None:
        """The next line; None where none came in that time. Raises Ended."""

    def finish(self, seconds: float) -> bool:
        """Close the server's input: whether it ended in that time. What it said until then can still be heard."""


@attrs.frozen
class Say:
    data: bytes


@attrs.frozen
class Await:
    """Until the request of this id is answered."""

    id: Id


@attrs.frozen
class Finish:
    """Wait for what is owed, then close the input."""


Step = Say | Await | Finish


class Conversation:
    """Does steps, one after the other; `judge` has what came of them."""

    def __init__(self, line: Line, *, patience: float) -> None:
        """`patience`: seconds that an answer may take."""
        self._line = line
        self._patience = patience
        self._is_over = False
        self._unfinished = b""
        self.judge = Judge()
        self.steps: list[Step] = []
        self.heard: list[bytes] = []

    def answer(self, id_: Id) -> dict[str, Any] | None:
        """What the request of this id was answered with, if it was."""
        for line in self.heard:
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict) and message.get("id") == id_ and "method" not in message:
                    return message
        return None

    def do(self, step: Step) -> None:
        """Nothing is done any more once the server has ended."""
        if self._is_over:
            return
        self.steps.append(step)
        try:
            match step:
                case Say():
                    self._say(step.data)
                case Await():
                    self._await(step.id)
                case Finish():
                    self._finish()
        except Ended as ended:
            self._is_over = True
            self.judge.ended(ended.status)

    def end(self) -> None:
        """Let go of the server, in whatever state; of what comes of it nothing is held against it."""
        if not self._is_over:
            self._is_over = True
            self._line.finish(ENDS_IN)

    def _say(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self.judge.sent(line)
        try:
            self._line.say(data)
        except TimeoutError:
            self.judge.stuck()

    def _await(self, id_: Id) -> None:
        if self._listen(lambda: self.judge.is_answered(id_)):
            if self._line.keeps_order:
                self.judge.caught_up()
        else:
            self.judge.settled()

    def _finish(self) -> None:
        self._listen(lambda: not self.judge.owes())
        self.judge.settled()
        self._is_over = True
        if not self._line.finish(ENDS_IN):
            self.judge.outlived()
        with contextlib.suppress(Ended):  # as it should
            while (last := self._line.hear(0.0)) is not None:
                self._hear(last)

    def _listen(self, is_enough: Callable[[], bool]) -> bool:
        until = time.monotonic() + self._patience
        while not is_enough():
            line = self._line.hear(max(0.0, until - time.monotonic()))
            if line is None:
                return False
            self._hear(line)
        return True

    def _hear(self, heard: Heard) -> None:
        match heard:
            case bytes():
                self.heard.append(heard)
                self.judge.heard(heard)
            case Refused():
                self.judge.refused(heard.line)
            case Deviation():
                self.judge.deviations.append(heard)


def write_script(steps: Iterable[Step]) -> str:
    """One JSON object a step, a line each. Bytes that are no UTF-8 are written as hexadecimal digits."""
    return "".join(json.dumps(_plain(step)) + "\n" for step in steps)


def read_script(text: str) -> Iterator[Step]:
    """What `write_script` wrote; blank lines, and those that begin with #, are for people. Raises ValueError."""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match json.loads(line):
            case {"say": str(words)}:
                yield Say(words.encode())
            case {"say_hex": str(digits)}:
                yield Say(bytes.fromhex(digits))
            case {"await": str() | int() as id_}:
                yield Await(id_)
            case {"finish": True}:
                yield Finish()
            case _:
                raise ValueError(f"no step: {line}")


def _plain(step: Step) -> dict[str, Any]:
    match step:
        case Say():
            try:
                return {"say": step.data.decode()}
            except UnicodeDecodeError:
                return {"say_hex": step.data.hex()}
        case Await():
            return {"await": step.id}
        case Finish():
            return {"finish": True}
