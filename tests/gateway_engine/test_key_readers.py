"""Files, programs and the store behind the gateway: real ones, read when a call needs them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from openai_gateway.engine import key_readers
from openai_gateway.engine.key_readers import Readers
from openai_gateway.engine.keys import LOOK_EVERY, Keys
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import Found
from openai_gateway.routing.key_source import KeyFile, StoredKey
from openai_gateway.routing.plan import Provider
from openai_gateway.secret import Redactor, Secret
from tests.gateway_engine.scripted import provider
from tests.gateway_keystore.rings import Allowed, chosen


def key_file(path: Path, key: str) -> KeyFile:
    path.write_text(key)
    path.chmod(0o600)
    return KeyFile(path=str(path), name="KEY", set_by="KEY_FILE")


def stored(directory: Path) -> StoredKey:
    return StoredKey(entry="openai", directory=str(directory), set_by="api_key of one")


async def key_of(keys: Keys, one: Provider) -> str:
    found = (await keys.with_key(one)).api_key
    assert found is not None
    return found.reveal()


async def test_a_file_that_was_replaced_gives_the_new_key_within_a_second(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    keys = Keys(Redactor())
    one = provider(key_source=key_file(tmp_path / "key", "first-key-000"), api_key=None)
    assert await key_of(keys, one) == "first-key-000"
    key_file(tmp_path / "key", "second-key-00")
    assert await key_of(keys, one) == "first-key-000"
    mock_clock.jump(LOOK_EVERY)
    assert await key_of(keys, one) == "second-key-00"


async def test_after_a_refusal_a_file_is_read_even_where_it_looks_the_same(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    source = key_file(tmp_path / "key", "first-key-000")
    keys, one = Keys(Redactor()), provider(key_source=source, api_key=None)
    refused = await keys.with_key(one)

    assert not await keys.renewed(refused)
    mock_clock.jump(10)
    key_file(tmp_path / "key", "second-key-00")
    assert await keys.renewed(refused)
    assert await key_of(keys, one) == "second-key-00"


async def test_a_file_that_is_removed_leaves_its_last_key(tmp_path: Path, mock_clock: MockClock) -> None:
    keys = Keys(Redactor())
    one = provider(key_source=key_file(tmp_path / "key", "first-key-000"), api_key=None)
    await keys.with_key(one)
    (tmp_path / "key").unlink()
    mock_clock.jump(LOOK_EVERY)

    assert await key_of(keys, one) == "first-key-000"


async def test_a_stored_key_is_read_from_the_keyring_or_from_its_file(tmp_path: Path) -> None:
    with chosen(Allowed(openai="ring-key-0000")):
        secret = (await Readers()(stored(tmp_path), None)).secret
        assert (secret.reveal(), secret.name) == ("ring-key-0000", "the stored key 'openai' (api_key of one)")
        key_file(tmp_path / "openai", "file-key-0000")
        assert (await Readers()(stored(tmp_path), None)).secret.reveal() == "file-key-0000"


async def test_a_stored_key_that_is_not_there_is_told(tmp_path: Path) -> None:
    with chosen(Allowed()), pytest.raises(ConfigError, match="`openai-gateway-mcp keys set openai` stores one"):
        await Readers()(stored(tmp_path), None)


class Locked(Allowed):
    """Waits for its person, in the thread that asks it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.unlocked = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.asked.release()
        self.unlocked.wait()
        return "ring-key-0000"


Locked.__module__, Locked.__qualname__ = Allowed.__module__, Allowed.__qualname__


@contextmanager
def locked() -> Iterator[Locked]:
    ring = Locked()
    with chosen(ring):
        try:
            yield ring
        finally:
            ring.unlocked.set()


async def asked(ring: Locked) -> None:
    """Waits until somebody waits for the keyring."""
    await trio.to_thread.run_sync(ring.asked.acquire)


async def test_a_keyring_that_waits_for_a_person_holds_up_nothing_else(tmp_path: Path) -> None:
    with locked() as ring:
        async with trio.open_nursery() as nursery:
            readers = Readers()
            nursery.start_soon(readers, stored(tmp_path), None)
            await asked(ring)
            assert (await readers(key_file(tmp_path / "key", "first-key-000"), None)).secret.reveal() == "first-key-000"
            nursery.cancel_scope.cancel()


async def test_a_keyring_that_nobody_unlocks_is_waited_for_a_minute(tmp_path: Path, mock_clock: MockClock) -> None:
    told: list[str] = []

    async def ask() -> None:
        with pytest.raises(ConfigError) as caught:
            await Readers()(stored(tmp_path), None)
        told.append(str(caught.value))

    with locked() as ring:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await asked(ring)
            mock_clock.jump(60)
    assert "unlock the OS keyring, which did not answer within 60 s." in told[0]


async def test_those_who_give_up_leave_one_thread_behind_at_most(tmp_path: Path) -> None:
    readers = Readers()
    with locked() as ring:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(readers, stored(tmp_path), None)
            await asked(ring)
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(readers, stored(tmp_path), None)
            await trio.testing.wait_all_tasks_blocked()
            assert not ring.asked.acquire(blocking=False)
            nursery.cancel_scope.cancel()


async def test_a_file_on_a_drive_that_hangs_is_waited_for_ten_seconds(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, asked_for = threading.Event(), threading.Event()

    def read_again(*_: object, **__: object) -> Found:
        asked_for.set()
        hangs.wait()
        return Found(Secret("too-late-000", name="x"))

    monkeypatch.setattr(key_readers, "read_again", read_again)
    told: list[str] = []

    async def ask() -> None:
        with pytest.raises(ConfigError) as caught:
            await Readers()(key_file(tmp_path / "key", "first-key-000"), None)
        told.append(str(caught.value))

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.to_thread.run_sync(asked_for.wait)
            mock_clock.jump(10)
    finally:
        hangs.set()
    assert told == [f"KEY_FILE names {str(tmp_path / 'key')!r}, which cannot be read: nothing came within 10 s."]
