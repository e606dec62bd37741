"""Keyrings for tests, registered by keyring's own API: some that pass for allowed ones, others that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import keyring
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend
from keyring.errors import PasswordDeleteError


class InMemory(KeyringBackend):
    """Keeps what it is given; `error` is raised by everything, if it is set."""

    priority: ClassVar[float] = -1

    def __init__(self, error: BaseException | None = None, **known: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring has types for half of itself
        self.known = {("openai-gateway", name): value for name, value in known.items()}
        self.error = error

    def get_password(self, service: str, username: str) -> str | None:
        self._fail()
        return self.known.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._fail()
        self.known[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._fail()
        if self.known.pop((service, username), None) is None:
            raise PasswordDeleteError("not there")

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class PlainText(InMemory):
    """As keyrings.alt has it: it works, and keeps no secret."""


class Allowed(InMemory):
    """Passes for keyring's backend of the Secret Service, by the name of its class."""


class AllowedToo(InMemory):
    """Passes for KWallet."""


Allowed.__module__, Allowed.__qualname__ = "keyring.backends.SecretService", "Keyring"
AllowedToo.__module__, AllowedToo.__qualname__ = "keyring.backends.kwallet", "DBusKeyring"


class Chain(ChainerBackend):
    """keyring's chainer, over what it is given in the place of what is installed."""

    priority: ClassVar[float] = -1
    backends: ClassVar[list[KeyringBackend]] = []

    def __init__(self, *backends: KeyringBackend) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.backends = list(backends)  # type: ignore[misc]  # a property of the class in keyring


NO_RING: KeyringBackend = fail.Keyring()  # type: ignore[no-untyped-call]  # as above
NULL: KeyringBackend = null.Keyring()  # type: ignore[no-untyped-call]  # as above


@contextmanager
def chosen(backend: KeyringBackend) -> Iterator[None]:
    """keyring's choice, for the length of the block."""
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.set_keyring(before)
