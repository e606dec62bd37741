"""What follows from each failure: the same target again, another one, or the error."""

from __future__ import annotations

import json

import httpx
import pytest
from trio.testing import MockClock

from openai_gateway import GatewayError, Kind, Settings, engine, open_gateway
from openai_gateway.engine.upstream import MAX_ERROR_BYTES
from openai_gateway.routing.plan import Price, Provider, RouteTable
from openai_gateway.routing.settings import Retries
from tests.gateway_engine.scripted import (
    CANARY,
    FOREVER,
    Answer,
    Script,
    ask,
    provider,
    refusal,
    row,
    settings,
    two_providers,
    whole,
)


def middle() -> float:
    """A random source without surprises."""
    return 0.0


def gaps(script: Script) -> list[float]:
    return [round(after - before, 3) for before, after in zip(script.times, script.times[1:], strict=False)]


@pytest.mark.parametrize(
    "failing",
    [
        refusal(500),
        refusal(503),
        refusal(408),
        Answer(connect=httpx.ConnectError("refused")),
        Answer(before=(httpx.ReadError("reset"),)),
        whole(body=(b'{"id"', httpx.RemoteProtocolError("peer closed connection"))),
    ],
    ids=["500", "503", "408", "no connection", "reset before the head", "cut in the body"],
)
async def test_a_passing_failure_is_tried_again_with_growing_pauses(autojump_clock: MockClock, failing: Answer) -> None:
    script = Script(failing, failing, failing, whole())
    async with open_gateway(settings(), transport=script, random=middle) as gateway:
        reply = await gateway.call(ask())

    assert reply.served.attempts == 4
    assert gaps(script) == [0.5, 1.0, 2.0]


async def test_the_wait_that_the_upstream_asks_for_is_kept_exactly(autojump_clock: MockClock) -> None:
    script = Script(refusal(429, headers={"retry-after": "17"}), whole())
    async with open_gateway(settings(), transport=script) as gateway:
        await gateway.call(ask())

    assert gaps(script) == [17.0]


async def test_a_wait_that_does_not_fit_the_deadline_sends_the_call_on_at_once(autojump_clock: MockClock) -> None:
    script = Script(refusal(429, headers={"retry-after": "3600"}), whole())
    async with open_gateway(two_providers(), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert gaps(script) == [0.0]
    assert reply.served.target == "two/m-at-two"


async def test_after_all_attempts_the_upstreams_own_error_is_told(autojump_clock: MockClock) -> None:
    script = Script(*[refusal(503, "try later", code="busy")] * 3)
    async with open_gateway(settings(retries=Retries(max_retries=2)), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert (caught.value.status, caught.value.message, caught.value.code) == (503, "try later", "busy")
    assert len(script.requests) == 3


async def test_a_silent_target_is_not_asked_again_but_the_next_one_is(autojump_clock: MockClock) -> None:
    script = Script(whole(before=(FOREVER,)), whole())
    async with open_gateway(two_providers(), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert reply.served.target == "two/m-at-two"
    assert reply.served.first_byte == pytest.approx(30)
    assert [request.url.host for request in script.requests] == ["one.example", "two.example"]
    assert script.log.index("closed 0") < script.log.index("asked 1")


async def test_a_refused_credential_sends_later_calls_elsewhere_first(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(refusal(401), whole(), whole())
    async with open_gateway(two_providers(), transport=script) as gateway:
        first = await gateway.call(ask())
        second = await gateway.call(ask())

    assert (first.served.attempts, second.served.attempts) == (2, 1)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "The provider one refuses its credential; until it takes it again, it is asked last."
    ]


async def test_a_provider_that_takes_its_credential_again_has_its_old_place_again(autojump_clock: MockClock) -> None:
    script = Script(refusal(402), whole(), refusal(503), whole(), whole())
    async with open_gateway(two_providers(retries=Retries(max_retries=0)), transport=script) as gateway:
        served = [(await gateway.call(ask())).served.target for _ in range(3)]

    assert [request.url.host.split(".")[0] for request in script.requests] == ["one", "two", "two", "one", "one"]
    assert served == ["two/m-at-two", "one/m-at-one", "one/m-at-one"]


async def test_a_credential_that_is_refused_again_and_again_is_warned_of_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_gateway(settings(), transport=Script(refusal(401), refusal(401))) as gateway:
        for _ in range(2):
            with pytest.raises(GatewayError):
                await gateway.call(ask())

    assert [record.levelname for record in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize("reason", ["error", "abort"])
async def test_an_answer_that_the_server_ended_is_no_whole_one(autojump_clock: MockClock, reason: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hel"}, "finish_reason": reason}
    script = Script(whole(body=(json.dumps({"choices": [choice]}).encode(),)), whole())
    async with open_gateway(settings(), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert (reply.served.attempts, reply.served.finish_reason) == (2, "stop")


async def test_a_repair_that_helped_is_remembered(autojump_clock: MockClock) -> None:
    complaint = refusal(400, "Unsupported parameter: 'temperature'", param="temperature", code="unsupported_parameter")
    script = Script(complaint, whole(), whole())
    async with open_gateway(settings(), transport=script) as gateway:
        first = await gateway.call(ask(repair=True, body={"temperature": 0.5}))
        second = await gateway.call(ask(repair=True, body={"temperature": 0.5}))

    assert ["temperature" in body for body in script.bodies] == [True, False, False]
    assert first.served.warnings == second.served.warnings != ()


async def test_repairs_that_helped_are_remembered_beside_each_other(autojump_clock: MockClock) -> None:
    def complaint(name: str) -> Answer:
        return refusal(400, f"Unsupported parameter: '{name}'", param=name, code="unsupported_parameter")

    script = Script(complaint("temperature"), whole(), complaint("top_p"), whole(), whole())
    async with open_gateway(settings(), transport=script) as gateway:
        for body in ({"temperature": 0.5}, {"top_p": 0.5}, {"temperature": 0.5, "top_p": 0.5}):
            await gateway.call(ask(repair=True, body=body))

    assert len(script.requests) == 5
    assert not {"temperature", "top_p"} & script.bodies[-1].keys()


async def test_no_more_repairs_are_remembered_than_a_bound(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.router, "_MAX_REPAIRED", 2)
    complaint = refusal(400, "Unsupported parameter: 'temperature'", param="temperature", code="unsupported_parameter")
    script = Script(complaint, whole(), complaint, whole(), whole(), complaint, whole(), whole(), complaint, whole())
    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        served = [
            (await gateway.call(ask(model=model, repair=True, body={"temperature": 0.5}))).served.attempts
            for model in ("a", "b", "a", "c", "a", "b")
        ]

    assert served == [2, 2, 1, 2, 1, 2]


@pytest.mark.parametrize("body", [b"{}", b'{"success": false, "errors": []}', b'{"choices": "none"}'])
async def test_an_answer_without_choices_is_none(autojump_clock: MockClock, body: bytes) -> None:
    script = Script(whole(body=(body,)), whole())
    async with open_gateway(two_providers(), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert reply.served.target == "two/m-at-two"


async def test_an_endpoint_without_choices_may_answer_without(autojump_clock: MockClock) -> None:
    async with open_gateway(settings(), transport=Script(whole(body=(b'{"data": []}',)))) as gateway:
        assert (await gateway.call(ask(endpoint="embeddings"))).json == {"data": []}


async def test_what_the_upstream_says_of_itself_is_shown_without_a_secret_and_not_at_any_length(
    autojump_clock: MockClock,
) -> None:
    long = f"{CANARY} " + "x" * 5000
    body = {"model": long, "choices": [{"message": {"content": "x"}, "finish_reason": long}]}
    headers = {"content-type": "application/json", "x-request-id": long}
    script = Script(whole(body=(json.dumps(body).encode(),), headers=headers))
    async with open_gateway(settings(), transport=script) as gateway:
        served = (await gateway.call(ask())).served

    for shown in (served.request_id, served.model, served.finish_reason):
        assert shown is not None
        assert shown.startswith("[redacted] xxx")
        assert len(shown) <= 201


async def test_a_model_name_with_the_shape_of_a_key_is_shown(autojump_clock: MockClock) -> None:
    body = {"model": "xai-grok-2-latest", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    async with open_gateway(settings(), transport=Script(whole(body=(json.dumps(body).encode(),)))) as gateway:
        assert (await gateway.call(ask())).served.model == "xai-grok-2-latest"


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (provider(missing="KEY is not set."), "KEY is not set."),
        (provider(kind="x"), "There is no kind of provider 'x'; known are openai, azure, anthropic, echo."),
    ],
    ids=["no key", "no kind"],
)
async def test_a_provider_that_cannot_be_called_says_why(lacking: Provider, words: str) -> None:
    async with open_gateway(settings(providers=(lacking,)), transport=Script()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert (caught.value.kind, str(caught.value)) == (Kind.CONFIGURATION, f"one/m-at-one cannot be called: {words}")


async def test_a_refused_request_is_told_at_once(autojump_clock: MockClock) -> None:
    script = Script(refusal(400, "bad thing", param="messages"))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert (caught.value.kind, caught.value.param) == (Kind.INVALID_REQUEST, "messages")


@pytest.mark.parametrize(
    "answer",
    [
        whole(body=(b"<html>",)),
        whole(body=(b"[1]",)),
        whole(body=(b"",)),
        whole(headers={"content-encoding": "gzip"}),
        Answer(before=(httpx.RemoteProtocolError("illegal status line"),)),
    ],
    ids=["html", "no object", "empty", "compressed", "no HTTP"],
)
async def test_an_answer_that_is_none_is_no_success(autojump_clock: MockClock, answer: Answer) -> None:
    script = Script(answer)
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert caught.value.kind is Kind.UPSTREAM
    assert script.log[-1] == "closed 0"


async def test_a_redirect_is_not_followed(autojump_clock: MockClock) -> None:
    script = Script(Answer(status=307, headers={"location": "https://elsewhere.example/"}))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError, match="redirect"):
            await gateway.call(ask())

    assert len(script.requests) == 1


async def test_an_answer_past_its_limit_is_cut_off(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b"x" * 2**20,) * 70))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError, match="larger than 64 MiB"):
            await gateway.call(ask())

    assert sum(line.startswith("sent") for line in script.log) < 70
    assert script.log[-1] == "closed 0"


async def test_an_endless_error_body_is_not_read_to_its_end(autojump_clock: MockClock) -> None:
    piece = b"x" * 2**16
    script = Script(Answer(status=400, body=(piece,) * 100))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError):
            await gateway.call(ask())

    sent = sum(line.startswith("sent") for line in script.log)
    assert sent <= MAX_ERROR_BYTES // len(piece) + 1
    assert script.log[-1] == "closed 0"


@pytest.mark.parametrize("body", [(FOREVER,), (httpx.ReadError("reset"),)], ids=["stalls", "breaks"])
async def test_an_error_whose_body_never_comes_is_told_by_its_status(
    autojump_clock: MockClock, body: tuple[float | Exception]
) -> None:
    async with open_gateway(settings(), transport=Script(Answer(status=422, body=body))) as gateway:
        with pytest.raises(GatewayError, match="422"):
            await gateway.call(ask())


async def test_an_error_whose_body_outlasts_the_call_is_a_timeout(autojump_clock: MockClock) -> None:
    async with open_gateway(settings(), transport=Script(Answer(status=422, body=(FOREVER,)))) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask(deadline=10.0))

    assert caught.value.kind is Kind.TOTAL_TIMEOUT


async def test_an_error_inside_of_a_200_is_an_error(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b'{"error": {"message": "overloaded", "type": "overloaded_error"}}',)), whole())
    async with open_gateway(settings(), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert reply.served.attempts == 2


@pytest.mark.parametrize("died", [httpx.ReadError(""), httpx.RemoteProtocolError("Server disconnected without …")])
async def test_a_kept_connection_that_died_is_replaced_without_a_retry(
    autojump_clock: MockClock, died: Exception
) -> None:
    script = Script(Answer(connect=None, before=(died,)), whole())
    async with open_gateway(settings(retries=Retries(max_retries=0)), transport=script) as gateway:
        reply = await gateway.call(ask())

    assert reply.served.attempts == 1
    assert gaps(script) == [0.0]


async def test_a_connection_is_replaced_only_once(autojump_clock: MockClock) -> None:
    dead = Answer(connect=None, before=(httpx.ReadError(""),))
    script = Script(dead, dead)
    async with open_gateway(settings(retries=Retries(max_retries=0)), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask())

    assert caught.value.kind is Kind.NETWORK
    assert len(script.requests) == 2


async def test_a_connection_that_died_after_the_head_is_not_replaced(autojump_clock: MockClock) -> None:
    script = Script(whole(connect=None, body=(httpx.ReadError(""),)))
    async with open_gateway(settings(retries=Retries(max_retries=0)), transport=script) as gateway:
        with pytest.raises(GatewayError):
            await gateway.call(ask())

    assert len(script.requests) == 1


async def test_a_provider_that_lacks_something_is_passed_over_or_told(autojump_clock: MockClock) -> None:
    lacking = provider("one", missing="ONE_API_KEY is not set.")
    alone = settings(row(), providers=(lacking,))
    async with open_gateway(alone, transport=Script()) as gateway:
        with pytest.raises(GatewayError, match="ONE_API_KEY is not set") as caught:
            await gateway.call(ask())
    assert caught.value.kind is Kind.CONFIGURATION

    both = settings(row(order=1), row(provider="two", order=2), providers=(lacking, provider("two")))
    async with open_gateway(both, transport=Script(whole())) as gateway:
        assert (await gateway.call(ask())).served.target == "two/m-at-two"


async def test_a_kind_that_there_is_not_is_named(autojump_clock: MockClock) -> None:
    async with open_gateway(settings(row(), providers=(provider(kind="azzure"),))) as gateway:
        with pytest.raises(GatewayError, match="azzure"):
            await gateway.call(ask())


async def test_an_empty_table_says_what_to_set() -> None:
    async with open_gateway(Settings(table=RouteTable(missing="Set GATEWAY_URL."))) as gateway:
        with pytest.raises(GatewayError, match="Set GATEWAY_URL"):
            await gateway.call(ask())
        with pytest.raises(GatewayError, match="Set GATEWAY_URL"):
            await gateway.models()


@pytest.mark.parametrize("value", [float("nan"), object()], ids=["NaN", "an object"])
async def test_a_body_that_is_no_json_is_the_callers_error(value: object) -> None:
    async with open_gateway(settings(), transport=Script()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.call(ask(body={"seed": value}))

    assert caught.value.kind is Kind.INVALID_REQUEST


async def test_the_account_tells_who_served_and_what_it_cost(autojump_clock: MockClock) -> None:
    made = settings(row(price=Price(input=1.5, output=10)))
    headers = {"content-type": "application/json", "x-request-id": "req-7"}
    script = Script(whole(headers=headers, connect=1.0, before=(2.0,)))
    async with open_gateway(made, transport=script) as gateway:
        reply = await gateway.call(ask())

    served = reply.served
    assert (served.model, served.target, served.attempts) == ("served-1", "one/m-at-one", 1)
    assert (served.request_id, served.finish_reason, served.warnings) == ("req-7", "stop", ())
    assert served.cost == pytest.approx(21.5)
    assert served.first_byte == pytest.approx(3)
    assert served.elapsed == pytest.approx(3)
    assert reply.json == json.loads(reply.body)


async def test_the_request_is_the_callers_with_the_routes_model_and_key(autojump_clock: MockClock) -> None:
    script = Script(whole())
    async with open_gateway(settings(), transport=script) as gateway:
        await gateway.call(ask(body={"x_unknown": [1, {"y": None}]}))

    (request,) = script.requests
    assert str(request.url) == "https://one.example/v1/chat/completions"
    assert request.headers["authorization"].startswith("Bearer sk-canary")
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("openai-gateway/")
    assert script.bodies[0] == {
        "model": "m-at-one",
        "messages": [{"role": "user", "content": "Hello!"}],
        "x_unknown": [1, {"y": None}],
    }
