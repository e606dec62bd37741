"""The tools that do not chat, against the real gateway over a scripted upstream."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from trio.testing import MockClock

from openai_gateway_mcp.features.tools import MODEL_VARIABLES
from openai_gateway_mcp.protocol.errors import ResourceNotFound
from openai_gateway_mcp.protocol.model import Audio, Image, ResourceBlob, ResourceLink, ResourceText, Text
from tests.features.scripted import Upstream, answers, client_of, meta_of, refuses, text_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
WAV = b"RIFF\0\0\0\0WAVEfmt " + bytes(60)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "embed": {"input": "a"},
    "generate_image": {"prompt": "a cat"},
    "speak": {"text": "Hello"},
    "transcribe": {"audio": base64.b64encode(WAV).decode()},
    "moderate": {"input": "a"},
}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def sends(data: bytes, content_type: str) -> Any:
    return lambda: httpx.Response(200, headers={"content-type": content_type}, content=data)


def test_each_tool_that_needs_a_model_of_its_kind_has_a_setting_for_it() -> None:
    assert set(ARGUMENTS) == {name for name, variable in MODEL_VARIABLES.items() if variable is not None}


@pytest.mark.parametrize("tool", ARGUMENTS)
async def test_without_a_model_it_says_which_setting_names_one(tool: str, autojump_clock: MockClock) -> None:
    async with client_of(Upstream()) as client:
        result = await client.call(tool, **ARGUMENTS[tool])
    assert result.is_error
    assert f"{MODEL_VARIABLES[tool]} is not set" in text_of(result)


@pytest.mark.parametrize("tool", ARGUMENTS)
async def test_an_error_of_the_provider_is_told_as_chat_tells_it(tool: str, autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=refuses(400, "no such voice")), tool_models={tool: "m1"}) as client:
        result = await client.call(tool, **ARGUMENTS[tool])
    assert result.is_error
    assert result.structured is None
    assert "no such voice" in text_of(result)


@pytest.mark.parametrize(
    "answer", [{}, {"data": [], "results": []}, {"data": {}, "results": 7, "text": 7}, {"data": [7]}]
)
@pytest.mark.parametrize("tool", ARGUMENTS)
async def test_an_answer_of_another_shape_is_no_result(tool: str, answer: Any, autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=answers(200, answer)), tool_models={tool: "m1"}) as client:
        result = await client.call(tool, **ARGUMENTS[tool])
    assert result.is_error
    assert "answered (HTTP 200) without" in text_of(result)


async def test_vectors_lie_in_a_resource_in_the_order_of_the_texts(autojump_clock: MockClock) -> None:
    data = [{"index": 1, "embedding": [0.25, 1]}, {"index": 0, "embedding": [0.5, -1.0]}]
    upstream = Upstream(
        e1=answers(200, {"model": "e1", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}})
    )
    async with client_of(upstream, tool_models={"embed": "e1"}) as client:
        result = await client.call("embed", input=["a", "b"], dimensions=2)
        facts = json.loads(text_of(result))
        link = result.content[1]
        assert isinstance(link, ResourceLink)
        (content,) = (await client.read(link.uri)).contents
        inline = await client.call("embed", input="a", model="e1", inline=True)
    assert facts == {"model": "e1", "count": 2, "dimensions": 2, "input_tokens": 5, "vectors": link.uri}
    assert content == ResourceText(uri=link.uri, text="[[0.5, -1.0], [0.25, 1]]", mime_type="application/json")
    assert upstream.paths[0] == "/v1/embeddings"
    assert upstream.bodies[0] == {"model": "e1", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float"}
    assert upstream.bodies[1]["input"] == ["a"]
    assert inline.is_error  # two vectors for one text are no answer to it
    assert meta_of(result)["usage"]["input"] == 5


async def test_vectors_are_inline_where_that_is_asked_for(autojump_clock: MockClock) -> None:
    upstream = Upstream(e1=answers(200, {"data": [{"index": 0, "embedding": [0.5]}]}))
    async with client_of(upstream) as client:
        result = await client.call("embed", input="a", model="e1", inline=True)
    assert json.loads(text_of(result))["vectors"] == [[0.5]]
    assert len(result.content) == 1


async def test_pictures_are_blocks_after_a_line_of_text(autojump_clock: MockClock) -> None:
    data = [{"b64_json": encoded(PNG), "revised_prompt": "a small cat"}, {"url": "https://pictures.example/2.png"}, {}]
    upstream = Upstream(i1=answers(200, {"created": 1, "data": data}))
    async with client_of(upstream, tool_models={"generate_image": "i1"}) as client:
        result = await client.call("generate_image", prompt="a cat", size="1024x1024", n=2)
    assert text_of(result) == "2 pictures by i1. Asked for was: a small cat"
    assert result.content[1] == Image(data=encoded(PNG), mime_type="image/png")
    assert isinstance(result.content[2], ResourceLink)
    assert result.content[2].uri == "https://pictures.example/2.png"
    assert upstream.bodies == [{"model": "i1", "prompt": "a cat", "size": "1024x1024", "n": 2}]
    assert result.structured is None


async def test_speech_is_a_block_and_a_resource(autojump_clock: MockClock) -> None:
    upstream = Upstream(s1=sends(WAV, "audio/wav"), s2=sends(bytes(600_000), "audio/mpeg"))
    async with client_of(upstream, tool_models={"speak": "s1"}) as client:
        result = await client.call("speak", text="Hello", voice="nova", format="wav")
        long = await client.call("speak", text="Hello", model="s2")
        link = result.content[2]
        assert isinstance(link, ResourceLink)
        assert (await client.read(link.uri)).contents == (
            ResourceBlob(uri=link.uri, blob=encoded(WAV), mime_type="audio/wav"),
        )
    assert result.content[1] == Audio(data=encoded(WAV), mime_type="audio/wav")
    assert [type(block) for block in long.content] == [Text, ResourceLink]
    assert upstream.bodies[0] == {"model": "s1", "input": "Hello", "voice": "nova", "response_format": "wav"}


async def test_speech_in_an_unknown_format_is_a_wrong_argument(autojump_clock: MockClock) -> None:
    async with client_of(Upstream()) as client:
        result = await client.call("speak", text="Hello", format="midi", model="s1")
    assert "Wrong argument `format`" in text_of(result)


@pytest.mark.parametrize("way", ["base64", "data", "path", "file"])
async def test_a_recording_is_sent_as_a_file(way: str, tmp_path: Path) -> None:
    path = tmp_path / "notes of today.WAV"
    path.write_bytes(WAV)
    audio = {
        "base64": encoded(WAV),
        "data": f"data:audio/wav;base64,{encoded(WAV)}",
        "path": str(path),
        "file": path.as_uri(),
    }[way]
    upstream = Upstream(t1=answers(200, {"text": "So be it."}))
    async with client_of(upstream, tool_models={"transcribe": "t1"}, roots=(str(tmp_path),)) as client:
        result = await client.call("transcribe", audio=audio, language="en")
    assert text_of(result) == "So be it."
    (body,) = upstream.bodies
    assert (body["model"], body["language"], body["response_format"]) == ("t1", "en", "json")
    assert 'filename="audio.wav"' in body["file"]
    assert "Content-Type: audio/wav" in body["file"]
    assert body["file"].endswith(WAV.decode("latin-1"))
    assert upstream.paths == ["/v1/audio/transcriptions"]


async def test_silence_is_said(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=answers(200, {"text": ""}))) as client:
        result = await client.call("transcribe", audio=encoded(WAV), model="t1")
    assert text_of(result) == "[No speech was heard.]"


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        ("notes.wav", "ALLOWED_ROOTS names no directory"),
        ("/etc/passwd", "ALLOWED_ROOTS names no directory"),
        (encoded(PNG * 8), "mp3, wav, ogg"),
        ("data:audio/wav;base64,AAA", "as base64"),
        ("data:;base64," + encoded(bytes(25_000_001)), "at most 25,000,000 bytes"),
    ],
)
async def test_what_is_no_sound_is_a_wrong_argument(audio: str, words: str, autojump_clock: MockClock) -> None:
    upstream = Upstream()
    async with client_of(upstream) as client:
        result = await client.call("transcribe", audio=audio, model="t1")
    assert result.is_error
    assert "Wrong argument `audio`" in text_of(result)
    assert words in text_of(result)
    assert len(text_of(result)) < 500
    assert upstream.bodies == []


async def test_a_verdict_names_only_what_was_found(autojump_clock: MockClock) -> None:
    found = {"flagged": True, "categories": {"hate": False, "violence": True}, "category_scores": {"violence": 0.9}}
    upstream = Upstream(any=answers(200, {"results": [found, {"flagged": False}]}))
    async with client_of(upstream) as client:
        result = await client.call("moderate", input=["a", "b"], model="omni")
    assert result.structured == {
        "flagged": True,
        "results": [{"flagged": True, "categories": {"violence": 0.9}}, {"flagged": False, "categories": {}}],
    }
    assert json.loads(text_of(result)) == result.structured


async def test_a_result_is_another_callers_not(autojump_clock: MockClock) -> None:
    async with client_of(Upstream(any=sends(WAV, "audio/wav"))) as client:
        result = await client.call("speak", text="Hello", model="s1")
        link = result.content[2]
        assert isinstance(link, ResourceLink)
        with pytest.raises(ResourceNotFound):
            await client.read(link.uri + "x")
        client.application = client.application.with_settings(
            client.application._settings.__class__(gateway=client.application._settings.gateway, tenant="another")
        )
        with pytest.raises(ResourceNotFound):
            await client.read(link.uri)
