"""The merged list of models."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Gateway, GatewayError, Kind, Model, open_gateway
from openai_gateway.engine.catalogue import merge
from openai_gateway.routing.plan import RouteTable
from tests.gateway_engine.scripted import CANARY, Answer, Script, provider, refusal, row, settings, two_providers, whole


def listing(*entries: Any, **more: Any) -> Answer:
    return whole(body=(json.dumps({"object": "list", "data": entries}).encode(),), **more)


def ids(models: tuple[Model, ...]) -> list[str]:
    return [model.id for model in models]


def test_rows_give_their_names_to_what_the_providers_list() -> None:
    table = RouteTable(
        rows=(
            row("openai/*", "one", model="*"),
            row("claude-*", "two", model="claude-*"),
            row("fast", "one", model="a"),
            row("*", "one", model="*"),
            row("any-*", "one", model="a"),
        )
    )
    listed = {"one": ({"id": "a", "owned_by": "them", "created": 5, "x": 1}, {"id": "b"}), "two": ({"id": "claude-x"},)}

    models = merge(table, listed)

    assert ids(models) == ["fast", "openai/a", "openai/b", "claude-x", "a", "b"]
    assert models[0] == Model(
        id="fast",
        owned_by="them",
        created=5,
        raw={"object": "model", "id": "fast", "owned_by": "them", "created": 5, "x": 1},
    )
    assert (models[2].owned_by, models[2].created) == ("one", 0)


def test_a_name_of_the_table_is_listed_even_if_its_provider_does_not_list_it() -> None:
    assert ids(merge(RouteTable(rows=(row("m"),)), {"one": ({"id": "else"},)})) == ["m"]


async def test_the_list_is_kept_for_its_time(autojump_clock: MockClock) -> None:
    script = Script(listing({"id": "a"}), listing({"id": "b"}))
    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        assert gateway.known_models() is None
        assert ids(await gateway.models()) == ["a"]
        await trio.sleep(299)
        assert ids(await gateway.models()) == ["a"]
        await trio.sleep(2)
        assert ids(gateway.known_models() or ()) == ["a"]
        assert ids(await gateway.models()) == ["b"]

    assert [str(request.url) for request in script.requests] == ["https://one.example/v1/models"] * 2


async def test_many_askers_make_one_request(autojump_clock: MockClock) -> None:
    script = Script(listing({"id": "a"}, before=(3.0,)))
    found: list[list[str]] = []

    async def ask(gateway: Gateway) -> None:
        found.append(ids(await gateway.models()))

    made = settings(row("*", model="*"))
    async with open_gateway(made, transport=script) as gateway, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, gateway)

    assert found == [["a"]] * 20
    assert len(script.requests) == 1


async def test_many_askers_share_one_failure_and_the_next_asks_anew(autojump_clock: MockClock) -> None:
    script = Script(refusal(500), listing({"id": "a"}))
    errors: list[GatewayError] = []

    async def ask(gateway: Gateway) -> None:
        try:
            await gateway.models()
        except GatewayError as error:
            errors.append(error)

    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, gateway)

        assert len(errors) == 5
        assert len({id(error) for error in errors}) == 5
        assert len(script.requests) == 1
        assert ids(await gateway.models()) == ["a"]


async def test_providers_are_asked_side_by_side_and_one_may_fail(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    by_host = {"one.example": listing({"id": "a"}, before=(5.0,)), "two.example": refusal(500, "down")}
    script = ByHost(by_host)
    async with open_gateway(two_providers(), transport=script) as gateway:
        models = await gateway.models()

    assert ids(models) == ["m"]
    assert trio.current_time() == pytest.approx(5)
    assert ["down" in record.message for record in caplog.records] == [True]


async def test_a_list_that_lacks_a_provider_is_kept_only_briefly(autojump_clock: MockClock) -> None:
    script = ByHost({"one.example": listing({"id": "a"}), "two.example": refusal(500)})
    made = settings(row("*", model="*"), row("*", "two", model="*"), providers=(provider("one"), provider("two")))
    async with open_gateway(made, transport=script) as gateway:
        assert ids(await gateway.models()) == ["a"]
        script.become("two.example", listing({"id": "b"}))
        await trio.sleep(29)
        assert ids(await gateway.models()) == ["a"]
        await trio.sleep(2)
        assert ids(await gateway.models()) == ["a", "b"]
        await trio.sleep(299)
        assert ids(await gateway.models()) == ["a", "b"]

    assert len(script.requests) == 4


async def test_a_provider_that_cannot_be_asked_at_all_makes_no_list_short_lived(autojump_clock: MockClock) -> None:
    script = Script(listing({"id": "a"}))
    lacking = provider("two", missing="KEY is not set.")
    made = settings(row("*", model="*"), row("*", "two", model="*"), providers=(provider("one"), lacking))
    async with open_gateway(made, transport=script) as gateway:
        await gateway.models()
        await trio.sleep(299)
        assert ids(await gateway.models()) == ["a"]


async def test_a_list_shows_no_key_of_ours_and_leaves_names_as_they_are(autojump_clock: MockClock) -> None:
    script = Script(listing({"id": "xai-grok-2-latest", "owned_by": f"him of {CANARY}", f"x {CANARY}": [CANARY]}))
    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        (model,) = await gateway.models()

    assert (model.id, model.owned_by) == ("xai-grok-2-latest", "him of [redacted]")
    assert CANARY not in str(model.raw)


async def test_a_list_past_its_limit_is_cut_off(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b" " * 2**20,) * 10))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError, match="larger than 8 MiB"):
            await gateway.models()

    assert script.log[-1] == "closed 0"


class ByHost(Script):
    """A script that answers by host, whoever asks first."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__()
        self._by_host = answers

    def become(self, host: str, answer: Answer) -> None:
        self._by_host[host] = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.answers.append(self._by_host[request.url.host])
        return await super().handle_async_request(request)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(401), Kind.CREDENTIALS_REJECTED),
        (whole(body=(b"<html>",)), Kind.UPSTREAM),
        (whole(body=(b'{"data": {}}',)), Kind.UPSTREAM),
        (whole(body=(b"[]",)), Kind.UPSTREAM),
        (whole(body=(b'["a"]',)), Kind.UPSTREAM),
        (whole(body=(b'{"error": {"message": "slow down", "code": 429}}',)), Kind.RATE_LIMITED),
        (Answer(before=(httpx.ReadError(""),)), Kind.NETWORK),
        (Answer(before=(float("inf"),)), Kind.FIRST_BYTE_TIMEOUT),
    ],
)
async def test_without_any_answer_the_first_failure_is_told(
    autojump_clock: MockClock, answer: Answer, kind: Kind
) -> None:
    async with open_gateway(settings(), transport=Script(answer)) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.models()

    assert caught.value.kind is kind


async def test_a_bare_list_is_a_list_too(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b'[{"id": "a"}]',)))
    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        assert ids(await gateway.models()) == ["a"]


async def test_null_is_a_list_without_models(autojump_clock: MockClock) -> None:
    script = Script(whole(body=(b'{"object": "list", "data": null}',)))
    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        assert await gateway.models() == ()


async def test_a_date_to_come_back_at_is_told_as_seconds(autojump_clock: MockClock) -> None:
    script = Script(refusal(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.models()

    assert caught.value.retry_after == 0


async def test_an_unreadable_refusal_is_told_by_its_status(autojump_clock: MockClock) -> None:
    script = Script(Answer(status=401, headers={"content-encoding": "gzip"}, body=(b"x",)))
    async with open_gateway(settings(), transport=script) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.models()

    assert caught.value.kind is Kind.CREDENTIALS_REJECTED


async def test_entries_that_are_no_models_are_passed_over(autojump_clock: MockClock) -> None:
    script = Script(listing(5, {"id": None}, {"id": "a", "created": True}))
    async with open_gateway(settings(row("*", model="*")), transport=script) as gateway:
        assert [(model.id, model.created) for model in await gateway.models()] == [("a", 0)]


@pytest.mark.parametrize(
    "lacking", [provider(missing="KEY is not set."), provider(kind="azzure")], ids=["no key", "no kind"]
)
async def test_a_provider_that_cannot_be_called_says_why(lacking: Any) -> None:
    async with open_gateway(settings(row(), providers=(lacking,)), transport=Script()) as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.models()

    assert caught.value.kind is Kind.CONFIGURATION


def test_a_list_without_end_is_read_once_for_all_rows() -> None:
    """What looks through it for each row is at it for hours."""
    rows = tuple(row(f"m{number}", "one", model=f"m{number}") for number in range(20_000))
    listed = tuple({"id": f"x{number}"} for number in range(400_000))
    first_counts = ({"id": "m1", "x": 1}, {"id": "m1", "x": 2})
    models = merge(RouteTable(rows=rows), {"one": (*listed, *first_counts)})
    assert len(models) == 20_000
    assert models[1].raw["x"] == 1
