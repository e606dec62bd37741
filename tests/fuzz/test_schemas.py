"""Every message of a realistic conversation is valid in the revision it is sent in, as mcp-types judges it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway_mcp.fuzz.damage import encode
from openai_gateway_mcp.protocol.events import Work
from openai_gateway_mcp.protocol.model import Result
from tests import schema_oracle
from tests.fuzz.application import Act, Application, Limits
from tests.fuzz.census import CENSUS
from tests.fuzz.laws import messages
from tests.fuzz.offer import CHANGED
from tests.fuzz.oracle import LEGACY, MODERN
from tests.fuzz.oracle_params import CAPABILITIES, VERSION
from tests.fuzz.results import makers
from tests.fuzz.traffic import CALLS, GOOD, PLANS, THOROUGH

Draw = Any
ROOM = Limits(max_message_bytes=20_000, max_in_flight=4, max_parked=4, max_parked_bytes=20_000, max_listens=2)
_METHODS = [*CALLS * 4, *sorted(set(GOOD) - {"initialize"})]


@attrs.frozen
class Script:
    """Lines to send, and what each id and progress token was sent in: its revision and method."""

    lines: list[bytes]
    asked: dict[Any, tuple[str, str]]


@st.composite
def scripts(draw: Draw) -> Script:
    """Both eras interleaved, in one legacy revision; ids and tokens are unique, so that each answer has its request."""
    legacy = draw(st.sampled_from(LEGACY))
    asked: dict[Any, tuple[str, str]] = {"first": (legacy, "initialize")}
    opening = {"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": {"protocolVersion": legacy}}
    values: list[Any] = [opening, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    for number in range(draw(st.sampled_from([2, 5, 8]))):
        method = draw(st.sampled_from(_METHODS))
        params = dict(draw(st.sampled_from(GOOD[method])))
        is_modern = draw(st.booleans())
        params["_meta"] = {VERSION: MODERN, CAPABILITIES: {}} if is_modern else {}
        if draw(st.booleans()):
            params["_meta"]["progressToken"] = number
        asked[number] = (MODERN if is_modern else legacy, method)
        value = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        if isinstance(values[-1], list) and not is_modern and draw(st.booleans()):
            values[-1].append(value)
        else:
            is_batch = legacy == "2025-03-26" and not is_modern and draw(st.booleans())
            values.append([value] if is_batch else value)
    return Script([encode(value, ascii_only=True, spaced=False) + b"\n" for value in values], asked)


def judged(script: Script, sent: bytes) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Each message with its revision and method; the one kind outside every schema, an error without id, left out."""
    for line in messages(sent):
        for message in line if isinstance(line, list) else [line]:
            params = message.get("params", {})
            if "method" not in message:
                if message["id"] is not None:
                    yield (*script.asked[message["id"]], message)
            elif schema_oracle.SUBSCRIPTION in params.get("_meta", {}):
                yield MODERN, None, message
            else:
                yield script.asked[params.get("progressToken", "first")][0], None, message


@THOROUGH
@given(scripts(), PLANS, makers(), st.sampled_from(sorted(CHANGED)))
def test_every_message_is_valid_in_its_revision(
    script: Script, plan: list[Act], result: Callable[[Work], Result], change: str
) -> None:
    application = Application(plan, ROOM, result=result)
    for line in script.lines:
        application.receive(line)
    application.offer(CHANGED[change])
    application.end()
    for revision, method, message in judged(script, application.sent):
        schema_oracle.check(revision, method, message)
    CENSUS.count("schemas", application.said, application.happened)
