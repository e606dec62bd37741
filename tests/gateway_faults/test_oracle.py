"""What the official client makes of our streams and answers: its own types and its own accumulator, as an oracle."""

from __future__ import annotations

from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from trio.testing import MockClock

from openai_gateway import Call, Chunk, open_gateway
from tests.gateway_faults.answers import TEXT
from tests.gateway_faults.seen import Way
from tests.gateway_faults.table import ROWS, Row
from tests.gateway_faults.test_table import hosts, settings, steady
from tests.gateway_faults.transports import of_ours
from tests.gateway_faults.upstream import in_memory

ANSWERED = {way: [row for row in ROWS if row.seen[way].kind is None and row.calls == 1] for way in Way}
OURS = {"a cut at token 40 of 60, and another target can go on", "a whole answer to a streamed call"}
"""The rows in which we write chunks ourselves, so that they must be right by the letter of the client's types."""
NOT_BY_THE_LETTER = {"no finish_reason"}
"""The row whose upstream's own answer is not: it passes as it came."""


def question(**parameters: Any) -> Call:
    return Call.chat(model="m", messages=[{"role": "user", "content": "Count!"}], **parameters)


async def chunks_of(row: Row) -> list[Chunk]:
    """What a streaming caller gets that asks for the usage."""
    async with (
        in_memory(hosts(row)) as upstream,
        of_ours(upstream) as transport,
        open_gateway(settings(row), transport=transport, random=steady) as gateway,
        gateway.stream(question(stream_options={"include_usage": True})) as parts,
    ):
        return [part async for part in parts if isinstance(part, Chunk)]


@pytest.mark.parametrize("row", ANSWERED[Way.STREAM], ids=lambda row: row.name)
async def test_the_client_reads_the_whole_text_from_the_chunks(autojump_clock: MockClock, row: Row) -> None:
    state = ChatCompletionStreamState()
    chunks = await chunks_of(row)
    for chunk in chunks:
        made = ChatCompletionChunk.construct(**chunk.json)  # as the client does with what it receives
        state.handle_chunk(made)
        if row.name in OURS:
            ChatCompletionChunk.model_validate(chunk.json)
    (choice,) = state.get_final_completion().choices
    assert choice.message.content == TEXT
    assert sum(chunk.json["choices"] == [] and bool(chunk.json.get("usage")) for chunk in chunks) <= 1


@pytest.mark.parametrize("row", ANSWERED[Way.WHOLE], ids=lambda row: row.name)
async def test_the_client_takes_the_whole_answers(autojump_clock: MockClock, row: Row) -> None:
    async with (
        in_memory(hosts(row)) as upstream,
        of_ours(upstream) as transport,
        open_gateway(settings(row), transport=transport, random=steady) as gateway,
    ):
        reply = await gateway.call(question())
    (choice,) = ChatCompletion.construct(**reply.json).choices
    if row.name not in NOT_BY_THE_LETTER:
        ChatCompletion.model_validate(reply.json)
    assert choice.message.content == TEXT


def test_the_rows_that_are_ours_are_there() -> None:
    assert {row.name for row in ROWS} >= OURS
