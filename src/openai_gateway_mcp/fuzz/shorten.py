"""The shortest conversation that still shows something.

Not by hypothesis, which shortens what it has drawn in thousands of tries: each of ours is a server started anew. Steps
are taken out in ever smaller runs (Zeller's ddmin), then lines of a step, then members of a request. The handshake
stays whole or goes as a whole: a server need not answer who comes in with half of one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence

from openai_gateway_mcp.fuzz.conversation import Await, Say, Step
from openai_gateway_mcp.fuzz.reading import read

_TRIES = 3  # at what makes a script readable, and may have lost a race the first time
Shows = Callable[[Sequence[Step]], bool]


def shorten(steps: Sequence[Step], shows: Shows, may_go_on: Callable[[], bool]) -> Sequence[Step]:
    """Fewer and shorter steps for which `shows` still holds, as many as can be tried while `may_go_on`."""
    length = _handshake(steps)
    handshake, rest = steps[:length], steps[length:]
    if handshake and may_go_on() and shows(rest):
        handshake = ()
    whole = _in_whole_lines(rest)
    for _ in range(_TRIES if whole != rest else 0):
        if may_go_on() and shows([*handshake, *whole]):
            rest = whole
            break
    rest = _without_runs(rest, lambda some: shows([*handshake, *some]), may_go_on)
    for candidates in (_with_fewer_lines, _with_less_said):
        is_shorter = True
        while is_shorter:
            is_shorter = False
            for shorter in candidates(rest):
                if not may_go_on():
                    return [*handshake, *rest]
                if shows([*handshake, *shorter]):
                    rest, is_shorter = shorter, True
                    break
    return [*handshake, *rest]


def _handshake(steps: Sequence[Step]) -> int:
    """How many steps it has: the request, the wait for its answer, the notification."""
    match steps:
        case [Say(data), Await(), Say(said), *_] if read(data).method == "initialize":
            return 3 if read(said).method == "notifications/initialized" else 2
    return 0


def _in_whole_lines(steps: Sequence[Step]) -> Sequence[Step]:
    whole: list[Step] = []
    for said, some in itertools.groupby(steps, lambda step: isinstance(step, Say)):
        if said:
            data = b"".join(step.data for step in some if isinstance(step, Say))
            whole += [Say(line) for line in re.findall(rb"[^\n]*\n|[^\n]+", data)]
        else:
            whole += some
    return whole


def _without_runs(steps: Sequence[Step], shows: Shows, may_go_on: Callable[[], bool]) -> Sequence[Step]:
    """From the end, since what shows something stands there, and all behind it can go at once."""
    length = max(1, len(steps) // 2)
    while length:
        before, end = len(steps), len(steps)
        while end > 0 and may_go_on():
            start = max(0, end - length)
            shorter = [*steps[:start], *steps[end:]]
            if shows(shorter):
                steps = shorter
            end = start
        if length > 1 or len(steps) == before or not may_go_on():
            length //= 2
    return steps


def _with_fewer_lines(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    for place, step in enumerate(steps):
        lines = step.data.splitlines(keepends=True) if isinstance(step, Say) else []
        for left_out in range(len(lines) if len(lines) > 1 else 0):
            data = b"".join(line for number, line in enumerate(lines) if number != left_out)
            yield [*steps[:place], Say(data), *steps[place + 1 :]]


def _with_less_said(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    for place, step in enumerate(steps):
        for data in _less_said(step.data) if isinstance(step, Say) else ():
            yield [*steps[:place], Say(data), *steps[place + 1 :]]


def _less_said(data: bytes) -> Iterator[bytes]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(message, dict):
        for shorter in _with_one_member_less(message, depth=3):
            yield json.dumps(shorter, separators=(",", ":")).encode() + b"\n"


def _with_one_member_less(value: dict[str, object], depth: int) -> Iterator[dict[str, object]]:
    for name, inner in value.items():
        yield {other: kept for other, kept in value.items() if other != name}
        if isinstance(inner, dict) and depth > 1:
            for shorter in _with_one_member_less(inner, depth - 1):
                yield {**value, name: shorter}
