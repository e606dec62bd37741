"""Calls that come as forms: what is large goes through without being held, and nothing in them steers."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from openai_gateway.routing.settings import Retries
from tests.gateway_service.forms import Part, headers, parts_of, written
from tests.gateway_service.house import Answered, House, house, http, request, sse

TEXT = {"text": "Hello!", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}}
SOUND: list[Part] = [("model", None, b"m"), ("language", None, b"de"), ("file", "speech.wav", b"RIFF\x00\xff\r\n--b0")]


async def send(here: House, key: str, parts: list[Part], to: str = "audio/transcriptions") -> Answered:
    return await here.ask("POST", f"/v1/{to}", key=key, body=written(parts), headers=headers())


async def test_a_form_goes_to_the_provider_with_its_model_and_its_key(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, TEXT)) as here:
        key = await here.key()
        said = await send(
            here,
            key,
            [*SOUND, ("timestamp_granularities[]", None, b"word"), ("timestamp_granularities[]", None, b"segment")],
        )
        assert (said.status, said.json) == (200, TEXT)
        assert said.headers["x-gateway-target"] == "up/m"
        (asked,) = here.asked
        assert parts_of(asked) == [
            ("model", None, b"m"),
            ("language", None, b"de"),
            ("timestamp_granularities[]", None, b"word"),
            ("timestamp_granularities[]", None, b"segment"),
            ("file", "speech.wav", b"RIFF\x00\xff\r\n--b0"),
        ]
        assert asked.startswith(b"POST /v1/audio/transcriptions HTTP/1.1\r\n")
        assert b"Bearer sk-upstream-canary" in asked
        assert key.encode() not in asked
        (row,) = await here.store.rows(since=0, until=2**45, limit=10)
        assert (row.endpoint, row.status, row.input, row.output) == ("audio/transcriptions", 200, 14, 45)
    assert {name.split(".")[0] for name in os.listdir(tmp_path)} <= {"gateway", "audit"}  # noqa: PTH208 - it blocks less


async def test_an_answer_that_is_no_json_passes_as_it_is(tmp_path: Path) -> None:
    subtitles = b"1\n00:00:00,000 --> 00:00:01,000\nHello!\n"
    answer = http(200, subtitles).replace(b"application/json", b"text/plain")
    async with house(tmp_path, answer) as here:
        said = await send(here, await here.key(), [*SOUND, ("response_format", None, b"srt")])
        assert (said.status, said.headers["content-type"], said.body) == (200, "text/plain", subtitles)


async def test_a_transcript_may_come_as_a_stream(tmp_path: Path) -> None:
    events = [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.done", "text": "Hello!"}]
    async with house(tmp_path, sse(*events, done=False)) as here:
        said = await send(here, await here.key(), [*SOUND, ("stream", None, b"true")])
        assert said.headers["content-type"].startswith("text/event-stream")
        assert b'"type":"transcript.text.done"' in said.body.replace(b": ", b":")
        assert ("stream", None, b"true") in parts_of(here.asked[0])


async def test_a_form_is_sent_again_from_its_beginning(tmp_path: Path) -> None:
    async with house(tmp_path, http(503, {}), http(200, TEXT), retries=Retries(max_retries=1)) as here:
        assert (await send(here, await here.key(), SOUND)).status == 200
        assert parts_of(here.asked[0]) == parts_of(here.asked[1])


async def test_images_are_edited_by_a_form_or_by_json(tmp_path: Path) -> None:
    images: list[Part] = [
        ("model", None, b"m"),
        ("prompt", None, b"x"),
        ("image[]", "a.png", b"1"),
        ("image[]", "b.png", b"2"),
    ]
    async with house(tmp_path, http(200, {"data": []}), http(200, {"data": []})) as here:
        key = await here.key(tpm=20_000)
        assert (await send(here, key, images, "images/edits")).status == 200
        assert [part[1:] for part in parts_of(here.asked[0]) if part[0] == "image[]"] == [
            ("a.png", b"1"),
            ("b.png", b"2"),
        ]
        said = await here.ask("POST", "/v1/images/edits", key=key, body={"model": "m", "prompt": "x", "images": []})
        assert said.status == 200
        assert b'"images":[]' in here.asked[1]


@pytest.mark.parametrize(("parts", "words"), [
    ([("file", "a.wav", b"x")], "`model`"),
    ([*SOUND, ("api_base", None, b"http://evil")], "`api_base`"),
    ([*SOUND, ("language", None, b"\xff")], "not UTF-8"),
    ([("x", None, b"")] * 101, "more than 100 parts"),
    ([("prompt", None, b"x" * (2**20 + 1))], "too long"),
])  # fmt: skip
async def test_what_is_wrong_in_a_form_is_said(tmp_path: Path, parts: list[Part], words: str) -> None:
    async with house(tmp_path) as here:
        said = await send(here, await here.key(), parts)
        assert said.status == 400
        assert words in said.error["message"]
        assert not here.asked


@pytest.mark.parametrize(("body", "kind"), [
    (written(SOUND, ends=False), headers()),
    (written(SOUND)[:40], headers()),
    (b"nothing of a form", headers()),
    (b"", headers()),
    (written(SOUND), {"content-type": "multipart/form-data"}),
    (written(SOUND), headers("another")),
    (written(SOUND), headers("b" * 71)),
    (b"--b0und4ry\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b0und4ry--\r\n", headers()),
    (b"--b0und4ry\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b0und4ry--\r\n", headers()),
])  # fmt: skip
async def test_what_is_no_form_is_refused(tmp_path: Path, body: bytes, kind: dict[str, str]) -> None:
    async with house(tmp_path) as here:
        said = await here.ask("POST", "/v1/audio/transcriptions", key=await here.key(), body=body, headers=kind)
        assert (said.status, said.error["type"]) == (400, "invalid_request_error")
        assert not here.asked


async def test_a_part_whose_head_has_no_end_is_refused(tmp_path: Path) -> None:
    """What reads a header of a million semicolons one after the other, each from the beginning, is at it for hours."""
    async with house(tmp_path) as here:
        said = await send(here, await here.key(), [("a" + ';"' * 500_000, None, b"x")])
        assert (said.status, said.error["type"]) == (400, "invalid_request_error")


async def test_a_name_that_would_write_a_header_writes_none(tmp_path: Path) -> None:
    parts: list[Part] = [("model", None, b"m"), ("file", "a%22; x=%0D%0AX-Evil: 1", b"x"), ("f", "ü.wav", b"y")]
    async with house(tmp_path, http(200, TEXT)) as here:
        assert (await send(here, await here.key(), parts)).status == 200
        assert b"\r\nX-Evil" not in here.asked[0]
        assert [name for _, name, _ in parts_of(here.asked[0])] == [None, "a%22; x=%0D%0AX-Evil: 1", "ü.wav"]


async def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with house(tmp_path, max_upload_bytes=1024) as here:
        key = await here.key()
        said = await send(here, key, [*SOUND, ("file", "b.wav", b"x" * 2000)])
        assert (said.status, said.error["code"]) == (413, "request_too_large")
        body = written([*SOUND, ("file", "b.wav", b"x" * 2000)])
        chunked = {"transfer-encoding": "chunked", "content-length": "", **headers()}
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        said = await here.ask("POST", "/v1/audio/transcriptions", key=key, body=framed, headers=chunked)
        assert said.status == 413


async def test_a_large_file_is_never_held(tmp_path: Path) -> None:
    large = b"\x00\x01\x02\x03" * (8 * 2**20)  # 32 MiB
    async with house(tmp_path, http(200, TEXT)) as here:
        key = await here.key()
        data = request(
            "POST",
            "/v1/audio/transcriptions",
            key=key,
            body=written([*SOUND, ("file", "b.wav", large)]),
            headers=headers(),
        )
        *pieces, last = [data[start : start + 65536] for start in range(0, len(data), 65536)]
        async with here.connection(lockstep=True) as stream:
            tracemalloc.start()
            for piece in pieces:
                await stream.send_all(piece)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            await stream.send_all(last)
            said = b""
            while more := await stream.receive_some():
                said += more
        assert said.startswith(b"HTTP/1.1 200")
        assert peak < 8 * 2**20
        assert parts_of(here.asked[0])[-1] == ("file", "b.wav", large)
