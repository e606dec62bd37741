"""The azure dialect: its two surfaces, its header, and what Azure says that OpenAI does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.assemble import has_content, usage_of
from openai_gateway.routing.attempts import Cause
from openai_gateway.routing.calls import Call
from openai_gateway.routing.classify import classify_response
from openai_gateway.routing.dialects import UpstreamRequest, dialect_of
from openai_gateway.routing.plan import Target
from openai_gateway.routing.reading import Reading
from openai_gateway.secret import Secret
from openai_gateway.wire import sse
from tests.gateway.routing.samples import KEY, REDACTOR, call, target

AZURE = dialect_of("azure")
RESOURCE = "https://x.openai.azure.com"


def deployed(name: str = "mine", **fields: Any) -> Target:
    given = {"kind": "azure", "base_url": RESOURCE, "api_version": "2024-10-21"}
    return target("azure", name, **{**given, **fields})


def sent(there: Target, asked: Call | None = None, *, stream: bool = False) -> UpstreamRequest:
    return AZURE.encode(asked or call(body={"messages": [], "n": 1}), there, stream=stream)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, f"{RESOURCE}/openai/deployments/mine/chat/completions?api-version=2024-10-21"),
        ({"base_url": f"{RESOURCE}/openai/v1", "api_version": None}, f"{RESOURCE}/openai/v1/chat/completions"),
        (
            {"base_url": f"{RESOURCE}/openai/v1", "api_version": "preview"},
            f"{RESOURCE}/openai/v1/chat/completions?api-version=preview",
        ),
        ({"api_version": None}, f"{RESOURCE}/openai/deployments/mine/chat/completions"),
    ],
)
def test_each_surface_has_its_address(fields: dict[str, Any], url: str) -> None:
    request = sent(deployed(**fields))
    assert (request.method, request.url) == ("POST", url)
    assert json.loads(request.body) == {"model": "mine", "messages": [], "n": 1}


@pytest.mark.parametrize(
    ("name", "segment"),
    [("gpt-5.1", "gpt-5.1"), ("a b/c?d#e%2F", "a%20b%2Fc%3Fd%23e%252F"), ("..x", "..x"), ("é", "%C3%A9")],
)
def test_a_deployment_is_one_segment_of_the_path(name: str, segment: str) -> None:
    assert f"/deployments/{segment}/chat/" in sent(deployed(name)).url


@pytest.mark.parametrize("name", [".", "..", "../x", "a/../../x", "a\\..\\x", "x/.", "x" * 257])
def test_a_name_that_would_lead_elsewhere_is_none(name: str) -> None:
    """Encoded or not: a server on the way may decode a path before it resolves it."""
    with pytest.raises(GatewayError, match="no name of a deployment") as caught:
        sent(deployed(name))
    assert (caught.value.kind, caught.value.param) == (Kind.MODEL_NOT_FOUND, "model")


def test_responses_have_no_deployment_in_their_path() -> None:
    asked = sent(deployed(), call(endpoint="responses", body={"input": "x"}))
    assert asked.url == f"{RESOURCE}/openai/responses?api-version=2024-10-21"
    assert json.loads(asked.body)["model"] == "mine"


def test_the_key_goes_into_a_header_of_its_own_and_is_shown_to_nobody() -> None:
    there = deployed(api_key=Secret(KEY, name="K"), headers={"X-Team": "blue"}, organization="org")
    request = sent(there, stream=True)
    assert dict(request.headers) == {
        "accept-encoding": "identity",
        "api-key": KEY,
        "x-team": "blue",
        "content-type": "application/json",
        "accept": "text/event-stream",
    }
    assert KEY not in repr(request)
    assert json.loads(request.body)["stream_options"] == {"include_usage": True}


def test_a_token_of_entra_id_stands_in_the_providers_headers() -> None:
    headers = dict(sent(deployed(api_key=None, headers={"Authorization": "Bearer t"})).headers)
    assert headers["authorization"] == "Bearer t"
    assert "api-key" not in headers


# --- what Azure says --------------------------------------------------------------------------------------------------

FILTERED = {"hate": {"filtered": False, "severity": "safe"}}
PROMPT = {
    "choices": [], "created": 0, "id": "", "model": "", "object": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": FILTERED}],
}  # fmt: skip
HEAD = {"id": "c1", "created": 1, "object": "chat.completion.chunk", "model": "gpt-4o-2024-11-20"}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "content_filter_results": FILTERED, "logprobs": None}
    return {**HEAD, "choices": [choice]}


USAGE = {**HEAD, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}
STREAM = [PROMPT, chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk({}, "stop"), USAGE]
WHOLE = {
    **HEAD,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
            "content_filter_results": FILTERED,
        }
    ],
    "prompt_filter_results": PROMPT["prompt_filter_results"],
    "usage": USAGE["usage"],
}


def test_the_samples_are_what_the_official_client_reads() -> None:
    for one in STREAM[1:]:
        ChatCompletionChunk.model_validate(one)
    ChatCompletion.model_validate(WHOLE)
    assert json.loads(AZURE.answer(json.dumps(WHOLE).encode())) == WHOLE


def test_the_chunk_of_the_prompts_filter_is_neither_content_nor_the_usage() -> None:
    reading = Reading(target=deployed(), redactor=REDACTOR, decode=AZURE.events(), show_usage=False)
    assert reading.feed(sse.encode(json.dumps(PROMPT).encode())) == []  # held back: another target can still be asked
    assert (reading.content, reading.usage, reading.model, reading.finish_reason) == (False, None, None, None)
    assert (has_content(PROMPT), usage_of(PROMPT)) == (False, None)
    passed = [one for event in STREAM[1:] for one in reading.feed(sse.encode(json.dumps(event).encode()))]
    assert [part.json for part in passed] == STREAM[:-1]
    assert reading.feed(sse.encode(b"[DONE]")) == []
    assert (reading.done, reading.model, reading.finish_reason) == (True, HEAD["model"], "stop")
    assert reading.usage == usage_of(USAGE)


@pytest.mark.parametrize(
    ("status", "error", "cause", "kind"),
    [
        (
            404,
            {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."},
            Cause.MODEL_NOT_FOUND,
            Kind.MODEL_NOT_FOUND,
        ),
        (404, {"code": "404", "message": "Resource not found"}, Cause.REFUSED, Kind.INVALID_REQUEST),
        (
            429,
            {
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21"
                " have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 23 seconds."
                " Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default"
                " rate limit.",
            },
            Cause.RATE_LIMITED,
            Kind.RATE_LIMITED,
        ),
        (429, {"code": "insufficient_quota", "message": "You exceeded your current quota."}, Cause.QUOTA, Kind.QUOTA),
        (
            400,
            {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management"
                " policy. Please modify your prompt and retry.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTERED},
            },
            Cause.CONTENT_POLICY,
            Kind.INVALID_REQUEST,
        ),
        (
            401,
            {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."},
            Cause.CREDENTIALS,
            Kind.CREDENTIALS_REJECTED,
        ),
    ],
    ids=["no deployment", "no resource", "rate", "quota", "filter", "key"],
)
def test_its_errors_have_their_cause(status: int, error: dict[str, Any], cause: Cause, kind: Kind) -> None:
    body = json.dumps({"error": error}).encode()
    failure = classify_response(status, {}, body, target=deployed(), redactor=REDACTOR, wall=0)
    assert (failure.cause, failure.error.kind) == (cause, kind)
    assert error["message"] in failure.error.message
    assert ("lead to an Azure OpenAI resource" in failure.error.hint) is (cause is Cause.REFUSED)


def test_an_error_of_the_door_in_front_of_it_says_its_words() -> None:
    body = b'{"statusCode": 401, "message": "Unauthorized. Access token is missing, invalid, or has expired."}'
    failure = classify_response(401, {}, body, target=deployed(), redactor=REDACTOR, wall=0)
    said = "(401): Unauthorized. Access token is missing, invalid, or has expired."
    assert failure.error.message == f"azure/mine refused our credential {said}"


def test_it_lists_nothing_as_deployments_cannot_be_listed() -> None:
    assert AZURE.models is None
