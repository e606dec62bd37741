"""The decoder of events against an oracle made from the standard's text, however it is cut; and planted faults."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from openai_gateway.wire.sse import Comment, Decoder, Event
from tests.gateway.wire.sse_reference import interpreted

_FIELDS = st.sampled_from([
    b"data", b"data:", b"data: ", b"data:  x", b"data: {}", b"data:a:b", b"Data: no", b" data: no", b"data : no",
    b"event: e", b"event:", b"event", b"id: 1", b"id", b"id: a\0b", b"id:\xff", b"retry: 1", b":", b": c", b":data: x",
    b"", b"", b"", b"\xef\xbb\xbf", b"\xef\xbb\xbfdata: x", b"data: \xe2\x82\xac", b"data:\x85\xe2\x80\xa8\x0b\x0c\x1c",
])  # fmt: skip
_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\r", b"\r\r\n"])
_TEXTS = st.lists(st.tuples(_FIELDS, _ENDS), max_size=30).map(lambda pairs: b"".join(map(b"".join, pairs)))
_MARKS = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"])
STREAMS = st.tuples(_MARKS, _TEXTS, _FIELDS | st.binary(max_size=4)).map(b"".join) | st.binary(max_size=80)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def check(make: type[Decoder], stream: bytes, cuts: list[int]) -> None:
    _check(make(), stream, cuts)
    _check(make(), stream, list(range(len(stream))))


def _check(decoder: Decoder, stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(bounds) if a < b]
    items = [item for piece in pieces for item in decoder.feed(piece)]
    items += decoder.feed(b"")
    assert [(item.data, item.name, item.id) for item in items if isinstance(item, Event)] == interpreted(stream)


@given(STREAMS, CUTS)
def test_a_stream_means_what_the_standard_says_however_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    check(Decoder, stream, cuts)


class ForgetsTheCr(Decoder):
    """A CRLF that two pieces share is two line ends."""

    def feed(self, data: bytes) -> list[Event | Comment]:
        self._after_cr = False
        return super().feed(data)


class EndsLinesWithPieces(Decoder):
    """What one read gave is taken for whole lines."""

    def feed(self, data: bytes) -> list[Event | Comment]:
        return super().feed(data if not data or data.endswith((b"\n", b"\r")) else data + b"\n")


class LooksForTheBomInOnePiece(Decoder):
    """A byte order mark that two pieces share stays."""

    def feed(self, data: bytes) -> list[Event | Comment]:
        found = super().feed(data.removeprefix(b"\xef\xbb\xbf") if not self._begun else data)
        self._begun = True
        return found

    def _without_bom(self, data: bytes) -> bytes:
        return data


class StripsAllSpaces(Decoder):
    """Indented data loses its indentation."""

    def _field(self, field: bytes, value: bytes) -> None:
        super()._field(field, value.lstrip(b" "))


class ForgetsTheId(Decoder):
    """The last id holds for one event only."""

    def _dispatch(self) -> Event | None:
        found = super()._dispatch()
        self._id = ""
        return found


class DispatchesAtTheEnd(Decoder):
    """An event that the end of the stream cut off is given all the same."""

    def feed(self, data: bytes) -> list[Event | Comment]:
        last = [] if data else [self._dispatch()]
        return [*super().feed(data), *(event for event in last if event is not None)]


class SplitsAsPythonDoes(Decoder):
    """Takes for line ends what only str.splitlines() does."""

    def _lines(self, data: bytes) -> list[Event | Comment]:
        return super()._lines(data.replace(b"\x85", b"\n").replace(b"\x0b", b"\n"))


class LosesEmptyData(Decoder):
    """`data:` alone dispatches nothing."""

    def _dispatch(self) -> Event | None:
        found = super()._dispatch()
        return found if found is not None and found.data else None


PLANTED = (
    ForgetsTheCr, EndsLinesWithPieces, LooksForTheBomInOnePiece, StripsAllSpaces, ForgetsTheId, DispatchesAtTheEnd,
    SplitsAsPythonDoes, LosesEmptyData,
)  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: type[Decoder]) -> None:
    @settings(max_examples=1_000, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(STREAMS, CUTS)
    def search(stream: bytes, cuts: list[int]) -> None:
        check(planted, stream, cuts)

    with pytest.raises(AssertionError):
        search()
