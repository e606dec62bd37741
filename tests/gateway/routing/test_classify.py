"""From what came back to why it failed, and that no secret rides along."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import Kind
from openai_gateway.routing.attempts import Cause, Failure
from openai_gateway.routing.classify import classify_event, classify_response, error_in, failure_of
from openai_gateway.routing.key_source import StoredKey
from openai_gateway.secret import MARK, Redactor, Secret
from tests.gateway.routing.samples import KEY, REDACTOR, target

A = target("a")


def classified(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Failure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_response(status, headers or {}, data, target=A, redactor=REDACTOR, wall=0.0)


def openai(message: str = "words", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        *((status, Cause.SERVER_ERROR) for status in (408, 409, 500, 502, 503, 504, 520, 529)),
        *((status, Cause.CREDENTIALS) for status in (401, 402, 403)),
        *((status, Cause.REFUSED) for status in (400, 404, 405, 413, 415, 422)),
        (429, Cause.RATE_LIMITED),
        *((status, Cause.MALFORMED) for status in (301, 302, 307, 308)),
    ],
)
def test_a_status_says_why_where_the_words_do_not(status: int, cause: Cause) -> None:
    assert classified(status, openai()).cause is cause
    assert classified(status, b"<html>x</html>").cause is cause


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (429, openai(code="insufficient_quota"), Cause.QUOTA),
        (429, openai("You exceeded your current quota, please check your plan"), Cause.QUOTA),
        (429, openai("Your credit balance is too low"), Cause.QUOTA),
        (400, openai(code="context_length_exceeded"), Cause.CONTEXT_LENGTH),
        (400, openai("This model's maximum context length is 4096 tokens."), Cause.CONTEXT_LENGTH),
        (400, openai(type="exceed_context_size_error", code=400), Cause.CONTEXT_LENGTH),
        (400, openai(code="content_filter"), Cause.CONTENT_POLICY),
        (400, openai(code="content_policy_violation"), Cause.CONTENT_POLICY),
        (403, openai("Input was flagged by moderation"), Cause.CONTENT_POLICY),
        (400, openai("Output blocked by content filtering policy"), Cause.CONTENT_POLICY),  # Anthropic
        (404, openai(code="model_not_found"), Cause.MODEL_NOT_FOUND),
        (404, openai("The model `x` does not exist"), Cause.MODEL_NOT_FOUND),
        (404, b"no model here", Cause.REFUSED),
        (400, openai("Invalid model name passed in model=omni-moderation", code="400"), Cause.MODEL_NOT_FOUND),
        (429, openai("Budget has been exceeded!", type="budget_exceeded", code="429"), Cause.QUOTA),
        (400, openai("Your credit balance is too low", type="invalid_request_error"), Cause.QUOTA),
        (401, openai("No", type="team_model_access_denied", code="401"), Cause.MODEL_NOT_ALLOWED),
        (403, openai("key not allowed to access model. Tried to access x"), Cause.MODEL_NOT_ALLOWED),
        (400, openai("No connected db.", type="no_db_connection", code="400"), Cause.CREDENTIALS),
        (404, openai("No such endpoint"), Cause.REFUSED),
        (400, openai("Invalid model name passed in model=x"), Cause.MODEL_NOT_FOUND),
        (403, openai(code="model_not_found"), Cause.MODEL_NOT_FOUND),
    ],
)
def test_words_say_why_where_the_status_means_several_things(status: int, body: Any, cause: Cause) -> None:
    assert classified(status, body).cause is cause


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (openai(code="unsupported_parameter", param="max_tokens"), "max_tokens"),
        (openai(code="unsupported_value", param="temperature"), "temperature"),
        (openai("Your organization must be verified to stream this model.", param="stream"), "stream"),
        (openai("Unsupported parameter: 'top_p' is not supported with this model."), "top_p"),
        (openai("Unrecognized request argument supplied: stream_options"), "stream_options"),
        (openai("Streaming is not supported"), "stream"),
        (openai("Extra inputs are not permitted", param="body.stream_options"), "stream_options"),
        (openai("`temperature` is deprecated for this model."), "temperature"),
        ({"detail": [{"loc": ["body", "presence_penalty"], "msg": "extra fields not permitted"}]}, "presence_penalty"),
        (openai("temperature must be at most 2", param="temperature"), None),
        (openai("tool_choice is not supported", param="tool_choice"), None),
        (openai("seed is not supported"), None),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_parameter_of_the_table_can_be_repaired(status: int, body: Any, parameter: str | None) -> None:
    found = classified(status, body)
    assert found.repair == parameter
    assert found.cause is (Cause.REFUSED if parameter is None else Cause.REPAIRABLE)


def test_an_openai_error_keeps_its_status_and_words() -> None:
    body = openai("Too many tokens", type="their_type", code="their_code", param="max_tokens", extra={"a": 1})
    error = classified(422, body).error
    assert (error.status, error.kind) == (422, Kind.INVALID_REQUEST)
    assert error.to_openai() == body["error"]
    busy = classified(503, openai("Busy", type=None, code=7)).error
    assert (busy.status, busy.type, busy.code, busy.kind) == (503, "upstream_error", "7", Kind.UPSTREAM)
    odd = classified(503, openai("Busy", type=True, code=[], param=None)).error
    assert (odd.type, odd.code) == ("upstream_error", "upstream_error")


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_credential_is_never_passed_as_a_401(status: int) -> None:
    error = classified(status, openai("Incorrect API key provided", code="invalid_api_key")).error
    assert (error.status, error.type, error.code) == (502, "upstream_error", "upstream_credentials_rejected")
    assert error.message == f"a/m refused our credential ({status}): Incorrect API key provided"
    assert error.hint == "Check a."
    assert error.to_openai()["code"] == "upstream_credentials_rejected"


@pytest.mark.parametrize("status", [401, 403])
def test_a_model_that_the_key_may_not_use_is_not_taken_for_a_refused_key(status: int) -> None:
    error = classified(status, openai("key not allowed to access model", code=str(status), param="model")).error
    assert (error.kind, error.status, error.code, error.param) == (Kind.PERMISSION, 403, "model_not_allowed", "model")
    assert error.message == "key not allowed to access model"


def test_a_missing_credential_says_what_to_set() -> None:
    found = classify_response(401, {}, b"", target=target("a", api_key=None), redactor=REDACTOR, wall=0)
    assert found.error.message == "a/m refused our credential (401)."
    assert found.error.hint == "Set an API key for a."
    named = target("a", api_key=None, key_set_by="GATEWAY_API_KEY")
    found = classify_response(401, {}, b"", target=named, redactor=REDACTOR, wall=0)
    assert found.error.hint == "Set GATEWAY_API_KEY."


def test_a_key_that_is_read_late_is_named_by_its_source() -> None:
    source = StoredKey(entry="openai", directory="/x", set_by="api_key of a")
    refused = {"error": {"code": 401, "message": "no"}}
    found = classify_event(refused, target=target("a", api_key=None, key_source=source), redactor=REDACTOR)
    assert found.cause is Cause.CREDENTIALS
    assert found.error.hint == "Check the stored key 'openai' (api_key of a)."


@pytest.mark.parametrize(
    ("fields", "named"), [({}, "the address of a"), ({"url_set_by": "GATEWAY_URL"}, "GATEWAY_URL")]
)
@pytest.mark.parametrize(
    ("cause", "hint"),
    [
        (Cause.CONNECT, "Check {}, the network and the proxy."),
        (Cause.CONNECT_CLOCK, "Check {}, the network and the proxy."),
        (Cause.MALFORMED, "Check {}: it has to lead to an OpenAI-compatible API."),
    ],
)
def test_a_wrong_address_is_named_by_what_sets_it(fields: dict[str, str], named: str, cause: Cause, hint: str) -> None:
    failed = failure_of(cause, target=target("a", **fields), redactor=REDACTOR)
    assert failed.error.hint == hint.format(named)


@pytest.mark.parametrize(
    ("status", "body", "message", "passed"),
    [
        (502, b"<html><head><title>502 Bad\n Gateway</title></head><body>x</body></html>", "502 Bad Gateway", 502),
        (500, b"<style>p{}</style><p>It <b>broke</b></p><!-- c --><script>x()</script>", "It broke", 502),
        (504, b"plain words", "plain words", 502),
        (400, b"plain words", "plain words", 400),
        (503, b"x\x00\x1b[31my", "x [31my", 502),
        (503, b"\xff\xfe", "\ufffd\ufffd", 502),
        (500, b"y" * 500, "y" * 200 + "…", 502),
        (500, b"Bearer <b>unknown-key</b>", f"Bearer {MARK}", 502),
        (500, b'{"oops": 1}', '{"oops":1}', 502),
        (500, b'{"error": "just words"}', "just words", 502),
        (500, b"[]", "[]", 502),
        (500, b"Broken <!-- never closed", "Broken", 502),
        (500, b"5 < 6 is < <i>so</i>", "5 < 6 is < so", 502),
    ],
)
def test_a_page_or_text_is_summed_up_in_a_line(status: int, body: bytes, message: str, passed: int) -> None:
    error = classified(status, body).error
    assert error.message == f"a/m answered {status}: {message}"
    assert error.status == passed
    assert error.body is None


@pytest.mark.parametrize("piece", [b"<script ", b"<!--", b"<title>", b"<title", b"<", b"bearer ", b"api_key=", b"://a"])
def test_a_page_of_nothing_but_beginnings_is_read_once(piece: bytes) -> None:
    # Looking for each one's end anew would take minutes: the time-out of the suite fails this test.
    assert len(classified(500, piece * (2 * 2**20 // len(piece))).error.message) < 300


def test_the_words_of_a_failure_without_an_answer_are_cut_after_they_are_redacted() -> None:
    detail = "y" * 190 + f" {KEY}" + "z" * 50_000
    message = failure_of(Cause.MALFORMED, target=A, redactor=REDACTOR, detail=detail).error.message
    assert message == f"a/m sent no OpenAI answer: {'y' * 190} {MARK[:9]}…"


def test_an_error_of_any_size_is_passed_on_in_a_small_one() -> None:
    error = classified(422, openai("m" * 9000, type="t" * 9000, code=10**4000, prompt="p" * 90_000)).error
    assert error.status == 422
    assert error.to_openai().keys() == {"message", "type", "param", "code"}
    assert len(json.dumps(error.to_openai())) < 3000


def test_an_empty_answer_says_its_status() -> None:
    assert classified(503).error.message == "a/m answered 503."
    assert classified(413).error.kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"object": "error", "message": "old vLLM", "code": 400}, "old vLLM"),
        ({"detail": "FastAPI"}, "FastAPI"),
        ([{"error": {"message": "Google"}}], "Google"),
        ({"type": "error", "error": {"type": "x", "message": "Anthropic"}}, "Anthropic"),
        ({"error": {"message": {"deep": 1}}}, '{"deep":1}'),
        ({"error": {"oops": 1}}, '{"oops":1}'),
        ({"error": {"message": "z" * 3000}}, "z" * 2000 + "…"),
    ],
)
def test_relatives_of_the_openai_error_are_read(body: Any, message: str) -> None:
    assert classified(400, body).error.message == message


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        [],
        {"choices": []},
        {"choices": 5},
        {"choices": [5, {"error": None}]},
        {"error": None},
        {"error": ""},
        {"error": {}},
        {"message": ""},
        {"id": "x", "detail": "y"},
    ],
)
def test_an_answer_is_no_error(value: Any) -> None:
    assert error_in(value) is None


def test_a_redirect_is_not_followed_and_points_to_the_address() -> None:
    error = classified(302, b"", {"location": "http://169.254.169.254/"}).error
    assert error.message == "a/m answered 302, a redirect; it is not followed."
    assert error.hint == "Check the address of a: it has to lead to an OpenAI-compatible API."


def test_what_the_headers_say_about_coming_back_is_kept() -> None:
    found = classified(429, openai(), {"retry-after": "3", "x-should-retry": "false"})
    assert (found.retry_after, found.error.retry_after, found.should_retry) == (3.0, 3.0, False)


@pytest.mark.parametrize(
    ("json", "cause", "status"),
    [
        (openai(code=502), Cause.SERVER_ERROR, 502),
        (openai(code="429"), Cause.RATE_LIMITED, 429),
        (openai(code=42), Cause.SERVER_ERROR, 500),
        (openai(type="rate_limit_error"), Cause.RATE_LIMITED, 429),
        (openai(code="insufficient_quota"), Cause.QUOTA, 429),
        (openai(type="overloaded_error"), Cause.SERVER_ERROR, 529),
        (openai(type="authentication_error"), Cause.CREDENTIALS, 502),
        (openai(type="permission_error"), Cause.CREDENTIALS, 502),
        (openai("model not found", type="not_found_error"), Cause.MODEL_NOT_FOUND, 404),
        (openai(code="context_length_exceeded"), Cause.CONTEXT_LENGTH, 400),
        (openai(type="server_error"), Cause.SERVER_ERROR, 500),
        ({"error": "it broke"}, Cause.SERVER_ERROR, 502),
        ({"choices": [{"finish_reason": "error", **openai(code=429)}]}, Cause.RATE_LIMITED, 429),
    ],
)
def test_an_error_in_band_is_read_like_one_with_a_status(json: Any, cause: Cause, status: int) -> None:
    found = classify_event(json, target=A, redactor=REDACTOR)
    assert (found.cause, found.error.status) == (cause, status)


def test_a_parameter_refused_in_band_can_be_repaired() -> None:
    body = openai(type="invalid_request_error", code="unsupported_parameter", param="top_p")
    assert classify_event(body, target=A, redactor=REDACTOR).repair == "top_p"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause.CONNECT, Kind.NETWORK),
        (Cause.RESET, Kind.NETWORK),
        (Cause.CUT, Kind.UPSTREAM),
        (Cause.MALFORMED, Kind.UPSTREAM),
        (Cause.TOO_LARGE, Kind.UPSTREAM),
        (Cause.NOT_CONFIGURED, Kind.CONFIGURATION),
        (Cause.CONNECT_CLOCK, Kind.CONNECT_TIMEOUT),
        (Cause.FIRST_BYTE_CLOCK, Kind.FIRST_BYTE_TIMEOUT),
        (Cause.IDLE_CLOCK, Kind.IDLE_TIMEOUT),
        (Cause.TOTAL_CLOCK, Kind.TOTAL_TIMEOUT),
    ],
)
def test_a_failure_without_an_answer_has_words_of_its_own(cause: Cause, kind: Kind) -> None:
    found = failure_of(cause, target=A, redactor=REDACTOR, detail=f"because of {KEY}")
    assert (found.cause, found.error.kind) == (cause, kind)
    assert "a/m" in found.error.message
    assert found.error.message.endswith(f": because of {MARK}")
    assert KEY not in failure_of(cause, target=A, redactor=REDACTOR).error.message


def test_what_is_to_be_set_is_said_whole_and_an_exceptions_text_is_cut() -> None:
    detail = f"{'the key is not there, for one reason and another; ' * 5}`keys set a` stores one."
    assert failure_of(Cause.NOT_CONFIGURED, target=A, redactor=REDACTOR, detail=detail).error.message.endswith(detail)
    assert failure_of(Cause.CONNECT, target=A, redactor=REDACTOR, detail=detail).error.message.endswith("…")


_WITH_KEY = st.sampled_from(
    ["", "x", KEY, f"<b>{KEY}</b>", json.dumps({"k": KEY}), f"Bearer {KEY}", KEY[:6] + "<i>" + KEY[6:]]
)


@given(
    status=st.sampled_from([301, 400, 401, 404, 422, 429, 500, 503]),
    pieces=st.lists(_WITH_KEY | st.text(max_size=5), max_size=5),
    member=st.sampled_from(["message", "type", "code", "param", KEY, None]),
)
def test_no_planted_key_leaves_in_any_part_of_an_error(status: int, pieces: list[str], member: str | None) -> None:
    said = "".join(pieces)
    body = said.encode("utf-8", "replace") if member is None else {"error": {"message": "m", member: said}}
    error = classified(status, body).error
    everything = " ".join([str(error), repr(error), json.dumps(error.to_openai())])
    assert KEY not in everything


class Counting(Redactor):
    """Counts the characters that it looks through."""

    seen = 0

    def redact(self, text: str) -> str:
        self.seen += len(text)
        return super().redact(text)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "m" * 2**20, "code": "rate_limit_exceeded", "type": "t", "param": None},
        {"message": "words", "code": "rate_limit_exceeded", "metadata": [{"a": "b" * 100}] * 10_000},
        {"detail": [{"msg": "b" * 100}] * 10_000, "code": "rate_limit_exceeded"},
        "rate_limit_exceeded " * 2**16,
    ],
    ids=["a long message", "much beside the words", "no words at all", "nothing but words"],
)
def test_of_an_error_out_of_all_bounds_only_the_words_are_looked_at(error: Any) -> None:
    redactor = Counting([Secret(KEY, name="A_KEY")])
    failure = classify_event({"error": error}, target=A, redactor=redactor)
    assert failure.cause is Cause.RATE_LIMITED
    assert len(failure.error.message) <= 2_100
    assert redactor.seen < 2**18


def test_a_key_that_is_cut_with_an_error_out_of_all_bounds_does_not_show() -> None:
    for before in range(16 * 1024 - len(KEY), 16 * 1024 + 1):
        error = {"message": "x" * before + KEY, "metadata": "y" * 2**17}
        failure = classify_event({"error": error}, target=A, redactor=REDACTOR)
        assert "canary" not in f"{failure.error!r} {failure.error.to_openai()}"
