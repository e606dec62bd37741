"""How a request leaves for each kind of provider, and what the built-in model answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.routing.assemble import finish_reason_of, usage_of
from openai_gateway.routing.dialects import KINDS, UpstreamRequest, dialect_of
from openai_gateway.routing.endpoints import ENDPOINTS
from openai_gateway.routing.repair import REPAIRS
from openai_gateway.secret import Secret
from openai_gateway.wire.sse import Decoder, Event
from tests.gateway.routing.oracles import accept_chunk, accept_completion
from tests.gateway.routing.samples import KEY, call, provider, target

OPENAI = dialect_of("openai")
ECHO = dialect_of("echo")
MESSAGES = [{"role": "user", "content": "Hello!"}]


def sent(body: dict[str, Any], *, stream: bool = False, **fields: Any) -> str:
    request = OPENAI.encode(call("asked", body=body), target("a", "theirs"), stream=stream, **fields)
    return request.body.decode()


def test_only_the_model_is_touched_in_a_whole_request() -> None:
    body = {"temperature": 0.5, "model": "asked", "messages": MESSAGES, "x_unknown": {"z": [1, None]}}
    assert sent(body) == (
        '{"temperature":0.5,"model":"theirs","messages":[{"role":"user","content":"Hello!"}],"x_unknown":{"z":[1,null]}}'
    )
    assert body["model"] == "asked"


def test_a_body_without_a_model_gets_one_and_stream_members_go_where_nothing_streams() -> None:
    assert sent({"n": 1, "stream": True, "stream_options": {"include_usage": True}}) == '{"model":"theirs","n":1}'


@pytest.mark.parametrize(
    ("body", "encoded"),
    [
        ({}, '{"model":"theirs","stream":true,"stream_options":{"include_usage":true}}'),
        (
            {"stream": False, "stream_options": {"include_usage": False, "x": 1}, "n": 1},
            '{"model":"theirs","stream":true,"stream_options":{"include_usage":true,"x":1},"n":1}',
        ),
        ({"stream_options": None}, '{"model":"theirs","stream_options":{"include_usage":true},"stream":true}'),
    ],
)
def test_a_stream_is_asked_for_its_usage(body: dict[str, Any], encoded: str) -> None:
    assert sent(body, stream=True) == encoded


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic"])
@pytest.mark.parametrize("name", ["Content-Type", "Accept", "User-Agent"])
def test_a_header_of_the_configuration_is_sent_in_the_place_of_ours(kind: str, name: str) -> None:
    dialect = dialect_of(kind)
    made = target("a", "theirs", kind=kind, headers={name: "mine"})
    requests = [dialect.encode(call("asked", body={"messages": MESSAGES}), made, stream=True)]
    if dialect.models is not None:
        requests.append(dialect.models(made.provider))
    for request in requests:
        assert [value for found, value in request.headers if found == name.lower()] == ["mine"]


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic"])
@pytest.mark.parametrize(
    "endpoint",
    ["", "..", "../admin", "files/../../admin", "files/.", "files/%2e%2E/x", "files/a%2fb", "files/a%5cb", "x?y=1",
     "x#y", "/x", "x//y", "x/", "//evil.example", "@evil.example/x", "x:y", "x y", "a\r\nb", "files/%0d%0a", "x\n", "ü",
     "\u017f", "%", "a%2"],
)  # fmt: skip
def test_an_endpoint_that_would_lead_elsewhere_is_none(kind: str, endpoint: str) -> None:
    with pytest.raises(GatewayError) as caught:
        dialect_of(kind).encode(call(endpoint=endpoint), target(kind=kind), stream=False)
    assert caught.value.kind is Kind.INVALID_REQUEST


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, "files/file-1.x/content", "vector_stores/vs~1/files/a%20b", "..."])
def test_an_endpoint_is_the_path_below_the_address(endpoint: str) -> None:
    url = OPENAI.encode(call(endpoint=endpoint), target("a"), stream=False).url
    assert url == f"https://a.example.com/v1/{endpoint}"


def test_repairs_are_made_in_the_body() -> None:
    changes = (REPAIRS["stream_options"], REPAIRS["max_tokens"])
    assert sent({"max_tokens": 5}, stream=True, changes=changes) == (
        '{"model":"theirs","max_completion_tokens":5,"stream":true}'
    )


def test_stream_options_are_only_for_endpoints_that_know_them() -> None:
    request = OPENAI.encode(call(endpoint="responses", body={}), target(), stream=True)
    assert request.body == b'{"model":"m","stream":true}'
    assert request.url == "https://a.example.com/v1/responses"


def test_a_request_carries_the_credential_and_shows_it_to_nobody() -> None:
    there = target(
        "a",
        api_key=Secret(KEY, name="K"),
        organization="org-1",
        project="proj-1",
        headers={"X-Title": "t", "Accept-Encoding": "gzip"},
    )
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    request = OPENAI.encode(call(traceparent=trace, body={"messages": [KEY]}), there, stream=False)
    assert request.method == "POST"
    assert request.url == "https://a.example.com/v1/chat/completions"
    assert dict(request.headers) == {
        "accept-encoding": "gzip",
        "authorization": f"Bearer {KEY}",
        "openai-organization": "org-1",
        "openai-project": "proj-1",
        "traceparent": trace,
        "x-title": "t",
        "content-type": "application/json",
        "accept": "application/json",
    }
    assert KEY not in repr(request)


@pytest.mark.parametrize("trace", [None, "", "x\r\nevil: 1", f"00-{'a' * 32}-{'b' * 16}-01\n"])
def test_what_is_no_trace_context_is_not_sent_on(trace: str | None) -> None:
    request = OPENAI.encode(call(traceparent=trace), target("a", api_key=None), stream=True)
    assert dict(request.headers) == {
        "accept-encoding": "identity",
        "content-type": "application/json",
        "accept": "text/event-stream",
    }


def test_the_model_list_is_asked_beside_the_chat() -> None:
    assert OPENAI.models is not None
    request = OPENAI.models(provider("a"))
    assert (request.method, request.url, request.body) == ("GET", "https://a.example.com/v1/models", b"")
    assert dict(request.headers)["authorization"] == "Bearer key-of-a"


@pytest.mark.parametrize("kind", ["openai", "azure", "echo"])
def test_the_pivots_answers_events_and_entries_pass_untouched(kind: str) -> None:
    dialect = dialect_of(kind)
    assert dialect.answer(b' {"x":1} ') == b' {"x":1} '
    assert dialect.events()(Event(data=b' {"x":1} ', name="x")) == (b' {"x":1} ',)
    assert dialect.listed({"id": "m"}) == {"id": "m"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_found_by_its_kind_and_ends_at_done(kind: str) -> None:
    assert dialect_of(kind).kind == kind
    assert dialect_of(kind).events()(Event(data=b"[DONE]")) == (b"[DONE]",)


def test_a_kind_that_is_none_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no kind of provider 'opnai'; known are openai, azure, anthropic, echo"):
        dialect_of("opnai")


# --- the built-in model ----------------------------------------------------------------------------------------------


def respond(request: UpstreamRequest) -> tuple[int, dict[str, str], bytes]:
    assert ECHO.respond is not None
    answer = ECHO.respond(request)
    return answer.status, dict(answer.headers), b"".join(answer.pieces)


def asked(messages: Any, *, stream: bool = False, endpoint: str = "chat/completions") -> UpstreamRequest:
    return ECHO.encode(call(endpoint=endpoint, body={"messages": messages}), target("e", "echo"), stream=stream)


CONVERSATION = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": None},
    {
        "role": "user",
        "content": [{"type": "text", "text": "second  line"}, {"type": "image_url"}, {"type": "text", "text": "x\n"}],
    },
]
ECHOED = "[echo, the built-in test model] second  line\nx\n"


def test_echo_repeats_the_last_user_message_under_a_label() -> None:
    status, headers, body = respond(asked(CONVERSATION))
    assert (status, headers) == (200, {"content-type": "application/json"})
    answer = json.loads(body)
    accept_completion(answer)
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": ECHOED}, "finish_reason": "stop"}
    ]
    assert (answer["object"], answer["model"]) == ("chat.completion", "echo")
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 8, "total_tokens": 14}
    assert respond(asked(CONVERSATION))[2] == body


def test_echo_streams_the_same_word_by_word() -> None:
    status, headers, body = respond(asked(CONVERSATION, stream=True))
    assert (status, headers) == (200, {"content-type": "text/event-stream"})
    events = [item for item in Decoder().feed(body) if isinstance(item, Event)]
    assert events[-1].data == b"[DONE]"
    chunks = [json.loads(one.data) for one in events[:-1]]
    for one in chunks:
        accept_chunk(one)
    assert "".join(choice["delta"].get("content", "") for one in chunks for choice in one["choices"]) == ECHOED
    assert [reason for one in chunks if (reason := finish_reason_of(one))] == ["stop"]
    assert usage_of(chunks[-1]) == usage_of(json.loads(respond(asked(CONVERSATION))[2]))
    assert len(chunks) == 12  # the role, nine words with what is between them, the end, the usage


@pytest.mark.parametrize("messages", [None, "x", [], ["odd", {"role": "user"}], [{"role": "user", "content": [1, {}]}]])
def test_echo_answers_to_any_messages(messages: Any) -> None:
    status, _, body = respond(asked(messages))
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == "[echo, the built-in test model] "
    assert respond(asked(messages, stream=True))[2].endswith(b"data: [DONE]\n\n")


def test_echo_lists_itself_and_does_nothing_but_chat() -> None:
    assert ECHO.models is not None
    status, _, body = respond(ECHO.models(provider("e", kind="echo")))
    assert (status, [model["id"] for model in json.loads(body)["data"]]) == (200, ["echo"])
    status, _, body = respond(asked([], endpoint="embeddings"))
    assert (status, json.loads(body)["error"]["message"]) == (404, "The echo model only chats.")
