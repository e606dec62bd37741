"""The key that holds now: sources are read when a call needs them, kept for a while, and read again after a refusal."""

from __future__ import annotations

import logging
import math
from typing import Final

import attrs
import trio

from openai_gateway.engine.key_readers import Read, Readers
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import Found
from openai_gateway.routing.key_source import KeyFile, KeySource
from openai_gateway.routing.plan import Provider
from openai_gateway.secret import Redactor, Secret

LOOK_EVERY: Final = 1.0  # seconds between two looks at a file; each is one system call, in a thread
PAUSE: Final = 10.0
"""Seconds before a source that failed is asked again, and between two readings after a refusal: a dead key must not
run a command for each call."""

_LOG: Final = logging.getLogger(__name__)


class Keys:
    """The keys of one opened gateway. Every method may be used by many tasks at once."""

    def __init__(self, redactor: Redactor, read: Read | None = None) -> None:
        """`redactor` learns each key before it is used; `read` stands in for files, programs and stores."""
        self._redactor = redactor
        self._read = read or Readers()
        self._held: dict[KeySource, _Held] = {}

    async def with_key(self, provider: Provider) -> Provider:
        """The provider with the key that holds now. Raises ConfigError where there is none, which says what to mend.

        A file is looked at once a second; a command's or a stored key is used for its `ttl`. Where reading it again
        fails, the key that was read before is used further, and the log says so.
        """
        if provider.key_source is None:
            return provider
        return _carrying(provider, await self._of(provider, provider.key_source).key())

    def with_fresh_key(self, provider: Provider) -> Provider | None:
        """The same where nothing has to be read for it; else None."""
        if provider.key_source is None:
            return provider
        key = self._of(provider, provider.key_source).fresh_key
        return None if key is None else _carrying(provider, key)

    async def renewed(self, provider: Provider) -> bool:
        """Whether there is another key than `provider.api_key`, which the upstream refused; the source is read again.

        At most once in 10 s a source; in between the answer is of what is known.
        """
        if provider.key_source is None or provider.api_key is None:
            return False
        return await self._of(provider, provider.key_source).is_another_than(provider.api_key)

    def _of(self, provider: Provider, source: KeySource) -> _Held:
        held = self._held.get(source)
        if held is None:
            first = None if provider.api_key is None else Found(provider.api_key)
            held = self._held[source] = _Held(source=source, read=self._read, redactor=self._redactor, found=first)
        return held


def _carrying(provider: Provider, key: Secret) -> Provider:
    return provider if key is provider.api_key or key == provider.api_key else attrs.evolve(provider, api_key=key)


@attrs.define(kw_only=True)
class _Held:
    """What is known of one source. Whoever needs it while it is being read waits for the same reading."""

    source: KeySource
    _read: Read
    _redactor: Redactor
    _found: Found | None
    _error: str = ""
    _fresh_until: float = -math.inf
    _renew_after: float = -math.inf
    # A lock and no shared task: where the one who reads is cancelled, the next of those who wait takes over.
    _lock: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def fresh_key(self) -> Secret | None:
        """The key, if it is there and its source need not be looked at yet."""
        if self._found is None or trio.current_time() >= self._fresh_until:
            return None
        return self._found.secret

    async def key(self) -> Secret:
        """Raises ConfigError where there never was one."""
        if trio.current_time() >= self._fresh_until:
            async with self._lock:
                if trio.current_time() >= self._fresh_until:
                    await self._look(self._found)
        if self._found is None:
            raise ConfigError(self._error)
        return self._found.secret

    async def is_another_than(self, refused: Secret) -> bool:
        async with self._lock:
            if self._is(refused) and trio.current_time() >= self._renew_after:
                await self._look(None if self._found is None else Found(self._found.secret))
                self._renew_after = trio.current_time() + PAUSE
        return not self._is(refused)

    def _is(self, refused: Secret) -> bool:
        return self._found is None or self._found.secret == refused

    async def _look(self, last: Found | None) -> None:
        """Read it, a file only if it changed since `last`. A failure is kept too: all who wait are told the same."""
        pause = min(PAUSE, self._fresh_for)
        try:
            found = await self._read(self.source, last)
        except ConfigError as error:
            self._error = str(error)
            if self._found is not None:
                _LOG.warning("%s The key that was read before is used further.", error)
        else:
            if self._found is not None and found.secret == self._found.secret:
                found = attrs.evolve(found, secret=self._found.secret)  # the same one, which nobody has to compare
            self._redactor.learn(found.secret)
            self._found, pause = found, self._fresh_for
        self._fresh_until = trio.current_time() + pause

    @property
    def _fresh_for(self) -> float:
        return LOOK_EVERY if isinstance(self.source, KeyFile) else self.source.ttl
