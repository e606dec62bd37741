"""Which key a call carries when it is read late: shared, kept, renewed, never spoilt by one who gives up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway.engine.keys import LOOK_EVERY, PAUSE, Keys
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import Found
from openai_gateway.routing.key_source import TTL, KeyCommand, KeyFile, KeySource, StoredKey
from openai_gateway.routing.plan import Provider
from openai_gateway.secret import MARK, Redactor, Secret
from tests.gateway_engine.scripted import provider

COMMAND = KeyCommand(argv=("op",), set_by="api_key of one")
STORED = StoredKey(entry="openai", directory="/x", set_by="api_key of one", ttl=60)
FILE = KeyFile(path="/x/key", name="KEY", set_by="KEY_FILE")

Step = str | float | ConfigError
"""A key, a time to wait before the next step is taken, or what is wrong."""


@attrs.define
class Script:
    """Gives the keys in turn, the last one for ever; `asked` says when."""

    steps: Sequence[Step]
    asked: list[float] = attrs.field(factory=list)
    cancelled: int = 0
    lasts: list[Found | None] = attrs.field(factory=list)

    async def __call__(self, source: KeySource, last: Found | None) -> Found:
        self.asked.append(trio.current_time())
        self.lasts.append(last)
        while isinstance(step := self._next(), float):
            try:
                await trio.sleep(step)
            except trio.Cancelled:
                self.cancelled += 1
                raise
        if isinstance(step, ConfigError):
            raise step
        return Found(Secret(step, name="read"))

    def _next(self) -> Step:
        if len(self.steps) == 1:
            return self.steps[0]
        step, *self.steps = self.steps
        return step


def keys_of(*steps: Step) -> tuple[Keys, Script, Redactor]:
    redactor, script = Redactor(), Script(steps)
    return Keys(redactor, script), script, redactor


def one(source: KeySource | None = COMMAND, key: str | None = None) -> Provider:
    return provider(key_source=source, api_key=None if key is None else Secret(key, name="at load"))


def shown(found: Provider) -> str:
    assert found.api_key is not None
    return found.api_key.reveal()


async def test_a_provider_without_a_source_is_left_as_it_is(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of("new-key-000")
    known = one(None, "known-key-000")

    assert await keys.with_key(known) is known
    assert not await keys.renewed(known)
    assert script.asked == []


async def test_the_rest_of_the_provider_stays(autojump_clock: MockClock) -> None:
    keys, _, _ = keys_of("new-key-000")
    found = await keys.with_key(one())

    assert attrs.evolve(found, api_key=None) == one()


@pytest.mark.parametrize(("source", "kept"), [(COMMAND, TTL), (STORED, 60), (FILE, LOOK_EVERY)])
async def test_a_key_is_kept_for_its_time_and_then_read_again(
    autojump_clock: MockClock, source: KeySource, kept: float
) -> None:
    keys, script, _ = keys_of("first-key-000", "second-key-00")

    assert shown(await keys.with_key(one(source))) == "first-key-000"
    await trio.sleep(kept - 0.01)
    assert shown(await keys.with_key(one(source))) == "first-key-000"
    await trio.sleep(0.01)
    assert shown(await keys.with_key(one(source))) == "second-key-00"
    assert script.asked == [0, kept]


async def test_sources_are_kept_apart_and_providers_with_the_same_one_share_it(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of("first-key-000", "second-key-00")

    assert shown(await keys.with_key(one(COMMAND))) == "first-key-000"
    assert shown(await keys.with_key(one(STORED))) == "second-key-00"
    assert shown(await keys.with_key(provider("two", key_source=COMMAND))) == "first-key-000"
    assert len(script.asked) == 2


async def test_all_who_ask_at_once_share_one_reading(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of(2.0, "first-key-000")
    got: list[str] = []

    async def ask() -> None:
        got.append(shown(await keys.with_key(one())))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)

    assert got == ["first-key-000"] * 5
    assert script.asked == [0]
    assert trio.current_time() == 2


async def test_all_who_ask_at_once_are_told_of_the_one_failure(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of(2.0, ConfigError("unlock it."))
    told: list[str] = []

    async def ask() -> None:
        with pytest.raises(ConfigError) as caught:
            await keys.with_key(one())
        told.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)

    assert told == ["unlock it."] * 5
    assert script.asked == [0]


@pytest.mark.parametrize("ask", [Keys.with_key, Keys.renewed])
async def test_one_who_gives_up_spoils_it_for_no_other(
    autojump_clock: MockClock, ask: Callable[[Keys, Provider], object]
) -> None:
    keys, script, _ = keys_of("first-key-000", 5.0, 5.0, "second-key-00")
    refused = await keys.with_key(one())
    await trio.sleep(TTL)
    got: list[object] = []

    async def impatient() -> None:
        with trio.move_on_after(3) as scope:
            await ask(keys, refused)  # type: ignore[misc]  # both are coroutine functions
        assert scope.cancelled_caught

    async def patient() -> None:
        await trio.sleep(1)
        got.append(await ask(keys, refused))  # type: ignore[misc]  # as above

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        nursery.start_soon(patient)

    assert script.cancelled == 1
    assert script.asked == [0, TTL, TTL + 3]
    assert got == [True] or shown(got[0]) == "second-key-00"  # type: ignore[arg-type]  # a Provider then


async def test_one_who_gives_up_while_waiting_disturbs_nobody(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of(5.0, "first-key-000")
    got: list[str] = []

    async def ask() -> None:
        got.append(shown(await keys.with_key(one())))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await ask()
        assert scope.cancelled_caught

    assert got == ["first-key-000"]
    assert (script.cancelled, script.asked) == (0, [0])


async def test_a_source_that_failed_is_asked_again_after_a_pause_and_not_before(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of(ConfigError("unlock it."), "first-key-000")
    for _ in range(3):
        with pytest.raises(ConfigError, match="unlock it"):
            await keys.with_key(one())
    await trio.sleep(PAUSE)

    assert shown(await keys.with_key(one())) == "first-key-000"
    assert script.asked == [0, PAUSE]


async def test_a_file_that_failed_is_looked_at_again_with_the_next_look(autojump_clock: MockClock) -> None:
    keys, _, _ = keys_of(ConfigError("it is empty."), "first-key-000")
    with pytest.raises(ConfigError):
        await keys.with_key(one(FILE))
    await trio.sleep(LOOK_EVERY)

    assert shown(await keys.with_key(one(FILE))) == "first-key-000"


async def test_where_it_cannot_be_read_again_the_old_key_goes_on_and_the_log_says_so(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    keys, script, _ = keys_of("first-key-000", ConfigError("the command 'op' is locked."), "second-key-00")
    await keys.with_key(one())
    await trio.sleep(TTL)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert shown(await keys.with_key(one())) == "first-key-000"
    assert [record.getMessage() for record in caplog.records] == [
        "the command 'op' is locked. The key that was read before is used further."
    ]
    await trio.sleep(PAUSE)
    assert shown(await keys.with_key(one())) == "second-key-00"
    assert script.asked == [0, TTL, TTL + PAUSE]


async def test_the_key_known_at_load_is_used_where_its_file_cannot_be_read(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of(ConfigError("it is gone."))

    assert shown(await keys.with_key(one(FILE, "known-key-000"))) == "known-key-000"
    (last,) = script.lasts
    assert last is not None
    assert last.secret.reveal() == "known-key-000"


# After a refusal


async def test_after_a_refusal_the_source_is_read_again_before_its_time(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of("first-key-000", "second-key-00")
    refused = await keys.with_key(one())

    assert await keys.renewed(refused)
    assert shown(await keys.with_key(one())) == "second-key-00"
    assert script.asked == [0, 0]


async def test_a_dead_key_is_read_again_once_in_ten_seconds(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of("first-key-000")
    refused = await keys.with_key(one())

    assert [await keys.renewed(refused) for _ in range(3)] == [False] * 3
    await trio.sleep(PAUSE - 0.01)
    assert not await keys.renewed(refused)
    assert script.asked == [0, 0]
    await trio.sleep(0.01)
    assert not await keys.renewed(refused)
    assert script.asked == [0, 0, PAUSE]


async def test_whoever_was_refused_with_an_older_key_reads_nothing_again(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of("first-key-000", "second-key-00")
    refused = await keys.with_key(one())
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await keys.renewed(refused))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)

    assert answers == [True] * 4
    assert len(script.asked) == 2


async def test_a_source_that_fails_after_a_refusal_brings_no_other_key(autojump_clock: MockClock) -> None:
    keys, _, _ = keys_of("first-key-000", ConfigError("it is locked."))
    refused = await keys.with_key(one())

    assert not await keys.renewed(refused)
    assert shown(await keys.with_key(one())) == "first-key-000"


async def test_a_refused_key_of_nobody_is_not_renewed(autojump_clock: MockClock) -> None:
    keys, script, _ = keys_of(ConfigError("it is locked."))

    assert not await keys.renewed(one())
    assert not await keys.renewed(one(COMMAND, "never-read-000"))
    assert len(script.asked) == 1


async def test_the_redactor_knows_each_key_before_it_is_used_and_for_ever(autojump_clock: MockClock) -> None:
    keys, _, redactor = keys_of("first-key-000", "second-key-00")
    refused = await keys.with_key(one())
    assert redactor.redact("x first-key-000 y") == f"x {MARK} y"

    await keys.renewed(refused)
    assert redactor.redact("x first-key-000 y second-key-00") == f"x {MARK} y {MARK}"
