"""Reloading while calls run: when the configuration is read again, what is done with it, and what the log says."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import trio

from openai_gateway.config.sources import marks
from openai_gateway.errors import ConfigError
from openai_gateway.secret import Redactor
from openai_gateway_mcp.config import Settings
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.settings import Settings as FeatureSettings
from openai_gateway_mcp.transports.signals import HANGUP, Hangup

INTERVAL: Final = 1.0
"""Seconds between two looks at the watched files. A look is right for every way in which a file is replaced (in place,
by rename, by a link above it), on every file system. inotify does not see what another machine does on a shared one,
and needs a watch on each directory above. One stat a second of a few files costs some 0.1 ms."""

_LOG: Final = logging.getLogger("openai_gateway_mcp")

Look = Callable[[Iterable[str]], Awaitable[Mapping[str, str | None]]]
"""The marks that files have now (see config.sources)."""


async def _look(paths: Iterable[str]) -> Mapping[str, str | None]:
    """In a thread: a network's file system may take its time over a stat, and no call is to wait for that."""
    return await trio.to_thread.run_sync(marks, paths, abandon_on_cancel=True)


class Reloading:
    """Keeps the door's settings what the files say. One reload at a time, each of the whole configuration."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        door: Door,
        *,
        redactor: Redactor,
        look: Look = _look,
        offer: Callable[[FeatureSettings], None] = lambda _: None,
    ) -> None:
        """`read` reads the settings again, in a thread; it raises ConfigError. `redactor` is the log's.

        `offer` is told what the features are to be from now on, where that is something else.
        """
        self._offer = offer
        self._settings = settings
        self._read = read
        self._door = door
        self._redactor = redactor
        self._look = look
        self._judged = settings.features.gateway.files
        """The files, with the marks that they had before they were last read, well or in vain."""
        self._lock = trio.Lock()

    async def reload(self, why: str) -> None:
        """Read everything again. Where that fails the old settings serve on. One line of the log says which."""
        async with self._lock:
            before = await self._look(self._judged)
            try:
                # A thread: key sources may be slow, and calls are in flight.
                new = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            except ConfigError as error:
                self._judged = before
                _LOG.error("%s, but the old configuration serves on: %s", why, error)
                return
            await self._take(new, why)

    async def _take(self, new: Settings, why: str) -> None:
        old, self._settings = self._settings, new
        self._judged = new.features.gateway.files
        for secret in new.features.gateway.secrets:
            self._redactor.learn(secret)  # before the first call can use a new key, or a warning quote it
        await self._door.reload(new.features.gateway)
        if new.features != old.features:
            self._offer(new.features)
        _LOG.info("%s: %s.", why, _account(old, new))
        for warning in new.warnings:
            if warning not in old.warnings:
                _LOG.warning("%s", warning)

    async def on_hangup(self, hangup: Hangup) -> None:
        """Reload at each SIGHUP, and for one that came before anybody listened."""
        if HANGUP is None:
            return
        with trio.open_signal_receiver(HANGUP) as signals:
            if hangup.has_come:
                await self.reload("SIGHUP came")
            async for _ in signals:
                await self.reload("SIGHUP came")

    async def on_change(self) -> None:
        """Reload when a file that the settings were read from is another than it was then.

        Not before two looks in a row find the same: an editor may be in the midst of writing it.
        """
        last = self._judged
        while True:
            await trio.sleep(INTERVAL)
            judged = self._judged
            now = await self._look(judged)
            changed = [path for path, mark in now.items() if mark != judged[path]]
            # A reload for a signal may have come between: then the next look says whether anything is new since.
            if changed and now == last and judged is self._judged:
                await self.reload(f"{' and '.join(changed)} changed")
            last = now


def _account(old: Settings, new: Settings) -> str:
    """What a reload came to, for the log."""
    gateway = new.features.gateway
    changed = "" if new.features != old.features else "; nothing in it is new"
    if new.config_file is None:
        return f"the files of keys are read again, and nothing else can change without --config{changed}"
    rows, providers = len(gateway.table.rows), len(gateway.table.providers)
    return f"{new.config_file} is read again, {rows} model row(s), {providers} provider(s){changed}"
