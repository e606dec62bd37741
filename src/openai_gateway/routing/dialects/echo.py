"""The built-in model that repeats what it was told: it shows the whole path at work before anybody owns a key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call, Json
from openai_gateway.routing.dialects.dialect import Dialect, EventDecoder, LocalAnswer, UpstreamRequest
from openai_gateway.routing.dialects.openai_body import body_of
from openai_gateway.routing.plan import Provider, Target
from openai_gateway.routing.repair import Repair
from openai_gateway.wire import sse
from openai_gateway.wire.strict import dumps, loads

MODEL: Final = "echo"
LABEL: Final = "[echo, the built-in test model] "
_URL: Final = "echo:"  # no scheme that a network client would open

_WORDS: Final = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+$")


def encode(call: Call, target: Target, *, stream: bool, changes: tuple[Repair, ...] = ()) -> UpstreamRequest:
    """The OpenAI body, for `respond`. Raises GatewayError for a form."""
    if call.upload is not None:
        raise GatewayError(kind=Kind.INVALID_REQUEST, message="The echo model only chats.")
    body = body_of(call, target.model, stream=stream, changes=changes)
    return UpstreamRequest(method=call.method, url=f"{_URL}{call.endpoint}", headers=(), body=body)


def models(provider: Provider) -> UpstreamRequest:  # noqa: ARG001 - the signature is the dialects'
    """The request for the list of models, for `respond`."""
    return UpstreamRequest(method="GET", url=f"{_URL}models", headers=())


def answer(body: bytes) -> bytes:
    """The same: `respond` speaks OpenAI."""
    return body


def events() -> EventDecoder:
    """A decoder that gives each event's data as it came."""
    return _data_of


def respond(request: UpstreamRequest) -> LocalAnswer:
    """The list of the one model, or a chat completion that repeats the last user message; the same each time."""
    if request.url == f"{_URL}models":
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": "openai-gateway"}
        return _json(200, {"object": "list", "data": [entry]})
    if request.url != f"{_URL}chat/completions":
        error = {"message": "The echo model only chats.", "type": "invalid_request_error", "param": None, "code": None}
        return _json(404, {"error": error})
    body = loads(request.body)
    text = LABEL + _last_user_text(body.get("messages"))
    usage = _usage(body.get("messages"), text)
    if body.get("stream"):
        return _stream(body["model"], text, usage)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _json(200, {**_head(body["model"], "chat.completion"), "choices": [choice], "usage": usage})


def _data_of(event: sse.Event) -> Sequence[bytes]:
    return (event.data,)


def _json(status: int, value: Json) -> LocalAnswer:
    return LocalAnswer(status=status, headers=(("content-type", "application/json"),), pieces=(dumps(value),))


def _stream(model: str, text: str, usage: Json) -> LocalAnswer:
    return LocalAnswer(
        status=200,
        headers=(("content-type", "text/event-stream"),),
        pieces=tuple(sse.encode(data) for data in (*map(dumps, _chunks(model, text, usage)), b"[DONE]")),
    )


def _chunks(model: str, text: str, usage: Json) -> Iterator[dict[str, Json]]:
    """As OpenAI streams: the role, a word a chunk, the finish_reason, the usage without a choice."""
    head = _head(model, "chat.completion.chunk")
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in _WORDS.findall(text))]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**head, "choices": [], "usage": usage}


def _head(model: str, kind: str) -> dict[str, Json]:
    return {"id": "chatcmpl-echo", "object": kind, "created": 0, "model": model}


def _usage(messages: Json, text: str) -> dict[str, int]:
    prompt = sum(len(_text_of(message).split()) for message in _messages(messages))
    completion = len(text.split())
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _last_user_text(messages: Json) -> str:
    users = [message for message in _messages(messages) if message.get("role") == "user"]
    return _text_of(users[-1]) if users else ""


def _messages(messages: Json) -> list[Mapping[str, Any]]:
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _text_of(message: Mapping[str, Any]) -> str:
    """The message's text; of content parts the texts, a line each."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


ECHO: Final = Dialect(kind="echo", encode=encode, models=models, answer=answer, events=events, respond=respond)
