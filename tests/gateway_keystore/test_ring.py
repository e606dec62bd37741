"""Only keyrings that keep a secret are used, whatever is installed."""

from __future__ import annotations

import sys
import traceback
import types
from importlib import import_module

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from openai_gateway.keystore.ring import ALLOWED, NoRing, Ring, open_ring
from openai_gateway.secret import Secret
from tests.gateway_keystore.rings import NO_RING, NULL, Allowed, AllowedToo, Chain, PlainText, chosen

CANARY = "sk-canary-0123456789abcdefghij"


@pytest.mark.parametrize("name", ALLOWED)
def test_each_allowed_backend_is_one_that_keyring_has(name: str) -> None:
    module, _, kind = name.rpartition(".")

    assert issubclass(getattr(import_module(module), kind), KeyringBackend)


def test_an_allowed_backend_is_used_and_named() -> None:
    with chosen(Allowed(openai=CANARY)):
        ring = open_ring()

        assert ring.title == "the OS keyring (Secret Service)"
        assert (ring.get("openai"), ring.get("other")) == (CANARY, None)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (PlainText(openai=CANARY), "rings.PlainText is not among the keyrings that are known to keep a secret"),
        (NULL, "keyring.backends.null.Keyring is not among"),
        (NO_RING, "this machine has no keyring that can be asked now"),
        (Chain(), "this machine has no keyring that can be asked now"),
        (Chain(PlainText()), "rings.PlainText is not among"),
    ],
    ids=["plain text", "null", "fail", "empty chain", "chain of plain text"],
)
def test_any_other_backend_is_refused_by_name(backend: KeyringBackend, said: str) -> None:
    with chosen(backend), pytest.raises(NoRing) as caught:
        open_ring()

    assert said in str(caught.value)


def test_of_a_chain_only_the_allowed_ones_are_asked() -> None:
    unsafe, first, second = PlainText(openai="never"), Allowed(), AllowedToo(openai=CANARY, both="second")
    with chosen(Chain(unsafe, first, second)):
        ring = open_ring()

        assert ring.get("openai") == CANARY
        ring.set("both", Secret("first", name="x"))
        assert (ring.get("both"), first.known["openai-gateway", "both"]) == ("first", "first")
        assert ring.remove("both")
        assert ring.get("both") is None
    assert unsafe.known == {("openai-gateway", "openai"): "never"}


def test_what_is_not_there_cannot_be_removed() -> None:
    assert not Ring([Allowed()]).remove("openai")


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    with pytest.raises(NoRing, match=r"the extra `keyring` is not installed \(pip install 'openai-gateway-mcp\["):
        open_ring()


@pytest.mark.parametrize("name", ["no.such.module.Keyring", "keyring.backends.NoSuchThing", "keyring"])
def test_a_backend_of_keyrings_own_configuration_that_cannot_be_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)

    with pytest.raises(NoRing, match="cannot be loaded"):
        open_ring()


class SecretStorageException(Exception):
    pass


def test_what_a_backend_raises_is_told_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = types.ModuleType("secretstorage.exceptions")
    theirs.SecretStorageException = SecretStorageException  # type: ignore[attr-defined]  # its one name that counts
    monkeypatch.setitem(sys.modules, "secretstorage.exceptions", theirs)
    for error in (KeyringLocked(f"locked: {CANARY}"), OSError(f"no bus: {CANARY}"), SecretStorageException(CANARY)):
        with pytest.raises(NoRing, match=r"the OS keyring \(Secret Service\) says: ") as caught:
            Ring([Allowed(error)]).set("openai", Secret(CANARY, name="x"))
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_an_error_without_words_is_told_by_its_name() -> None:
    ring = Ring([Allowed(KeyringLocked())])

    for act in (ring.get, ring.remove):
        with pytest.raises(NoRing, match="says: KeyringLocked"):
            act("openai")


def test_a_mistake_of_ours_is_none_of_the_keyrings() -> None:
    with pytest.raises(ZeroDivisionError):
        Ring([Allowed(ZeroDivisionError())]).get("openai")
