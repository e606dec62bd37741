"""A reload swaps one snapshot for another; what is under way ends on the old one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Chunk, Finished, Gateway, GatewayError, Settings, open_gateway
from openai_gateway.routing.settings import Retries
from openai_gateway.secret import Secret
from tests.gateway_engine.loopback import HEAD, Connection, Loopback, framed, loopback, whole_answer
from tests.gateway_engine.scripted import (
    CANARY,
    DONE,
    STOP,
    Answer,
    Script,
    ask,
    chunk,
    provider,
    refusal,
    row,
    settings,
    stream,
    whole,
)

OLD = settings(row(), retries=Retries(max_retries=3))
NEW = settings(row(provider="two"), providers=(provider("two", api_key=Secret("new-key-0000", name="NEW")),))
ANSWER = whole_answer(json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": {}}]}).encode())


ELSEWHERE = settings(row(provider="echo"), providers=(provider("echo", kind="echo"),))


def hosts(script: Script) -> list[str]:
    return [request.url.host for request in script.requests]


def listing(*names: str) -> Answer:
    return Answer(body=(json.dumps({"data": [{"id": name} for name in names]}).encode(),))


@asynccontextmanager
async def gateway_over(script: Script, before: Settings = OLD) -> AsyncIterator[Gateway]:
    async with open_gateway(before, transport=script, random=lambda: 0.5) as gateway:
        yield gateway


async def test_calls_that_begin_after_a_reload_go_where_the_new_table_says(autojump_clock: MockClock) -> None:
    script = Script(whole(), whole())
    async with gateway_over(script) as gateway:
        await gateway.call(ask())
        await gateway.reload(NEW)
        await gateway.call(ask())
        assert gateway.settings is NEW

    assert hosts(script) == ["one.example", "two.example"]
    assert [request.headers["authorization"] for request in script.requests] == [
        f"Bearer {CANARY}",
        "Bearer new-key-0000",
    ]


async def test_a_call_that_waits_to_retry_retries_on_the_old_target_and_with_its_old_budget(
    autojump_clock: MockClock,
) -> None:
    script = Script(refusal(500), refusal(500), whole("late"))
    async with gateway_over(script) as gateway, trio.open_nursery() as nursery:

        async def old_call() -> None:
            reply = await gateway.call(ask())
            assert (reply.served.target, reply.served.attempts) == ("one/m-at-one", 3)

        nursery.start_soon(old_call)
        await trio.testing.wait_all_tasks_blocked()
        assert hosts(script) == ["one.example"]
        await gateway.reload(attrs.evolve(NEW, retries=Retries(max_retries=0)))

    assert hosts(script) == ["one.example"] * 3


async def test_a_stream_ends_where_it_began(autojump_clock: MockClock) -> None:
    script = Script(stream(chunk("a"), 5.0, chunk("b"), STOP, DONE), stream(chunk("c"), STOP, DONE))
    async with gateway_over(script) as gateway:
        async with gateway.stream(ask()) as parts:
            first = await anext(parts)
            await gateway.reload(NEW)
            rest = [part async for part in parts]
        async with gateway.stream(ask()) as parts:
            after = [part async for part in parts]

    texts = [part.json["choices"][0]["delta"].get("content") for part in (first, *rest) if isinstance(part, Chunk)]
    assert texts[:2] == ["a", "b"]
    assert [part.served.target for part in (*rest, *after) if isinstance(part, Finished)] == [
        "one/m-at-one",
        "two/m-at-two",
    ]


async def test_what_an_old_call_says_hides_the_old_key(autojump_clock: MockClock) -> None:
    script = Script(attrs.evolve(refusal(400, f"no, {CANARY}"), before=(5.0,)))
    async with gateway_over(script) as gateway, trio.open_nursery() as nursery:

        async def old_call() -> None:
            with pytest.raises(GatewayError) as caught:
                await gateway.call(ask())
            assert CANARY not in str(caught.value)
            assert "[redacted]" in str(caught.value)

        nursery.start_soon(old_call)
        await trio.testing.wait_all_tasks_blocked()
        await gateway.reload(NEW)


async def test_a_refused_credential_is_forgotten_by_a_reload(autojump_clock: MockClock) -> None:
    both = settings(
        row(order=1),
        row(provider="two", order=2),
        providers=(provider("one"), provider("two", api_key=Secret("other-key-000", name="K"))),
    )
    script = Script(refusal(401), whole(), whole(), whole())
    async with gateway_over(script, both) as gateway:
        await gateway.call(ask())
        await gateway.call(ask())
        await gateway.reload(both)
        await gateway.call(ask())

    assert hosts(script) == ["one.example", "two.example", "two.example", "one.example"]


async def test_the_model_list_of_the_old_table_is_not_shown_any_more(autojump_clock: MockClock) -> None:
    old, new = settings(row("*", model="*")), settings(row("new-*", "two", model="*"), providers=(provider("two"),))
    script = Script(listing("a"), listing("b"))
    async with gateway_over(script, old) as gateway:
        assert [model.id for model in await gateway.models()] == ["a"]
        await gateway.reload(new)
        assert gateway.known_models() is None
        assert [model.id for model in await gateway.models()] == ["new-b"]


async def test_a_list_that_was_being_fetched_is_the_old_callers_alone(autojump_clock: MockClock) -> None:
    old, new = settings(row("*", model="*")), settings(row("*", "two", model="*"), providers=(provider("two"),))
    script = Script(Answer(before=(5.0,), body=listing("a").body), listing("b"))
    async with gateway_over(script, old) as gateway, trio.open_nursery() as nursery:

        async def old_caller() -> None:
            assert [model.id for model in await gateway.models()] == ["a"]

        nursery.start_soon(old_caller)
        await trio.testing.wait_all_tasks_blocked()
        await gateway.reload(new)
        assert [model.id for model in await gateway.models()] == ["b"]
        await trio.sleep(10)
        assert [model.id for model in gateway.known_models() or ()] == ["b"]


async def test_a_reload_that_is_cancelled_has_been_done(autojump_clock: MockClock) -> None:
    async with gateway_over(Script(whole())) as gateway:
        with trio.CancelScope() as scope:
            scope.cancel()
            await gateway.reload(NEW)
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        await gateway.call(ask())
        assert gateway.settings is NEW


# --- connections, over real sockets: only the order of things is asserted -----------------------------------------


async def answers_each(connection: Connection) -> None:
    while await connection.request():
        await connection.stream.send_all(ANSWER)
    connection.gone.set()


def at(server: Loopback, name: str = "one", **more: object) -> Settings:
    found = provider(name, base_url=server.base_url, **more)
    return settings(row(provider=name), providers=(found,), retries=Retries(max_retries=0))


async def test_connections_stay_where_only_the_key_is_another() -> None:
    async with loopback(answers_each) as server, open_gateway(at(server)) as gateway:
        await gateway.call(ask())
        await gateway.reload(at(server, api_key=Secret("rotated-key-00", name="K")))
        await gateway.call(ask())
        assert len(server.connections) == 1


@pytest.mark.parametrize("change", [{"certificates": "renewed"}, {"ca_bundle": "/another.pem"}])
async def test_other_certificates_want_new_connections_and_close_the_old(change: dict[str, str]) -> None:
    async with loopback(answers_each) as server, open_gateway(at(server)) as gateway:
        await gateway.call(ask())
        await gateway.reload(at(server, **change))
        with trio.fail_after(5):
            await server.connections[0].gone.wait()
        await gateway.call(ask())
        assert len(server.connections) == 2


async def test_the_connections_of_a_provider_that_is_gone_are_closed() -> None:
    async with loopback(answers_each) as server, open_gateway(at(server)) as gateway:
        await gateway.call(ask())
        await gateway.reload(ELSEWHERE)
        with trio.fail_after(5):
            await server.connections[0].gone.wait()


async def test_old_connections_are_closed_with_the_last_call_that_uses_them() -> None:
    may_go_on = trio.Event()

    async def streams_when_told(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(HEAD + framed(chunk("Hi")))
        await may_go_on.wait()
        await connection.stream.send_all(framed(STOP) + framed(DONE) + b"0\r\n\r\n")
        await connection.until_gone()

    async with loopback(streams_when_told) as server, open_gateway(at(server)) as gateway:
        async with gateway.stream(ask()) as parts:
            await anext(parts)
            await gateway.reload(ELSEWHERE)
            await gateway.reload(ELSEWHERE)
            may_go_on.set()
            assert isinstance([part async for part in parts][-1], Finished)
        with trio.fail_after(5):
            await server.connections[0].gone.wait()


async def test_a_cancelled_call_on_an_old_snapshot_leaves_no_connection() -> None:
    async def silent(connection: Connection) -> None:
        await connection.request()
        await connection.until_gone()

    async with loopback(silent) as server, open_gateway(at(server)) as gateway:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.call, ask())
            await server.served.wait()
            await gateway.reload(ELSEWHERE)
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await server.connections[0].gone.wait()
        assert gateway._leaving == []
