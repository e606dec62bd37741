"""Wherever a valid stream is cut: exactly the upstream's text, or its beginning and an error. Never more, never twice.

The whole engine over the fault upstream: any text, framing, chunking, cut and kind of end, for each way of calling,
with a second target that says something else. What must come through follows from where each event ends on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import pytest
import trio
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway import Account, Call, Kind, Settings, open_gateway
from openai_gateway.engine import parts
from openai_gateway.routing.attempts import Failure
from openai_gateway.routing.calls import Chunk
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable
from openai_gateway.routing.reading import Reading
from openai_gateway.secret import Secret
from tests.gateway_faults.answers import body, framed, head
from tests.gateway_faults.seen import Told, Way, tell
from tests.gateway_faults.transports import of_ours
from tests.gateway_faults.upstream import FOREVER, Act, Answer, End, Host, in_memory

OTHER = "Something else altogether."
ENDS: tuple[Act, ...] = (End.CLOSE, End.RESET, FOREVER)


@attrs.frozen
class Event:
    """One event: its bytes, and the text that it brings. `dispatched` is how many of the bytes a reader has to see."""

    data: bytes
    text: str = ""
    finishes: bool = False

    @property
    def dispatched(self) -> int:
        return len(self.data) - self.data.endswith(b"\r\n")  # the CR of the blank line is a line end by itself


@attrs.frozen(kw_only=True)
class Stream:
    """A valid answer as a stream, and how it travels.

    `chunks` are the sizes of its HTTP chunks, () for a body without a length; `pieces` those in which it arrives.
    """

    events: tuple[Event, ...]
    chunks: tuple[int, ...]
    pieces: tuple[int, ...]
    cut: float
    end: Act
    kind: str = "openai"

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.events)

    def wire(self) -> tuple[bytes, list[int]]:
        """All bytes of the answer, and where on the wire each event has been seen."""
        content = b"".join(one.data for one in self.events)
        fields = {"content-type": "text/event-stream"}
        if not self.chunks:
            before = head(200, fields)
            return before + content, [len(before) + at for at in self._ends()]
        wire = head(200, {**fields, "transfer-encoding": "chunked"})
        places: list[int] = []  # of each byte of the content
        for piece in cut_up(content, self.chunks):
            begin = len(wire) + len(b"%x\r\n" % len(piece))
            places += range(begin, begin + len(piece))
            wire += framed(piece)
        return wire + b"0\r\n\r\n", [places[at - 1] + 1 for at in self._ends()]

    def _ends(self) -> Iterator[int]:
        at = 0
        for one in self.events:
            yield at + one.dispatched
            at += len(one.data)

    def acts(self) -> list[Act]:
        wire, _ = self.wire()
        return [*cut_up(wire[: self.cut_at], self.pieces), self.end]

    @property
    def cut_at(self) -> int:
        return round(self.cut * len(self.wire()[0]))

    def seen(self) -> list[Event]:
        """The events that are whole before the cut."""
        _, ends = self.wire()
        return [one for one, end in zip(self.events, ends, strict=True) if end <= self.cut_at]

    def answer(self) -> Answer:
        return Answer(self.acts(), self._whole())

    def _whole(self) -> list[Act]:
        answer = json.dumps(_WHOLE[self.kind](self.text)).encode()
        wire = b"".join(piece for piece in body(answer) if isinstance(piece, bytes))
        return [*cut_up(wire[: round(self.cut * len(wire))], self.pieces), self.end]


_WHOLE: Final[Mapping[str, Callable[[str], Any]]] = {
    "openai": lambda text: {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]},
    "anthropic": lambda text: {
        "type": "message", "role": "assistant", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
    },
}  # fmt: skip


def cut_up(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Pieces of these sizes, in turn and again."""
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1


@attrs.frozen
class Style:
    """How an upstream writes its events."""

    line_end: str
    ascii_only: bool
    lines: bool

    def event(self, value: Any, text: str = "", *, name: str = "", finishes: bool = False) -> Event:
        data = (
            value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=self.ascii_only, indent=1 if self.lines else None)
        )
        fields = [f"event: {name}"] if name else []
        fields += [f"data: {line}" for line in data.split("\n")]
        return Event(self.line_end.join((*fields, "", "")).encode(), text, finishes)

    def noise(self, what: str) -> Event:
        return Event(what.replace("\n", self.line_end).encode())

    def openai(self, delta: dict[str, Any], finish: str | None = None) -> Event:
        value = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return self.event(value, delta.get("content") or "", finishes=finish is not None)

    def anthropic(self, kind: str, text: str = "", **more: Any) -> Event:
        return self.event({"type": kind, **more}, text, name=kind, finishes=kind == "message_delta")


def _openai(style: Style, said: list[Event | str], ends: str) -> list[Event]:
    events = [style.openai({"role": "assistant", "content": ""})]
    events += [style.openai({"content": one}) if isinstance(one, str) else one for one in said]
    if ends != "done":
        events.append(style.openai({}, "stop"))
    if ends != "finish":
        events.append(style.event("[DONE]", finishes=True))
    return events


def _anthropic(style: Style, said: list[Event | str], ends: str) -> list[Event]:
    block: dict[str, Any] = {"index": 0, "content_block": {"type": "text", "text": ""}}
    events = [style.anthropic("message_start", message={"id": "m"}), style.anthropic("content_block_start", **block)]
    for one in said:
        delta: dict[str, Any] = {"index": 0, "delta": {"type": "text_delta", "text": one}}
        events.append(style.anthropic("content_block_delta", one, **delta) if isinstance(one, str) else one)
    events.append(style.anthropic("content_block_stop", index=0))
    events.append(style.anthropic("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}))
    return [*events, *([style.anthropic("message_stop")] if ends != "finish" else [])]


_DIALECTS: Final = {"openai": _openai, "anthropic": _anthropic}


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    style = Style(draw(st.sampled_from(["\n", "\r\n", "\r"])), draw(st.booleans()), draw(st.booleans()))
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
    noise = st.sampled_from([": life\n", "event: x\nid: 7\ndata\n\n"]).map(style.noise)
    said: list[Event | str] = []
    for one in draw(st.lists(text, min_size=1, max_size=6)):
        said += [draw(noise), one] if draw(st.booleans()) else [one]
    kind = draw(st.sampled_from(sorted(_DIALECTS)))
    events = _DIALECTS[kind](style, said, draw(st.sampled_from(["both", "finish", "done"])))
    sizes = st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple)
    return Stream(
        events=tuple(events),
        chunks=draw(st.just(()) | sizes),
        pieces=draw(sizes),
        cut=draw(st.floats(0, 1) | st.just(1.0)),
        end=draw(st.sampled_from(ENDS)),
        kind=kind,
    )


def configured(kind: str, *, alone: bool) -> Settings:
    names = ("one",) if alone else ("one", "two")
    providers = {
        name: Provider(
            name=name,
            kind=kind if name == "one" else "openai",
            base_url=f"http://{name}.example/v1",
            api_key=Secret("k" * 20, name="K"),
        )
        for name in names
    }
    rows = tuple(ModelRow(name="m", provider=name, model="m", order=order) for order, name in enumerate(names))
    return Settings(table=RouteTable(providers=providers, rows=rows))


_PLAIN: Final = Style("\n", ascii_only=True, lines=False)
OTHER_ANSWER: Final = Stream(
    events=(_PLAIN.openai({"content": OTHER}), _PLAIN.openai({}, "stop")),
    chunks=(1_000,),
    pieces=(1_000,),
    cut=1.0,
    end=1.0,
)


async def told_of(stream: Stream, way: Way, *, alone: bool) -> tuple[Told, list[Account]]:
    hosts = {"one": Host(answers=[stream.answer()]), "two": Host(answers=[OTHER_ANSWER.answer()])}
    accounts: list[Account] = []
    async with in_memory(hosts) as upstream:
        transport = of_ours(upstream)
        async with open_gateway(
            configured(stream.kind, alone=alone), transport=transport, record=accounts.append
        ) as gateway:
            told = await tell(gateway, way, Call.chat(model="m", messages=[]))
        await transport.aclose()
        assert not upstream.open_wires
    return told, accounts


def check(stream: Stream, way: Way, *, alone: bool) -> None:
    told, accounts = trio.run(lambda: told_of(stream, way, alone=alone), clock=MockClock(autojump_threshold=0))
    assert len(accounts) == 1
    assert (told.served is None) is not (told.error is None)
    if told.served is not None:
        by_one = told.served.target == "one/m"
        assert told.text == (stream.text if by_one else OTHER), "an answer that is not the upstream's"
    else:
        assert alone or way is Way.STREAM, "an error, though another target would have answered"
    if way is Way.STREAM:
        check_what_came(stream, told)
    event(f"{stream.kind} {way.name} {'answered' if told.error is None else told.error.kind.name}")


def check_what_came(stream: Stream, told: Told) -> None:
    """A streaming caller has what came before the cut, all of it and nothing else."""
    came = "".join(one.text for one in stream.seen())
    if stream.end is not End.RESET and any(one.finishes for one in stream.seen()):
        assert told.served is not None, "an answer that ended was taken for a cut one"
    if told.served is not None:
        return
    assert stream.text.startswith(told.text), "more than there was, or twice"
    if stream.end is not End.RESET:  # which loses what was not read yet
        assert told.text == came, "something is missing that had come"
    assert told.error is not None
    if stream.end == FOREVER and came:
        assert told.error.kind is Kind.IDLE_TIMEOUT


WAYS = st.sampled_from(Way)


@settings(max_examples=min(3 * settings().max_examples, 10_000))
@given(streams(), WAYS, st.booleans())
def test_a_cut_gives_the_beginning_and_an_error_or_all_of_it(stream: Stream, way: Way, alone: bool) -> None:
    check(stream, way, alone=alone)


# --- planted faults --------------------------------------------------------------------------------------------------


class EndsInSilence(Reading):
    """Takes the end of the bytes for the end of the answer."""

    def _end(self) -> None:
        self.done = True


class ForgetsWhatWentOut(Reading):
    """Lets another target answer after content reached the caller."""

    def _with_what_came(self, failure: Failure) -> Failure:
        return attrs.evolve(super()._with_what_came(failure), after_content=False)


class SaysItAgain(Reading):
    """Gives a chunk once more where several come at once."""

    def feed(self, data: bytes) -> list[Chunk]:
        passed = super().feed(data)
        return [*passed, passed[-1]] if len(passed) > 1 else passed


class DropsWhatEndsWithTheBytes(Reading):
    """Loses the chunks that came in the same bytes as the failure."""

    def feed(self, data: bytes) -> list[Chunk]:
        passed = super().feed(data)
        return passed if len(data) % 7 else []


class TakesHalfAnEvent(Reading):
    """Guesses at an event that the cut left without its end."""

    def _end(self) -> None:
        if (rest := bytes(self._decoder._rest)).startswith(b"data: {"):
            self._held.append(Chunk(data=rest, json={"choices": [{"delta": {"content": "?"}}]}))
        self.done = True


PLANTED = (EndsInSilence, ForgetsWhatWentOut, SaysItAgain, DropsWhatEndsWithTheBytes, TakesHalfAnEvent)


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: type[Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "Reading", planted)

    @settings(max_examples=500, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(streams(), st.booleans())
    def search(stream: Stream, alone: bool) -> None:
        check(stream, Way.STREAM, alone=alone)

    with pytest.raises(AssertionError):
        search()
