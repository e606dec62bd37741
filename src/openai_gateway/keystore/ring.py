"""The keyring of the operating system, behind a list of the backends that keep a secret secret.

`keyring` takes whatever backend is installed, among them some that write plain text (keyrings.alt). Only those named
here are used. Importing it costs 75 ms, and asking it may wait for a person: never in a start, and always in a thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from openai_gateway.errors import ConfigError
from openai_gateway.secret import Redactor, Secret

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE: Final = "openai-gateway"
EXTRA: Final = "pip install 'openai-gateway-mcp[keyring]'"

ALLOWED: Final = {
    "keyring.backends.macOS.Keyring": "macOS Keychain",
    "keyring.backends.Windows.WinVaultKeyring": "Windows Credential Manager",
    "keyring.backends.SecretService.Keyring": "Secret Service",
    "keyring.backends.kwallet.DBusKeyring": "KWallet",
    "keyring.backends.kwallet.DBusKeyringKWallet4": "KWallet 4",
    "keyring.backends.libsecret.Keyring": "libsecret",
}
"""The class of each backend that may be used, and its name for people."""

_NONE: Final = "keyring.backends.fail.Keyring"

_FOREIGN: Final = (
    ("keyring.errors", "KeyringError"),
    ("secretstorage.exceptions", "SecretStorageException"),
    ("jeepney.wrappers", "DBusErrorResponse"),
    ("dbus", "DBusException"),
    ("gi.repository.GLib", "GError"),
    ("pywintypes", "error"),
    ("win32ctypes.pywin32.pywintypes", "error"),
)
"""What the backends raise, by module and name: which of these modules there are is known only when one is loaded."""


class NoRing(ConfigError):
    """There is no keyring to use here; the message is a clause that says why."""


def open_ring() -> Ring:
    """The keyring that this machine has. Raises NoRing."""
    try:
        import keyring  # noqa: PLC0415 - an extra, and slow
    except ImportError:
        raise NoRing(f"the extra `keyring` is not installed ({EXTRA})") from None
    try:
        chosen = keyring.get_keyring()
    except (ImportError, AttributeError, TypeError, ValueError):  # a name in keyring's own configuration
        raise NoRing("the backend that keyring's own configuration names cannot be loaded") from None
    backends = list(_members(chosen))
    allowed = [one for one in backends if _class_of(one) in ALLOWED]
    if not allowed:
        raise NoRing(_refusal(backends))
    return Ring(allowed)


def _members(backend: KeyringBackend) -> Iterator[KeyringBackend]:
    """The backend, or those behind keyring's chainer: an unsafe one there must not be asked by its hand."""
    from keyring.backends.chainer import ChainerBackend  # noqa: PLC0415 - as above

    yield from backend.backends if isinstance(backend, ChainerBackend) else [backend]


def _class_of(backend: KeyringBackend) -> str:
    return f"{type(backend).__module__}.{type(backend).__qualname__}"


def _refusal(backends: Sequence[KeyringBackend]) -> str:
    names = [_class_of(one) for one in backends if _class_of(one) != _NONE]
    if not names:
        return "this machine has no keyring that can be asked now"
    return f"{', '.join(names)} is not among the keyrings that are known to keep a secret"


class Ring:
    """The allowed backends, the one that is preferred first. Each method may wait for a person, and raises NoRing."""

    def __init__(self, backends: Sequence[KeyringBackend]) -> None:
        self._backends = backends

    @property
    def title(self) -> str:
        """For people: "the OS keyring (macOS Keychain)"."""
        return f"the OS keyring ({ALLOWED[_class_of(self._backends[0])]})"

    def get(self, entry: str) -> str | None:
        """What is stored under the name; None for nothing."""
        for backend in self._backends:
            with self._mapped():
                value = backend.get_password(SERVICE, entry)
            if value:
                return str(value)
        return None

    def set(self, entry: str, secret: Secret) -> None:
        with self._mapped(secret):
            self._backends[0].set_password(SERVICE, entry, secret.reveal())

    def remove(self, entry: str) -> bool:
        """Whether there was anything to remove; it is gone from every backend."""
        found = [backend for backend in self._backends if self._has(backend, entry)]
        for backend in found:
            with self._mapped():
                backend.delete_password(SERVICE, entry)
        return bool(found)

    def _has(self, backend: KeyringBackend, entry: str) -> bool:
        with self._mapped():
            return bool(backend.get_password(SERVICE, entry))

    @contextmanager
    def _mapped(self, *secrets: Secret) -> Iterator[None]:
        """The backends' exceptions become NoRing. The original is cut off: its frames hold the key."""
        try:
            yield
        except _foreign() as error:
            words = Redactor(secrets).redact(str(error)) or type(error).__name__
            raise NoRing(f"{self.title} says: {words}") from None


def _foreign() -> tuple[type[Exception], ...]:
    found = (getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN)
    loaded = (kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception))
    return (OSError, RuntimeError, UnicodeError, *loaded)
