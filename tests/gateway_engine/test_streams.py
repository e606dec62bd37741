"""Streams: what goes on to the caller, what is held back, and what follows when one breaks."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from trio.testing import MockClock

from openai_gateway import Call, Chunk, Finished, GatewayError, Kind, Part, Restarted, Settings, open_gateway
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.scripted import (
    DONE,
    FOREVER,
    ROLE,
    STOP,
    USAGE,
    Script,
    Step,
    ask,
    chunk,
    event,
    refusal,
    settings,
    stream,
    two_providers,
    whole,
)

ERROR = event({"error": {"message": "it broke", "type": "server_error"}})
RESET = httpx.ReadError("reset")


async def parts_of(made: Settings, script: Script, call: Call | None = None) -> tuple[list[Part], GatewayError | None]:
    """All parts that came, and the error that ended them."""
    parts: list[Part] = []
    async with (
        open_gateway(made, transport=script, random=lambda: 0.0) as gateway,
        gateway.stream(call or ask()) as going,
    ):
        try:
            async for part in going:
                parts.append(part)  # noqa: PERF401 - what came before the error is wanted
        except GatewayError as error:
            return parts, error
        with pytest.raises(StopAsyncIteration):
            await anext(going)
    return parts, None


def texts(parts: list[Part]) -> str:
    chunks = [part for part in parts if isinstance(part, Chunk)]
    deltas = [choice["delta"] for part in chunks for choice in part.json["choices"]]
    return "".join(delta.get("content", "") for delta in deltas)


async def test_chunks_come_as_the_upstream_wrote_them(autojump_clock: MockClock) -> None:
    odd = b'{"choices":[{"index":0, "delta":{"content":"\\u00e9"},"x_own":1}],  "y":[null]}'
    script = Script(stream(ROLE, event(odd), STOP, USAGE, DONE))
    parts, error = await parts_of(settings(), script)

    assert error is None
    assert [type(part) for part in parts] == [Chunk, Chunk, Chunk, Finished]
    assert isinstance(parts[1], Chunk)
    assert parts[1].data == odd
    assert isinstance(parts[-1], Finished)
    served = parts[-1].served
    assert (served.model, served.finish_reason, served.attempts) == ("served-1", "stop", 1)
    assert served.usage is not None
    assert (served.usage.input, served.usage.output) == (3, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_stream_reads_the_same_however_it_is_cut(autojump_clock: MockClock, size: int) -> None:
    text = b"".join((ROLE, chunk("Grüße"), b": life\r\n", chunk("!"), STOP, DONE))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    parts, error = await parts_of(settings(), Script(stream(*pieces)))

    assert (texts(parts), error) == ("Grüße!", None)


@pytest.mark.parametrize(("asked", "shown"), [(True, 1), (False, 0)])
async def test_usage_is_always_asked_for_and_shown_to_who_asked(
    autojump_clock: MockClock, asked: bool, shown: int
) -> None:
    script = Script(stream(chunk("a"), STOP, USAGE, DONE))
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    parts, _ = await parts_of(settings(), script, ask(body=options))

    assert script.bodies[0]["stream_options"] == {"include_usage": True}
    assert sum(isinstance(part, Chunk) and part.json["choices"] == [] for part in parts) == shown


@pytest.mark.parametrize("choices", [{"choices": []}, {"choices": None}, {}], ids=["none", "null", "missing"])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_chunk_that_only_counts_may_say_so_in_several_ways(
    autojump_clock: MockClock, choices: dict[str, Any], *, asked: bool
) -> None:
    counts = event({**choices, "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    script = Script(stream(chunk("a"), counts, STOP, counts, DONE))
    parts, _ = await parts_of(settings(), script, ask(body={"stream_options": {"include_usage": asked}}))

    assert [type(part) for part in parts] == [Chunk] * (3 if asked else 2) + [Finished]


@pytest.mark.parametrize(
    "breaking",
    [
        (ROLE, RESET),
        (ROLE, ERROR),
        (ROLE,),
        (ROLE, FOREVER),
        (b"data: {}\n\n",),
        (ERROR,),
    ],
    ids=["reset", "in-band error", "end", "silence", "empty", "error alone"],
)
async def test_what_breaks_before_any_content_is_served_elsewhere(
    autojump_clock: MockClock, breaking: tuple[Step, ...]
) -> None:
    made = two_providers(retries=Retries(max_retries=0))
    script = Script(stream(*breaking), stream(ROLE, chunk("Hi"), STOP, DONE))
    parts, error = await parts_of(made, script)

    assert (texts(parts), error) == ("Hi", None)
    assert sum(isinstance(part, Chunk) for part in parts) == 3
    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.target == "two/m-at-two"
    assert script.log.index("closed 0") < script.log.index("asked 1")


@pytest.mark.parametrize(
    ("breaking", "kind"),
    [
        ((RESET,), Kind.UPSTREAM),
        ((), Kind.UPSTREAM),
        ((FOREVER,), Kind.IDLE_TIMEOUT),
        ((ERROR,), Kind.UPSTREAM),
        ((event(b"x" * (16 * 2**20 + 1)),), Kind.UPSTREAM),
    ],
    ids=["reset", "end", "stall", "in-band error", "event too large"],
)
async def test_what_breaks_after_content_is_an_error_and_never_retried(
    autojump_clock: MockClock, breaking: tuple[Step, ...], kind: Kind
) -> None:
    script = Script(stream(ROLE, chunk("Hel"), *breaking), stream(chunk("no"), STOP, DONE))
    parts, error = await parts_of(two_providers(), script)

    assert texts(parts) == "Hel"
    assert not any(isinstance(part, Finished) for part in parts)
    assert error is not None
    assert error.kind is kind
    assert len(script.requests) == 1
    assert script.log[-1] == "closed 0"


async def test_chunks_before_an_error_in_the_same_bytes_still_come(autojump_clock: MockClock) -> None:
    parts, error = await parts_of(settings(), Script(stream(chunk("Hel") + chunk("lo") + ERROR + chunk("never"))))

    assert texts(parts) == "Hello"
    assert error is not None
    assert "it broke" in error.message


async def test_a_caller_that_shows_nothing_before_the_end_gets_a_new_start(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hel"), RESET), stream(chunk("Hello"), STOP, DONE))
    parts, error = await parts_of(settings(), script, ask(whole=True))

    assert error is None
    kinds = [type(part) for part in parts]
    assert kinds == [Chunk, Restarted, Chunk, Chunk, Finished]
    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.attempts == 2


async def test_a_finish_reason_without_done_is_a_success(autojump_clock: MockClock) -> None:
    parts, error = await parts_of(settings(), Script(stream(chunk("Hi"), STOP)))

    assert error is None
    assert isinstance(parts[-1], Finished)


async def test_done_without_a_finish_reason_is_a_success(autojump_clock: MockClock) -> None:
    parts, error = await parts_of(settings(), Script(stream(chunk("Hi"), DONE)))

    assert error is None
    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.finish_reason is None


async def test_a_second_choice_that_is_still_going_makes_the_end_a_cut(autojump_clock: MockClock) -> None:
    other = event({"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]})
    _, error = await parts_of(settings(), Script(stream(chunk("a"), other, STOP)))

    assert error is not None
    assert error.kind is Kind.UPSTREAM


@pytest.mark.parametrize("bad", [b"{no json", b"[1]", b"\xff"])
async def test_an_unreadable_event_is_skipped_and_counted(autojump_clock: MockClock, bad: bytes) -> None:
    parts, error = await parts_of(settings(), Script(stream(chunk("a"), event(bad), chunk("b"), STOP, DONE)))

    assert (texts(parts), error) == ("ab", None)
    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.warnings == ("1 unreadable event(s) of the stream were skipped",)


async def test_wrong_shapes_inside_of_chunks_pass_untouched(autojump_clock: MockClock) -> None:
    odd = [event({"choices": "x"}), event({"choices": [7, {"index": "z"}], "usage": 3, "model": 5})]
    parts, error = await parts_of(settings(), Script(stream(chunk("a"), *odd, STOP, DONE)))

    assert error is None
    assert sum(isinstance(part, Chunk) for part in parts) == 4


async def test_empty_chunks_are_not_held_back_without_end(autojump_clock: MockClock) -> None:
    script = Script(stream(*[ROLE] * 65, 1.0, RESET))
    parts, error = await parts_of(two_providers(), script)

    assert len(parts) == 65
    assert error is not None
    assert len(script.requests) == 1


async def test_large_empty_chunks_are_not_held_back_without_end(autojump_clock: MockClock) -> None:
    padded = event({"choices": [], "padding": "x" * 100_000})
    script = Script(stream(padded, padded, padded, RESET))
    parts, error = await parts_of(two_providers(), script)

    assert len(parts) == 3
    assert error is not None


async def test_an_answer_with_no_content_at_all_is_whole(autojump_clock: MockClock) -> None:
    parts, error = await parts_of(settings(), Script(stream(ROLE, STOP, DONE)))

    assert error is None
    assert [type(part) for part in parts] == [Chunk, Chunk, Finished]


async def test_a_page_in_the_place_of_a_stream_is_no_answer(autojump_clock: MockClock) -> None:
    answer = stream(b"<html>", headers={"content-type": "text/html"})
    parts, error = await parts_of(settings(), Script(answer))

    assert parts == []
    assert error is not None
    assert "no stream of events" in error.message


@pytest.mark.parametrize(("asked", "shown"), [(True, True), (False, False)])
async def test_a_whole_answer_to_a_streamed_call_is_taken_apart(
    autojump_clock: MockClock, asked: bool, shown: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    parts, error = await parts_of(settings(), Script(whole("Hello!")), ask(body=options))

    assert (texts(parts), error) == ("Hello!", None)
    chunks = [part for part in parts if isinstance(part, Chunk)]
    assert all(json.loads(part.data) == part.json for part in chunks)
    assert any(part.json["choices"] == [] for part in chunks) is shown
    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.usage is not None


async def test_a_target_that_cannot_stream_is_asked_for_the_whole(autojump_clock: MockClock) -> None:
    complaint = refusal(400, "Unsupported parameter: 'stream'", param="stream", code="unsupported_parameter")
    script = Script(complaint, whole("Hello!"))
    parts, error = await parts_of(settings(), script)

    assert (texts(parts), error) == ("Hello!", None)
    assert "stream" not in script.bodies[1]


async def test_a_broken_whole_answer_to_a_streamed_call_is_tried_again(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b'{"id"', RESET)), stream(chunk("Hi"), STOP, DONE))
    parts, error = await parts_of(settings(), script)

    assert (texts(parts), error) == ("Hi", None)


async def test_the_first_byte_is_the_first_content(autojump_clock: MockClock) -> None:
    parts, _ = await parts_of(settings(), Script(stream(ROLE, 4.0, chunk("Hi"), 3.0, STOP, DONE)))

    assert isinstance(parts[-1], Finished)
    assert parts[-1].served.first_byte == pytest.approx(4)
    assert parts[-1].served.elapsed == pytest.approx(7)


async def test_an_unknown_model_is_told_from_the_iteration(autojump_clock: MockClock) -> None:
    async with open_gateway(settings(), transport=Script()) as gateway, gateway.stream(ask(model="nope")) as parts:
        with pytest.raises(GatewayError) as caught:
            await anext(parts)
        with pytest.raises(StopAsyncIteration):
            await anext(parts)

    assert caught.value.kind is Kind.MODEL_NOT_FOUND


async def test_an_ended_stream_leaves_its_connection_in_peace(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), STOP, DONE, b": the last empty chunk\n"))
    await parts_of(settings(), script)

    assert script.log[-2].startswith("sent b': the last")


async def test_a_server_that_does_not_end_after_done_is_left(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), STOP, DONE, FOREVER))
    parts, error = await parts_of(settings(), script)

    assert error is None
    assert isinstance(parts[-1], Finished)
    assert script.log[-1] == "closed 0"


@pytest.mark.parametrize("end", [(httpx.ReadError("reset"),), (FOREVER,), ()], ids=["reset", "stall", "end"])
@pytest.mark.parametrize(
    "asked",
    [ask(body={"n": 2}), Call(endpoint="completions", model="m", body={"prompt": ["a", "b"]})],
    ids=["two samples", "two prompts"],
)
async def test_an_answer_that_lacks_a_choice_is_not_whole(
    autojump_clock: MockClock, asked: Call, end: tuple[Step, ...]
) -> None:
    script = Script(stream(chunk("Hi"), STOP, *end))
    _, error = await parts_of(settings(retries=Retries(max_retries=0)), script, asked)

    assert error is not None


async def test_a_choice_that_never_comes_is_no_matter_after_done(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("Hi"), STOP, DONE))  # of a server that does not know `n`
    parts, error = await parts_of(settings(), script, ask(body={"n": 2}))

    assert (texts(parts), error) == ("Hi", None)


async def test_what_a_stream_without_choices_counts_is_part_of_its_words(autojump_clock: MockClock) -> None:
    last = event({"type": "transcript.text.done", "text": "Hi", "usage": {"input_tokens": 3, "output_tokens": 2}})
    asked = Call(endpoint="audio/transcriptions", model="m", body={})
    parts, error = await parts_of(settings(), Script(stream(last)), asked)

    assert ([type(part) for part in parts], error) == ([Chunk, Finished], None)
