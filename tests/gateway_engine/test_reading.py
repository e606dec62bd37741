"""A stream reads the same however its bytes are cut, and any bytes are read or told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.attempts import Cause, Failure
from openai_gateway.routing.calls import Chunk
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.plan import Target
from openai_gateway.routing.reading import MAX_CONTINUED_BYTES, Reading
from openai_gateway.secret import Redactor
from tests.gateway_engine.scripted import DONE, ROLE, STOP, USAGE, chunk, event, provider, row

PIECES = st.sampled_from(
    [
        ROLE,
        chunk("Hi"),
        chunk("Grüße\r\n"),
        STOP,
        chunk("cut", finish="error"),
        USAGE,
        DONE,
        b": life\n\n",
        b"\r\n",
        b"data: {bad\n\n",
        b"event: x\ndata: {}\r\n\r\n",
        event({"error": {"message": "no"}}),
        event({"choices": [{"index": 1, "delta": {"content": "b"}}]}),
        b"data",
        b"\xff\x00",
    ]
)


def reading(before: str | None = None) -> Reading:
    target, decode = Target(provider=provider(), model="m", row=row()), dialect_of("openai").events()
    return Reading(target=target, redactor=Redactor(()), decode=decode, show_usage=True, before=before)


def outcome(pieces: list[bytes]) -> tuple[list[Chunk], bool, object, int, str | None]:
    """What a whole stream of these pieces comes to."""
    one = reading()
    passed: list[Chunk] = []
    for piece in [*[piece for piece in pieces if piece], b""]:
        if one.done or one.failure is not None:
            break
        passed += one.feed(piece)
    failure = None if one.failure is None else (one.failure.cause, str(one.failure.error))
    return passed, one.done, failure, one.malformed, one.finish_reason


@given(st.lists(PIECES, max_size=12), st.data())
def test_a_stream_reads_the_same_however_it_is_cut(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    cut = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert outcome(cut) == outcome([whole])
    assert outcome([bytes([byte]) for byte in whole]) == outcome([whole])


@given(st.binary(max_size=200))
def test_any_bytes_end_well_or_as_a_failure(data: bytes) -> None:
    passed, done, failure, _, _ = outcome([data])

    assert done is (failure is None)
    assert all(isinstance(part, Chunk) for part in passed)


@given(st.lists(PIECES, max_size=12))
def test_what_was_passed_on_makes_every_later_failure_final(pieces: list[bytes]) -> None:
    one = reading()
    count = 0
    for piece in [*pieces, b""]:
        if one.done or one.failure is not None:
            break
        count += len(one.feed(piece))
    if isinstance(one.failure, Failure):
        assert one.failure.after_content is (count > 0)


def test_of_a_text_without_end_nothing_is_kept() -> None:
    one = reading(before="")
    one.feed(chunk("x" * MAX_CONTINUED_BYTES))
    assert one.broke(Cause.RESET, "").delivered == "x" * MAX_CONTINUED_BYTES
    one.feed(chunk("y"))
    one.feed(chunk("z"))
    assert one.broke(Cause.RESET, "").delivered is None
