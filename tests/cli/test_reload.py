"""When the server reads its configuration again, what it does with it, and what it says."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from openai_gateway.secret import MARK, Redactor
from openai_gateway_mcp import reload
from openai_gateway_mcp.config import Settings, load
from openai_gateway_mcp.features.door import Door, open_door
from openai_gateway_mcp.reload import INTERVAL, Reloading
from openai_gateway_mcp.transports.signals import Hangup

FILE = '[providers.p]\nkind = "echo"\n[[models]]\nname = "{name}"\nprovider = "p"\n'
WITH_KEY = """
[providers.p]
kind = "openai"
api_key = {{ file = "{key}" }}
[[models]]
name = "m"
provider = "p"
"""


@attrs.define
class Server:
    """What serves: the door, the reloading before it, and the redactor of the log."""

    door: Door
    reloading: Reloading
    redactor: Redactor

    @property
    def models(self) -> list[str]:
        return [row.name for row in self.door.settings.table.rows]


@asynccontextmanager
async def serving(read: Callable[[], Settings], look: reload.Look = reload._look) -> AsyncIterator[Server]:
    settings = read()
    redactor = Redactor(settings.features.gateway.secrets)
    async with open_door(settings.features.gateway, redactor=redactor) as door:
        yield Server(door, Reloading(settings, read, door, redactor=redactor, look=look), redactor)


def file_of(directory: Path, text: str) -> Path:
    path = directory / "gateway.toml"
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _log_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="openai_gateway_mcp")


async def test_a_reload_puts_the_new_table_in_the_place_of_the_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_of(tmp_path, FILE.format(name="old"))
    async with serving(lambda: load({}, {"config": str(path)})) as server:
        path.write_text(FILE.format(name="new"))
        await server.reloading.reload("SIGHUP came")
        assert server.models == ["new"]
    assert caplog.messages == [f"SIGHUP came: {path} is read again, 1 model row(s), 1 provider(s)."]


async def test_a_file_that_is_broken_keeps_the_old_and_says_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_of(tmp_path, FILE.format(name="old"))
    async with serving(lambda: load({}, {"config": str(path)})) as server:
        path.write_text(FILE.format(name="new") + "wieght = 2\n")
        await server.reloading.reload("SIGHUP came")
        assert server.models == ["old"]
    (line,) = caplog.messages
    assert line.startswith(f"SIGHUP came, but the old configuration serves on: {path}, line 6: unknown key 'wieght'")
    assert line.endswith("Did you mean 'weight'?")


async def test_a_rotated_key_is_taken_and_both_are_struck_out_of_the_log(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("old-key-000000")
    key.chmod(0o600)
    path = file_of(tmp_path, WITH_KEY.format(key=key))
    async with serving(lambda: load({}, {"config": str(path)})) as server:
        key.write_text("new-key-000000")
        await server.reloading.reload("SIGHUP came")
        await server.reloading.reload("SIGHUP came")
        api_key = server.door.settings.table.providers["p"].api_key
        assert api_key is not None
        assert api_key.reveal() == "new-key-000000"
    assert server.redactor.redact("old-key-000000, new-key-000000") == f"{MARK}, {MARK}"


async def test_without_a_file_the_files_of_keys_are_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "key"
    key.write_text("old-key-000000")
    key.chmod(0o600)
    environ = {"GATEWAY_URL": "https://gateway.example", "GATEWAY_API_KEY_FILE": str(key)}
    async with serving(lambda: load(environ, {})) as server:
        await server.reloading.reload("SIGHUP came")
        key.write_text("new-key-000000")
        await server.reloading.reload("SIGHUP came")
        assert [secret.reveal() for secret in server.door.settings.secrets] == ["new-key-000000"]
    said = "SIGHUP came: the files of keys are read again, and nothing else can change without --config"
    assert caplog.messages == [f"{said}; nothing in it is new.", f"{said}."]


async def test_only_warnings_that_are_new_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = file_of(tmp_path, FILE.format(name="old") + "prefill = true\n")
    async with serving(lambda: load({}, {"config": str(path)})) as server:
        path.write_text(FILE.format(name="old") + "prefill = true\n" + FILE[FILE.index("[[") :].format(name="old"))
        await server.reloading.reload("SIGHUP came")
    (_, warning) = caplog.messages
    assert "has the target p/old already" in warning


# --- the signal ---------------------------------------------------------------------------------------------------


async def test_each_hangup_reloads_and_one_that_came_too_early_is_not_lost(tmp_path: Path) -> None:
    path = file_of(tmp_path, FILE.format(name="old"))
    hangup, heard = Hangup(), Heard()
    logging.getLogger("openai_gateway_mcp").addHandler(heard)
    hangup.watch()
    try:
        async with serving(lambda: load({}, {"config": str(path)})) as server, trio.open_nursery() as nursery:
            signal.raise_signal(signal.SIGHUP)
            nursery.start_soon(server.reloading.on_hangup, hangup)
            await heard.until("SIGHUP came")
            path.write_text(FILE.format(name="new"))
            signal.raise_signal(signal.SIGHUP)
            await heard.until("SIGHUP came")
            assert server.models == ["new"]
            nursery.cancel_scope.cancel()
        signal.raise_signal(signal.SIGHUP)  # after the run it still ends nothing
    finally:
        hangup.release()
        logging.getLogger("openai_gateway_mcp").removeHandler(heard)


class Heard(logging.Handler):
    """What is logged, for a task to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._send, self._receive = trio.open_memory_channel[str](100)

    def emit(self, record: logging.LogRecord) -> None:
        self._send.send_nowait(record.getMessage())

    async def until(self, words: str) -> None:
        with trio.fail_after(30):  # for a test that would hang
            while words not in await self._receive.receive():
                pass


async def test_where_there_is_no_such_signal_nothing_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "HANGUP", None)
    async with serving(lambda: load({}, {})) as server:
        await server.reloading.on_hangup(Hangup())


# --- the watch, over files that the test plays -------------------------------------------------------------------


class Files:
    """Files of which each look finds the next marks."""

    def __init__(self) -> None:
        self.marks: dict[str, str | None] = {}
        self.looked = 0
        self.meanwhile: Callable[[str], Awaitable[None]] | None = None

    async def __call__(self, paths: Iterable[str]) -> Mapping[str, str | None]:
        await trio.lowlevel.checkpoint()
        self.looked += 1
        found = {path: self.marks.get(path) for path in paths}
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            await act("SIGHUP came")
        return found


@attrs.define
class Watched:
    """A server that watches; `reloads` is how often the file was read since the start."""

    files: Files
    reloads: list[str]
    text: str
    server: Server = attrs.field(init=False)


@asynccontextmanager
async def watching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """`read` runs on the spot and not in a thread, so that the clock may jump."""
    files = Files()
    files.marks["f"] = "1"
    watched = Watched(files, [], "old")
    base = load({}, {"embedded": "true"})

    def read() -> Settings:
        watched.reloads.append(watched.text)
        gateway = attrs.evolve(base.features.gateway, default_model=watched.text, files=dict(files.marks))
        return attrs.evolve(base, features=attrs.evolve(base.features, gateway=gateway), config_file="f")

    async def at_once(act: Callable[[], Settings], **_: object) -> Settings:
        await trio.lowlevel.checkpoint()
        return act()

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    async with serving(read, files) as server, trio.open_nursery() as nursery:
        watched.reloads.clear()
        watched.server = server
        nursery.start_soon(server.reloading.on_change)
        yield watched
        nursery.cancel_scope.cancel()


async def test_a_file_that_stays_is_not_read_again(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    async with watching(monkeypatch) as watched:
        await trio.sleep(10 * INTERVAL + 0.5)
        assert (watched.files.looked, watched.reloads) == (10, [])


async def test_a_file_that_changed_is_read_once_it_has_come_to_rest(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with watching(monkeypatch) as watched:
        for mark in ("2", "3", "4"):
            watched.files.marks["f"] = mark
            await trio.sleep(INTERVAL)
        assert watched.reloads == []
        watched.text = "new"
        await trio.sleep(10 * INTERVAL)
        assert watched.reloads == ["new"]


async def test_a_file_that_is_gone_for_a_moment_is_one_that_was_replaced(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(monkeypatch) as watched:
        watched.files.marks["f"] = None
        await trio.sleep(INTERVAL)
        watched.files.marks["f"] = "2"
        await trio.sleep(10 * INTERVAL)
        assert watched.reloads == ["old"]
    assert caplog.messages[0].startswith("f changed: f is read again")


async def test_a_reload_for_a_signal_in_the_midst_of_a_look_makes_the_look_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with watching(monkeypatch) as watched:
        watched.files.marks["f"] = "2"
        await trio.sleep(1.5 * INTERVAL)
        watched.files.marks["g"] = "1"
        watched.files.meanwhile = watched.server.reloading.reload
        await trio.sleep(10 * INTERVAL)
        assert watched.reloads == ["old"]


async def test_a_reload_that_is_cancelled_while_it_reads_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with watching(monkeypatch) as watched:
        with trio.CancelScope() as scope:
            scope.cancel()
            await watched.server.reloading.reload("SIGHUP came")
        assert scope.cancelled_caught
        assert watched.reloads == []
        await watched.server.reloading.reload("SIGHUP came")
        assert watched.reloads == ["old"]
