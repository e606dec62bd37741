"""Calls through the service: what comes back, what is refused and how, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openai_gateway.routing.ledger import Row
from openai_gateway.routing.money import NANO
from tests.gateway_service.house import ANSWER, CHAT, UPSTREAM_KEY, Answered, House, delta, house, http, request, sse

PATH = "/v1/chat/completions"
FUTURE = 2**45


async def rows(of: House) -> tuple[Row, ...]:
    return await of.store.rows(since=0, until=FUTURE, limit=100)


async def test_a_call_is_answered_with_the_upstreams_bytes_and_has_its_row(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER)) as here:
        key = await here.key(rpm=5, tpm=1000, budget=NANO)
        said = await here.ask("POST", PATH, key=key, body=CHAT, headers={"x-request-id": "mine-1"})
        assert (said.status, said.body) == (200, json.dumps(ANSWER).encode())
        assert said.headers["x-request-id"] == "mine-1"
        assert said.headers["x-gateway-target"] == "up/m"
        assert said.headers["x-gateway-model"] == "m-2026"
        assert said.headers["x-gateway-attempts"] == "1"
        assert float(said.headers["x-gateway-overhead-ms"]) >= 0
        assert said.headers["x-ratelimit-limit-requests"] == "5"
        assert said.headers["x-ratelimit-remaining-requests"] == "4"
        assert said.headers["x-ratelimit-reset-tokens"] == "60s"
        (row,) = await rows(here)
        assert (row.id, row.key, row.model, row.target, row.status) == ("mine-1", "key_1", "m", "up/m", 200)
        assert (row.input, row.output, row.money) == (10, 5, 20_000_000)
        assert UPSTREAM_KEY.encode() in here.asked[0]
        assert key.encode() not in here.asked[0]


async def test_a_stream_is_passed_on_and_ends_with_done_once(tmp_path: Path) -> None:
    events = (delta("Hel"), delta("lo"), delta(None, "stop"))
    async with house(tmp_path, sse(*events)) as here:
        said = await here.ask("POST", PATH, key=await here.key(rpm=5), body={**CHAT, "stream": True})
        assert said.headers["content-type"].startswith("text/event-stream")
        assert said.headers["x-gateway-target"] == "up/m"
        assert said.headers["x-ratelimit-remaining-requests"] == "4"
        lines = said.body.decode().split("\n\n")
        assert [json.loads(line.removeprefix("data: ")) for line in lines[:-2]] == list(events)
        assert lines[-2:] == ["data: [DONE]", ""]
        (row,) = await rows(here)
        assert (row.status, row.estimated) == (200, True)


async def test_a_stream_that_breaks_says_so_and_has_no_done(tmp_path: Path) -> None:
    async with house(tmp_path, sse(delta("Hel"), done=False)) as here:
        said = await here.ask("POST", PATH, key=await here.key(), body={**CHAT, "stream": True})
        assert said.status == 200
        assert b"[DONE]" not in said.body
        last = said.body.decode().strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "upstream_error"
        (row,) = await rows(here)
        assert row.status == 502


async def test_events_of_the_responses_api_keep_their_names(tmp_path: Path) -> None:
    events = ({"type": "response.output_text.delta", "delta": "Hi"}, {"type": "response.completed", "response": {}})
    async with house(tmp_path, sse(*events, done=False)) as here:
        said = await here.ask(
            "POST", "/v1/responses", key=await here.key(), body={"model": "m", "input": "Hi", "stream": True}
        )
        assert b"event: response.output_text.delta\ndata: " in said.body
        assert b"event: response.completed\n" in said.body
        assert b"[DONE]" not in said.body


async def test_sound_passes_as_it_is_and_an_error_in_its_place_as_an_error(tmp_path: Path) -> None:
    sound = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 6\r\n\r\n\xff\xf3\x00\r\n{"
    broken = http(200, {"error": {"message": "no voice", "type": "x", "param": None, "code": None}})
    body = {"model": "m", "input": "Hi", "voice": "alloy"}
    async with house(tmp_path, sound, broken) as here:
        key = await here.key()
        said = await here.ask("POST", "/v1/audio/speech", key=key, body=body)
        assert (said.status, said.headers["content-type"]) == (200, "audio/mpeg")
        assert said.body == b"\xff\xf3\x00\r\n{"
        assert (await here.ask("POST", "/v1/audio/speech", key=key, body=body)).status >= 400
        assert [row.status == 200 for row in await rows(here)] == [False, True]


async def test_a_kind_of_sound_that_no_header_can_carry_is_passed_on_as_far_as_it_can(tmp_path: Path) -> None:
    sound = "HTTP/1.1 200 OK\r\ncontent-type: audio/\x01m\u00fcsli\r\ncontent-length: 2\r\n\r\n".encode() + b"\xff\xf3"
    async with house(tmp_path, sound) as here:
        body = {"model": "m", "input": "Hi", "voice": "alloy"}
        said = await here.ask("POST", "/v1/audio/speech", key=await here.key(), body=body)
        assert (said.status, said.headers["content-type"], said.body) == (200, "audio/?m?sli", b"\xff\xf3")


async def test_an_upstreams_refusal_passes_with_its_status_and_nobody_is_to_try_again(tmp_path: Path) -> None:
    error = {"message": f"no such thing, {UPSTREAM_KEY}", "type": "invalid_request_error", "param": "x", "code": None}
    async with house(tmp_path, http(400, {"error": error})) as here:
        said = await here.ask("POST", PATH, key=await here.key(), body=CHAT)
        assert said.status == 400
        assert said.error == {**error, "message": "no such thing, [redacted]"}
        assert said.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("body", "status", "param", "words"), [
    (b"{", 400, None, "no JSON"),
    (b"[]", 400, None, "must be a JSON object"),
    (b"[" * 1000, 400, None, "Nested deeper"),
    ({}, 400, "model", "must be the name of a model"),
    ({"model": 5}, 400, "model", "must be the name of a model"),
    ({**CHAT, "stream": "yes"}, 400, "stream", "must be true or false"),
    ({**CHAT, "api_base": "http://evil"}, 400, "api_base", "the gateway alone chooses"),
    ({**CHAT, "extra_headers": {}}, 400, "extra_headers", "the gateway alone chooses"),
    ({**CHAT, "model": "unheard"}, 404, "model", "is not served here"),
    (b" " * 5000 + b"{}", 413, None, "larger than 4,096 bytes"),
])  # fmt: skip
async def test_what_is_no_call_is_refused_in_words_and_nobody_is_asked(
    tmp_path: Path, body: Any, status: int, param: str | None, words: str
) -> None:
    async with house(tmp_path, max_body_bytes=4096) as here:
        said = await here.ask("POST", PATH, key=await here.key(), body=body)
        assert (said.status, said.error["param"]) == (status, param)
        assert words in said.error["message"]
        assert not here.asked


@pytest.mark.parametrize(("headers", "target", "status", "code"), [
    ({"content-type": "text/plain"}, PATH, 415, "unsupported_media_type"),
    ({"content-type": "application/x-www-form-urlencoded"}, PATH, 415, "unsupported_media_type"),
    ({"content-encoding": "gzip"}, PATH, 415, "unsupported_media_type"),
    ({"origin": "https://evil.example"}, PATH, 403, "origin_not_allowed"),
    ({"origin": "null"}, PATH, 403, "origin_not_allowed"),
    ({"host": "evil.example"}, PATH, 403, "host_not_allowed"),
    ({}, f"{PATH}?api_key=x", 400, None),
    ({}, "/v1/nothing", 404, "not_found"),
    ({}, "/v1/chat/completions/", 404, "not_found"),
])  # fmt: skip
async def test_what_comes_by_another_way_is_refused(
    tmp_path: Path, headers: dict[str, str], target: str, status: int, code: str | None
) -> None:
    async with house(tmp_path) as here:
        said = await here.ask("POST", target, key=await here.key(), body=CHAT, headers=headers)
        assert (said.status, said.error["code"]) == (status, code)
        assert not here.asked
        assert "access-control-allow-origin" not in said.headers


async def test_origins_and_hosts_that_are_named_may_come(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER), origins=("https://chat.example",), hosts=("ai.example",)) as here:
        headers = {"origin": "https://chat.example", "host": "AI.example:4000"}
        assert (await here.ask("POST", PATH, key=await here.key(), body=CHAT, headers=headers)).status == 200
    async with house(tmp_path, host="0.0.0.0") as here:  # noqa: S104 - nothing is bound
        headers = {"host": "whatever.example"}
        assert (await here.ask("GET", "/health", headers=headers)).status == 200


async def test_a_wrong_method_is_told_the_right_ones(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        said = await here.ask("GET", PATH, key=await here.key())
        assert (said.status, said.headers["allow"]) == (405, "POST")
        assert (await here.ask("PUT", "/v1/models", key=await here.key())).headers["allow"] == "GET, HEAD"


async def test_limits_and_budgets_are_told_with_the_time_to_wait(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER), http(200, ANSWER), http(200, ANSWER)) as here:
        once = await here.key(rpm=1)
        assert (await here.ask("POST", PATH, key=once, body=CHAT)).status == 200
        said = await here.ask("POST", PATH, key=once, body=CHAT)
        assert (said.status, said.error["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(said.headers["retry-after"]) <= 60
        assert "1 request a minute (rpm) of the key ci" in said.error["message"]
        poor = await here.key(budget=NANO // 2, period="day")
        assert (await here.ask("POST", PATH, key=poor, body=CHAT)).status == 200
        while (said := await here.ask("POST", PATH, key=poor, body=CHAT)).status == 200:
            here.script.append(http(200, {**ANSWER, "usage": {"prompt_tokens": 200, "completion_tokens": 10}}))
        assert (said.status, said.error["code"]) == (429, "insufficient_quota")
        assert "$0.50 a day" in said.error["message"]
        assert (
            sum(row.money for row in await here.store.rows(since=0, until=FUTURE, limit=99, key="key_2")) <= NANO // 2
        )


async def test_a_key_with_a_budget_needs_a_bound(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        body = {name: value for name, value in CHAT.items() if name != "max_tokens"}
        said = await here.ask("POST", PATH, key=await here.key(budget=NANO), body=body)
        assert said.status == 400
        assert "max_tokens" in said.error["message"]
        assert not here.asked


async def test_a_key_uses_only_its_models_and_endpoints(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER)) as here:
        key = await here.key(models=("x*",), endpoints=("chat/*",))
        assert (await here.ask("POST", PATH, key=key, body=CHAT)).error["code"] == "model_not_allowed"
        assert (await here.ask("POST", "/v1/embeddings", key=key, body=CHAT)).error["code"] == "endpoint_not_allowed"
        assert (await here.ask("GET", "/v1/models", key=key)).json["data"] == []
        assert (await here.ask("GET", "/v1/models/m", key=key)).status == 404


async def test_models_are_listed_and_shown_by_names_with_slashes_too(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        key = await here.key()
        assert [model["id"] for model in (await here.ask("GET", "/v1/models", key=key)).json["data"]] == ["m"]
        assert (await here.ask("GET", "/v1/models/m", key=key)).json["owned_by"] == "up"
        said = await here.ask("GET", "/v1/models/a%2Fb/c", key=key)
        assert (said.status, said.error["code"]) == (404, "model_not_found")
        assert "'a/b/c'" in said.error["message"]


@pytest.mark.parametrize("phase", ["before the head", "in a stream", "waiting for a whole answer"])
async def test_a_client_that_leaves_ends_its_call_upstream_and_the_call_has_its_row(tmp_path: Path, phase: str) -> None:
    head, _, event = sse(delta("Hel"), done=False).partition(b"\r\n\r\n")
    chunked = head.replace(b"connection: close", b"transfer-encoding: chunked")
    begun = b"%s\r\n\r\n%x\r\n%s\r\n" % (chunked, len(event), event)
    answers = (begun, None) if phase == "in a stream" else (None,)
    async with house(tmp_path, *answers) as here:
        key = await here.key(budget=NANO)
        async with here.connection() as stream:
            body = {**CHAT, "stream": phase != "waiting for a whole answer"}
            await stream.send_all(request("POST", PATH, key=key, body=body))
            await here.came.wait()
            if phase == "in a stream":
                said = b""
                while b"Hel" not in said:
                    said += await stream.receive_some()
        await here.left.wait()
        (row,) = await rows(here)
        assert row.status == 499
        assert (await here.store.spent([await limits_of(here)]))["key key_1"] == row.money > 0


async def limits_of(here: House) -> Any:
    (key,) = await here.store.keys()
    return key.limits


async def test_while_it_drains_no_work_is_taken_and_readiness_says_so(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        key = await here.key()
        assert (await here.ask("GET", "/health/readiness")).json == {"status": "ready"}
        here.app.draining = True
        for said in (await here.ask("GET", "/health/readiness"), await here.ask("POST", PATH, key=key, body=CHAT)):
            assert (said.status, said.error["code"]) == (503, "shutting_down")
            assert said.headers["retry-after"] == "1"
        for path in ("/health", "/health/liveness", "/health/liveliness"):
            assert (await here.ask("GET", path)).json == {"status": "ok"}


async def test_without_keys_whoever_reaches_it_may_call(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER), no_auth=True) as here:
        assert (await here.ask("POST", PATH, body=CHAT)).status == 200
        assert (await here.ask("GET", "/admin/keys")).status == 403
        (row,) = await rows(here)
        assert row.key == ""


async def test_a_repaired_parameter_is_reported(tmp_path: Path) -> None:
    refusal = {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens", "code": "unsupported_parameter"}
    async with house(tmp_path, http(400, {"error": {**refusal, "type": "x"}}), http(200, ANSWER), repair=True) as here:
        said = await here.ask("POST", PATH, key=await here.key(), body=CHAT)
        assert said.status == 200
        assert "max_completion_tokens" in said.headers["x-gateway-warnings"]


def all_of(said: Answered) -> str:
    return f"{said.headers} {said.body!r}"


def kept_in(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.iterdir())


async def test_no_key_shows_in_anything_that_the_service_says_or_keeps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quote = {"error": {"message": f"Incorrect key {UPSTREAM_KEY}", "type": UPSTREAM_KEY, "param": None, "code": None}}
    async with house(tmp_path, http(401, quote), http(500, quote), http(200, quote)) as here:
        key = await here.key()
        shown = [all_of(await here.ask("POST", PATH, key=key, body=CHAT)) for _ in range(3)]
        shown.append(all_of(await here.ask("POST", PATH, key=key[:-1] + "_", body=CHAT)))
        shown.append(all_of(await here.ask("GET", "/metrics")))
    kept = kept_in(tmp_path)
    for secret in (key, UPSTREAM_KEY):
        assert secret not in "".join(shown) + caplog.text
        assert secret.encode() not in kept


SAID = ("x-ratelimit-limit-requests: 500", "x-ratelimit-remaining-tokens: 29970", "x-ratelimit-reset-tokens: 6m0s")
STRANGE = ("x-ratelimit-reset-requests: <script>", "x-ratelimit-secret: 1", "set-cookie: a=b")


async def test_a_key_without_limits_is_told_the_providers_own(tmp_path: Path) -> None:
    whole = http(200, ANSWER, *SAID, *STRANGE)
    stream = sse(delta("Hi"), delta(None, "stop")).replace(b"\r\n\r\n", f"\r\n{SAID[0]}\r\n\r\n".encode(), 1)
    async with house(tmp_path, whole, stream, whole) as here:
        key, limited = await here.key(), await here.key(rpm=7)
        said = (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).headers
        assert {name: value for name, value in said.items() if name.startswith("x-ratelimit")} == {
            name: value for name, _, value in (line.partition(": ") for line in SAID)
        }
        assert "set-cookie" not in said
        streamed = await here.ask("POST", "/v1/chat/completions", key=key, body={**CHAT, "stream": True})
        assert streamed.headers["x-ratelimit-limit-requests"] == "500"
        own = (await here.ask("POST", "/v1/chat/completions", key=limited, body=CHAT)).headers
        assert (own["x-ratelimit-limit-requests"], "x-ratelimit-reset-tokens" in own) == ("7", False)
