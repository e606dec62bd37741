"""Each target as an ordinary test: over its seeds nothing is wrong, and a fault that was planted is found by them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from openai_gateway.config.litellm.yaml_file import read_yaml
from openai_gateway.errors import ConfigError
from openai_gateway.net.heads import Request, request_of
from openai_gateway.routing.calls import Call, Chunk
from openai_gateway.routing.dialects import UpstreamRequest
from openai_gateway.routing.reading import Reading
from openai_gateway.wire.http1 import AnswerHead, Body, UntilEnd
from openai_gateway.wire.sse import Comment, Decoder, Event
from openai_gateway.wire.strict import loads
from openai_gateway.wire.structure import structure
from openai_gateway_mcp.config import load
from openai_gateway_mcp.protocol import jsonrpc
from openai_gateway_mcp.protocol.jsonrpc import Batch, Message, Notification
from openai_gateway_mcp.protocol.lines import LineBuffer, TooLong
from openai_gateway_mcp.protocol.over_http import VERSION, Fields, Posted, Refused, read_post
from tests.fuzz.oracle import MODERN
from tests.fuzz.planted import AnswersTwice
from tests.guided import (
    answers,
    arguments,
    config,
    conversations,
    dialects,
    heads,
    lines,
    litellm,
    posts,
    requests,
    sse,
    strict_json,
)
from tests.guided import jsonrpc as jsonrpc_target
from tests.guided.answers import AnswerReader
from tests.guided.target import DRAWN, Target
from tests.guided.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_wrong_with_the_seeds(name: str) -> None:
    for seed in TARGETS[name].seeds(choices=30):
        TARGETS[name](seed)


# --- faults ----------------------------------------------------------------------------------------------------------


class HoldsLongLines(LineBuffer):
    """Tells at the end of a line, and not before, that it is too long."""

    def _hold(self, piece: bytes) -> None:
        self._held += piece

    def _end_line(self) -> None:
        if len(self._held) <= self._max_bytes:
            super()._end_line()
            return
        self._held.clear()
        self._lines.append(TooLong.TOO_LONG)


class ForgetsTheCarriageReturn(Decoder):
    """Takes CR and LF for two line ends where a read comes between them."""

    def feed(self, data: bytes) -> list[Event | Comment]:
        self._after_cr = False
        return super().feed(data)


class EndsBesideItsFailure(Reading):
    """An error of the provider is the end of a stream like any other."""

    def feed(self, data: bytes) -> list[Chunk]:
        chunks = super().feed(data)
        self.done = self.done or self.failure is not None
        return chunks


def takes_the_last_of_two(data: bytes, *, unique_envelope: bool = False) -> Any:
    return loads(data)


def answers_notifications(line: bytes) -> Message | Batch:
    message = jsonrpc.read_line(line)
    return jsonrpc.Request("none", message.method, message.params) if isinstance(message, Notification) else message


def shows_what_came(environ: Mapping[str, str], flags: Mapping[str, str]) -> Any:
    try:
        return load(environ, flags)
    except ConfigError as error:
        raise ConfigError(f"{error} The environment is {environ}.") from None


def believes_the_body(body: bytes, fields: Fields, server: Any) -> Posted:
    try:
        return read_post(body, fields, server)
    except Refused:
        return read_post(b'{"jsonrpc":"2.0","method":"x"}', {VERSION: [MODERN]}, server)


def refuses_no_second_length(head: bytes) -> Request:
    lines = head.split(b"\r\n")
    return request_of(b"\r\n".join(line for line in lines if not line.lower().startswith(b"content-length:")))


class LeavesTheChunksInTheirDress(AnswerReader):
    """It reads them as a body that ends with its connection."""

    def body(self, head: AnswerHead) -> Body:
        return UntilEnd() if b"transfer-encoding" in head.fields else super().body(head)


def marks_the_callers_own_body(kind: str, call: Call, *, stream: bool) -> UpstreamRequest:
    cast("dict[str, Any]", call.body)["model"] = call.model
    return requests.of_its_kind(kind, call, stream=stream)


def leaves_out_what_it_does_not_know(value: Any, into: Any) -> Any:
    known = [name for name in value if hasattr(into, name)] if isinstance(value, dict) else []
    return structure({name: value[name] for name in known} if known else value, into)


def lets_pyyamls_errors_through(path: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    content = yaml.safe_load(Path(path).read_bytes())
    return content if isinstance(content, dict) else {}, ()


def notes_all_that_it_reads(path: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    content, twice = read_yaml(path)
    return content, (*twice, repr(content))


PLANTED: Mapping[str, Callable[[], Target]] = {
    "lines": lambda: lines.target(HoldsLongLines),
    "strict-json": lambda: strict_json.target(takes_the_last_of_two),
    "jsonrpc": lambda: jsonrpc_target.target(answers_notifications),
    "conversations": lambda: conversations.target(AnswersTwice),
    "posts": lambda: posts.target(believes_the_body),
    "sse": lambda: sse.target(ForgetsTheCarriageReturn),
    "dialects": lambda: dialects.target(EndsBesideItsFailure),
    "requests": lambda: requests.target(marks_the_callers_own_body),
    "arguments": lambda: arguments.target(leaves_out_what_it_does_not_know),
    "litellm": lambda: litellm.target(lets_pyyamls_errors_through),
    "config": lambda: config.target(shows_what_came),
    "answers": lambda: answers.target(LeavesTheChunksInTheirDress),
    "heads": lambda: heads.target(refuses_no_second_length),
}


def first_fault(target: Target, *, drawn: bool) -> Exception | None:
    for seed in target.seeds(choices=200):
        if seed.startswith(DRAWN) is drawn:
            try:
                target(seed)
            except (AssertionError, LookupError, yaml.YAMLError) as error:
                return error
    return None


def test_a_fault_is_planted_in_each_target() -> None:
    assert PLANTED.keys() == TARGETS.keys()


@pytest.mark.parametrize("drawn", [False, True], ids=["of bytes", "of choices"])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, drawn: bool) -> None:
    assert first_fault(PLANTED[name](), drawn=drawn) is not None


def test_a_key_of_litellms_that_is_shown_is_found() -> None:
    assert isinstance(first_fault(litellm.target(notes_all_that_it_reads), drawn=True), AssertionError)


def test_what_was_drawn_is_told_with_the_fault() -> None:
    fault = first_fault(lines.target(HoldsLongLines), drawn=True)
    assert fault is not None
    assert "'limit': " in fault.__notes__[0]


# --- under libFuzzer -------------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_atheris_runs_a_target_and_tells_what_it_reached() -> None:
    run = subprocess.run(
        ["scripts/fuzz", "--atheris", "--seconds", "3", "heads"],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    row = next(line.split() for line in run.stdout.splitlines() if line.startswith("heads "))
    assert int(row[1]) > 100
    assert row[3] == "0"
    reached = next(line.split() for line in run.stdout.splitlines() if line.startswith("openai_gateway/net/heads.py "))
    assert int(reached[2].removesuffix("%")) > 90
