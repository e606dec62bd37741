"""The official `openai` package, asynchronous, over a socket: it works unchanged, and raises its own errors at ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import openai
import pytest
import trio
from openai.types.chat import ChatCompletionMessageParam

from openai_gateway.routing.settings import Retries, Timeouts
from tests.gateway_service.house import ANSWER, House, delta, house, http, sse

SAY: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "Hi"}]
USAGE: Final = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
RESPONSE: Final = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m-2026", "status": "completed", "error": None,
    "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1,
    "tool_choice": "auto", "tools": [], "top_p": 1, "usage": {**USAGE, "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0}},
    "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello!", "annotations": []}]}],
}  # fmt: skip
FILE: Final = {
    "id": "file-1", "object": "file", "bytes": 2, "created_at": 1, "filename": "a.jsonl", "purpose": "batch",
    "status": "processed",
}  # fmt: skip
BATCH: Final = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "errors": None, "input_file_id": "file-1",
    "completion_window": "24h", "status": "validating", "created_at": 1,
}  # fmt: skip


@asynccontextmanager
async def official(here: House, key: str, *, max_retries: int = 0) -> AsyncIterator[openai.AsyncOpenAI]:
    """The client, at a socket of this service."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(here.server.serve, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=max_retries) as client:
            yield client
        nursery.cancel_scope.cancel()


# The package and its HTTP client leave the generators of their streams to the collector, which trio warns of.
LEAVES_ITS_STREAMS: Final = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")


@LEAVES_ITS_STREAMS
async def test_answers_whole_and_streamed(tmp_path: Path) -> None:
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress"}},
        {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0,
         "content_index": 0, "delta": "Hello!", "logprobs": []},
        {"type": "response.completed", "sequence_number": 2, "response": RESPONSE},
    ]  # fmt: skip
    answers = [
        http(200, ANSWER), sse(delta("Hel"), delta("lo!"), delta(None, "stop")), http(200, RESPONSE),
        sse(*events, done=False),
    ]  # fmt: skip
    async with house(tmp_path, *answers) as here, official(here, await here.key()) as ai:
        whole = await ai.chat.completions.create(model="m", messages=SAY)
        assert whole.choices[0].message.content == "Hello!"
        stream = await ai.chat.completions.create(model="m", messages=SAY, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello!"
        assert (await ai.responses.create(model="m", input="Hi")).output_text == "Hello!"
        async with ai.responses.stream(model="m", input="Hi") as response:
            kinds = [event.type async for event in response]
            assert (await response.get_final_response()).output_text == "Hello!"
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"


async def test_all_that_is_no_chat(tmp_path: Path) -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}
    verdict = {"id": "modr-1", "model": "m", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]}
    sound = http(200, b"RIFF\x00\xff").replace(b"application/json", b"audio/wav")
    text = http(200, b"Hello!\n").replace(b"application/json", b"text/plain")
    image = {"created": 1, "data": [{"b64_json": "AAAA"}]}
    answers = [
        http(200, {"object": "list", "data": [vector], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}),
        http(200, verdict), sound, http(200, {"text": "Hello!"}), text, http(200, {"text": "Hello!"}),
        http(200, image), http(200, image),
    ]  # fmt: skip
    async with house(tmp_path, *answers) as here, official(here, await here.key()) as ai:
        found = await ai.embeddings.create(model="m", input="Hi", encoding_format="float")
        assert found.data[0].embedding == [0.5, -0.5]
        assert not (await ai.moderations.create(model="m", input="Hi")).results[0].flagged
        assert (await ai.audio.speech.create(model="m", voice="alloy", input="Hi")).content == b"RIFF\x00\xff"
        file = ("a.wav", b"RIFF", "audio/wav")
        assert (await ai.audio.transcriptions.create(model="m", file=file)).text == "Hello!"
        assert await ai.audio.transcriptions.create(model="m", file=file, response_format="text") == "Hello!\n"
        with pytest.warns(DeprecationWarning, match="deprecated"):  # so says the package
            assert (await ai.audio.translations.create(model="m", file=file)).text == "Hello!"
        made = await ai.images.generate(model="m", prompt="x")
        assert made.data is not None
        assert made.data[0].b64_json == "AAAA"
        edited = await ai.images.edit(model="m", prompt="x", image=[("a.png", b"1"), ("b.png", b"2")])
        assert edited.data is not None
        assert [model.id async for model in ai.models.list()] == ["m"]
        assert (await ai.models.retrieve("m")).id == "m"


async def test_files_and_batches(tmp_path: Path) -> None:
    cancelling, deleted = {**BATCH, "status": "cancelling"}, {"id": "file-1", "object": "file", "deleted": True}
    files, batches = [http(200, FILE)] * 3, [http(200, BATCH)] * 3
    answers = [*files, http(200, b"{}\n"), *batches, http(200, cancelling), http(200, deleted)]
    async with house(tmp_path, *answers) as here, official(here, await here.key()) as ai:
        file = await ai.files.create(file=("a.jsonl", b"{}"), purpose="batch")
        assert [one.id async for one in ai.files.list()] == [file.id]
        assert (await ai.files.retrieve(file.id)).filename == "a.jsonl"
        assert (await ai.files.content(file.id)).content == b"{}\n"
        batch = await ai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert [one.id async for one in ai.batches.list()] == [batch.id]
        assert (await ai.batches.retrieve(batch.id)).status == "validating"
        assert (await ai.batches.cancel(batch.id)).status == "cancelling"
        assert (await ai.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await ai.files.retrieve(file.id)


Asked = Callable[[openai.AsyncOpenAI], Awaitable[Any]]


def chat(**more: Any) -> Asked:
    return lambda ai: ai.chat.completions.create(**{"model": "m", "messages": SAY, **more})


BROKEN: Final = b"no HTTP at all\r\n\r\n"
ERROR: Final = {"error": {"message": "No", "type": "invalid_request_error", "param": "n", "code": "their_code"}}


ASKED: Final = chat()


@attrs.frozen(kw_only=True)
class Case:
    """What a key may do, what is asked with it, what the provider answers, and which error that is to the client."""

    raised: type[openai.APIStatusError]
    code: str | None
    rights: dict[str, Any] = attrs.field(factory=dict)
    asked: Asked = ASKED
    answers: tuple[bytes | None, ...] = ()


CASES: Final = (
    Case(asked=chat(model=""), raised=openai.BadRequestError, code=None),
    Case(rights={"expires": 1}, raised=openai.AuthenticationError, code="invalid_api_key"),
    Case(rights={"endpoints": ("x",)}, raised=openai.PermissionDeniedError, code="endpoint_not_allowed"),
    Case(rights={"models": ("x",)}, raised=openai.PermissionDeniedError, code="model_not_allowed"),
    Case(asked=chat(model="x"), raised=openai.NotFoundError, code="model_not_found"),
    Case(asked=chat(user="x" * 5000), raised=openai.APIStatusError, code="request_too_large"),
    Case(rights={"rpm": 0}, raised=openai.RateLimitError, code="rate_limit_exceeded"),
    Case(rights={"budget": 1}, asked=chat(max_tokens=5), raised=openai.RateLimitError, code="insufficient_quota"),
    Case(answers=(http(422, ERROR),), raised=openai.UnprocessableEntityError, code="their_code"),
    Case(answers=(http(401, ERROR),), raised=openai.InternalServerError, code="upstream_credentials_rejected"),
    Case(answers=(BROKEN,), raised=openai.InternalServerError, code="upstream_error"),
    Case(answers=(None,), raised=openai.InternalServerError, code="first_byte_timeout"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.code))
async def test_each_error_is_one_of_its_own(tmp_path: Path, case: Case) -> None:
    found: openai.APIStatusError | None = None
    bounds: dict[str, Any] = {"timeouts": Timeouts(first_byte=0.2), "max_body_bytes": 4096}
    async with house(tmp_path, *case.answers, **bounds) as here, official(here, await here.key(**case.rights)) as ai:
        try:
            await case.asked(ai)
        except openai.APIStatusError as error:
            found = error
    assert found is not None
    assert (type(found), found.code) == (case.raised, case.code)
    assert found.request_id


async def test_its_retries_obey_ours(tmp_path: Path) -> None:
    """We have tried for as long as it makes sense: it does not try again, whatever it was told."""
    retries = Retries(max_retries=1)
    async with house(tmp_path, http(503, ERROR), http(503, ERROR), http(200, ANSWER), retries=retries) as here:
        async with official(here, await here.key(), max_retries=3) as ai:
            with pytest.raises(openai.InternalServerError):
                await ai.chat.completions.create(model="m", messages=SAY)
        assert len(here.asked) == 2


@LEAVES_ITS_STREAMS
async def test_a_client_that_leaves_a_stream_leaves_the_provider(tmp_path: Path) -> None:
    begun = sse(delta("Hel"), done=False)
    async with house(tmp_path, begun, None) as here, official(here, await here.key()) as ai:
        stream = await ai.chat.completions.create(model="m", messages=SAY, stream=True)
        async for _ in stream:
            break
        await stream.close()
        with trio.fail_after(10):
            await here.left.wait()
