"""A call and the model list with a key that is read when they need it."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway import Gateway, GatewayError, Kind, Settings, open_gateway
from openai_gateway.engine.catalogue import TTL, TTL_OF_PART
from openai_gateway.routing.key_source import KeyCommand, KeyFile
from openai_gateway.secret import Redactor
from tests.gateway_engine.scripted import Script, ask, provider, row, settings, whole

CANARY = "late-canary-9876543210zyxwvu"
LIST = whole(body=(b'{"data": [{"id": "m-at-one"}]}',))


def program(code: str) -> KeyCommand:
    return KeyCommand(argv=(sys.executable, "-c", code), set_by="api_key of one")


PRINTS = program(f"print('{CANARY}')")
FAILS = program(f"import sys; print('{CANARY}', file=sys.stderr); sys.exit(2)")
HANGS = program("import time; time.sleep(3600)")


def with_source(source: KeyCommand | KeyFile) -> Settings:
    return settings(providers=(provider(api_key=None, key_source=source),))


def authorizations(script: Script) -> list[str]:
    return [request.headers["authorization"] for request in script.requests]


async def test_a_call_carries_the_key_that_its_source_gives() -> None:
    script = Script(whole(), whole())
    async with open_gateway(with_source(PRINTS), transport=script) as gateway:
        reply = await gateway.call(ask())
        async with gateway.stream(ask()) as parts:
            async for _ in parts:
                pass

    assert authorizations(script) == [f"Bearer {CANARY}"] * 2
    assert reply.served.target == "one/m-at-one"


async def test_the_list_carries_it_too() -> None:
    script = Script(LIST)
    async with open_gateway(with_source(PRINTS), transport=script) as gateway:
        assert [model.id for model in await gateway.models()] == ["m"]

    assert authorizations(script) == [f"Bearer {CANARY}"]


async def test_opening_reads_no_key(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    async with open_gateway(with_source(program(f"open({str(mark)!r}, 'w')")), transport=Script()):
        await trio.testing.wait_all_tasks_blocked()

    assert not mark.exists()


async def test_where_there_is_no_key_the_next_target_is_asked() -> None:
    script = Script(whole())
    one, two = provider("one", api_key=None, key_source=FAILS), provider("two")
    made = settings(row(order=1), row(provider="two", order=2), providers=(one, two))
    async with open_gateway(made, transport=script) as gateway:
        reply = await gateway.call(ask())

    assert reply.served.target == "two/m-at-two"


async def test_where_there_is_none_at_all_the_error_says_what_to_mend() -> None:
    async with open_gateway(with_source(FAILS), transport=Script()) as gateway:
        for attempt in (gateway.call(ask()), gateway.models(), gateway.key_of("one")):
            with pytest.raises(GatewayError) as caught:
                await attempt
            assert caught.value.kind is Kind.CONFIGURATION
            assert f"the command {sys.executable!r} (api_key of one) ended with exit status 2" in caught.value.message
            assert CANARY not in str(caught.value)


async def test_the_time_that_a_key_takes_is_the_calls(mock_clock: MockClock) -> None:
    async with open_gateway(with_source(attrs.evolve(HANGS, timeout=3600)), transport=Script()) as gateway:
        errors: list[GatewayError] = []

        async def call() -> None:
            with pytest.raises(GatewayError) as caught:
                await gateway.call(ask(deadline=5))
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked(0)
            mock_clock.jump(5)

    assert errors[0].kind is Kind.TOTAL_TIMEOUT


async def test_the_key_of_a_provider_can_be_asked_for() -> None:
    made = settings(
        providers=(provider("one", api_key=None, key_source=PRINTS), provider("two"), provider("three", api_key=None))
    )
    async with open_gateway(made, transport=Script()) as gateway:
        found = [await gateway.key_of(name) for name in ("one", "two", "three")]

    assert [key and key.name for key in found] == [PRINTS.name, "KEY_OF_TWO", None]


async def test_the_redactor_that_is_given_learns_what_was_known_and_what_is_read() -> None:
    redactor = Redactor()
    made = settings(providers=(provider("one", api_key=None, key_source=PRINTS),))
    known = provider("two").api_key
    assert known is not None
    made = attrs.evolve(made, secrets=(known,))
    async with open_gateway(made, transport=Script(whole()), redactor=redactor) as gateway:
        assert redactor.strike_known(known.reveal()) != known.reveal()
        assert redactor.strike_known(CANARY) == CANARY
        await gateway.call(ask())
        assert redactor.strike_known(CANARY) != CANARY


@pytest.mark.parametrize(
    ("missing", "source", "kept"), [("it has none", None, TTL), ("", KeyFile(path="/no", name="K", set_by="K"), 30.0)]
)
async def test_a_list_without_one_whose_key_may_be_mended_is_kept_for_a_short_time(
    mock_clock: MockClock, missing: str, source: KeyFile | None, kept: float
) -> None:
    assert TTL_OF_PART == 30.0
    script = Script(LIST, LIST)
    two = provider("two", api_key=None, missing=missing, key_source=source)
    made = settings(row(), row(provider="two"), providers=(provider(), two))
    async with open_gateway(made, transport=script) as ours:
        await list_twice(ours, mock_clock, kept - 1)
        assert len(script.requests) == 1
        await list_twice(ours, mock_clock, 1)
        assert len(script.requests) == 2


async def list_twice(gateway: Gateway, clock: MockClock, later: float) -> None:
    await gateway.models()
    clock.jump(later)
    await gateway.models()
