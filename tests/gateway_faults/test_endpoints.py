"""Streams of endpoints that have no choices: their events say by their type that they begin, and that they end."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from openai_gateway import Account, Call, Chunk, Finished, GatewayError, Restarted, open_gateway
from tests.gateway_faults.answers import event, framed, stream
from tests.gateway_faults.test_mutations import configured
from tests.gateway_faults.transports import of_ours
from tests.gateway_faults.upstream import FOREVER, Act, Answer, End, Host, in_memory

CREATED = event({"type": "response.created", "response": {"id": "r", "error": None}})
SAID = event({"type": "response.output_text.delta", "delta": "Hi"})
COMPLETED = event({"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 1}}})
FAILED = event({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "it broke"}}})
ERROR = event({"type": "error", "code": "server_error", "message": "it broke", "param": None, "sequence_number": 3})

WHOLE: dict[str, tuple[str, list[bytes]]] = {
    "a response": ("responses", [CREATED, SAID, COMPLETED]),
    "a response cut short by its limit": ("responses", [CREATED, SAID, event({"type": "response.incomplete"})]),
    "a transcript": (
        "audio/transcriptions",
        [event({"type": "transcript.text.delta"}), event({"type": "transcript.text.done"})],
    ),
    "an image": (
        "images/generations",
        [event({"type": "image_generation.partial_image"}), event({"type": "image_generation.completed"})],
    ),
    "what nobody knows": ("audio/translations", [event({"any": "thing"})]),
}


async def parts_of(endpoint: str, *answers: tuple[Act, ...], whole: bool = False) -> tuple[list[Any], Account]:
    """The parts, with the error as the last, and the record."""
    accounts: list[Account] = []
    parts: list[Any] = []
    call = Call(endpoint=endpoint, model="m", body={"input": "Hi"}, whole=whole)
    async with in_memory({"one": Host(answers=[Answer(one, ()) for one in answers])}) as upstream:
        transport = of_ours(upstream)
        async with (
            open_gateway(configured("openai"), transport=transport, record=accounts.append) as gateway,
            gateway.stream(call) as going,
        ):
            try:
                async for part in going:
                    parts.append(part)  # noqa: PERF401 - what came before the error is wanted
            except GatewayError as error:
                parts.append(error)
        await transport.aclose()
    return parts, accounts[0]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("whole", [False, True])
async def test_a_stream_ends_with_its_last_event(autojump_clock: MockClock, name: str, whole: bool) -> None:
    endpoint, events = WHOLE[name]
    parts, account = await parts_of(endpoint, stream(*events), whole=whole)
    assert [type(part) for part in parts] == [*[Chunk] * len(events), Finished]
    assert len(account.asked) == 1


async def test_the_usage_of_a_response_is_charged(autojump_clock: MockClock) -> None:
    _, account = await parts_of("responses", stream(CREATED, SAID, COMPLETED, FOREVER))
    assert account.usage is not None
    assert (account.usage.input, account.usage.output, account.usage.estimated) == (3, 1, False)


@pytest.mark.parametrize(
    "broken", [(), (End.RESET,), (FAILED,), (ERROR,)], ids=["an end in peace", "a reset", "a failure", "an error"]
)
async def test_one_that_breaks_after_content_is_an_error_or_begins_anew(
    autojump_clock: MockClock, broken: tuple[Act, ...]
) -> None:
    begun, well = stream(CREATED, SAID, 1.0, *broken), stream(CREATED, SAID, COMPLETED)
    parts, account = await parts_of("responses", begun, well)
    assert [type(part) for part in parts] == [Chunk, Chunk, GatewayError]
    assert len(account.asked) == 1

    parts, account = await parts_of("responses", begun, well, whole=True)
    assert [type(part) for part in parts] == [Chunk, Chunk, Restarted, Chunk, Chunk, Chunk, Finished]
    assert len(account.asked) == 2


@pytest.mark.parametrize("broken", [(), (FAILED,), (End.CLOSE,)], ids=["an end", "a failure", "a cut"])
async def test_what_only_begins_is_no_content(autojump_clock: MockClock, broken: tuple[Act, ...]) -> None:
    begun = stream(CREATED, event({"type": "response.in_progress"}), *broken)
    parts, account = await parts_of("responses", begun, stream(CREATED, SAID, COMPLETED))
    assert [type(part) for part in parts] == [Chunk, Chunk, Chunk, Finished]
    assert len(account.asked) == 2


async def test_a_stream_that_nobody_knows_is_cut_where_its_connection_is(autojump_clock: MockClock) -> None:
    parts, _ = await parts_of("audio/translations", (*stream(event({"any": 1}), 1.0)[:-1], framed(b"data"), End.CLOSE))
    assert [type(part) for part in parts] == [Chunk, GatewayError]
