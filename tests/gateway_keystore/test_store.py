"""Where `keys set` puts a key, and where it is found again."""

from __future__ import annotations

from pathlib import Path

import pytest
from keyring.errors import KeyringLocked

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.store import Store
from openai_gateway.secret import Secret
from tests.gateway_keystore.rings import NO_RING, Allowed, chosen

CANARY = "sk-canary-0123456789abcdefghij"
NAMES_THAT_ARE_NONE = ["", ".", "..", "a/b", "../a", "a\\b", "a.b", "A", "-a", "_a", "a b", "a\n", "ä", "a" * 65, "nul"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "keys")


def secret(value: str = CANARY) -> Secret:
    return Secret(value, name="openai")


def read(store: Store) -> str:
    found = store.read("openai", name="the stored key 'openai'")
    assert found.name == "the stored key 'openai'"
    return found.reveal()


def test_where_there_is_a_keyring_it_has_the_key_and_no_file_does(store: Store) -> None:
    with chosen(ring := Allowed()):
        stored = store.set("openai", secret())

        assert (stored.where, stored.why_no_ring) == ("the OS keyring (Secret Service)", "")
        assert ring.known == {("openai-gateway", "openai"): CANARY}
        assert all(path.read_bytes() == b"" for path in store.directory.iterdir())
        assert read(store) == CANARY


def test_where_there_is_none_a_file_has_it_and_the_reason_is_told(store: Store) -> None:
    with chosen(NO_RING):
        stored = store.set("openai", secret())

        assert stored.where == f"{str(store.directory / 'openai')!r}, a file of mode 0600"
        assert stored.why_no_ring == "this machine has no keyring that can be asked now"
        assert read(store) == CANARY


def test_a_file_may_be_asked_for(store: Store) -> None:
    with chosen(ring := Allowed()):
        assert store.set("openai", secret(), in_file=True).why_no_ring == "a file was asked for"

        assert ring.known == {}
        assert read(store) == CANARY


def test_the_last_one_stored_is_the_one_found(store: Store) -> None:
    with chosen(Allowed()):
        for number, in_file in enumerate((False, True, False, True)):
            store.set("openai", secret(f"key-number-{number}"), in_file=in_file)
            assert read(store) == f"key-number-{number}"


def test_a_keyring_that_refuses_is_told_and_no_file_is_written_instead(store: Store) -> None:
    with chosen(Allowed(KeyringLocked("locked"))), pytest.raises(ConfigError, match="says: locked"):
        store.set("openai", secret())

    assert not store.directory.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [(None, "the OS keyring has none of this name"), (KeyringLocked("locked"), "cannot be asked: .* says: locked")],
)
def test_what_is_not_stored_is_told_with_the_way_to_store_it(store: Store, error: Exception | None, said: str) -> None:
    with chosen(Allowed(error)), pytest.raises(ConfigError, match=said) as caught:
        read(store)

    assert f"the stored key 'openai' is not there: there is no file '{store.directory}/openai'" in str(caught.value)
    assert "`openai-gateway-mcp keys set openai` stores one." in str(caught.value)


@pytest.mark.parametrize("value", [f"Bearer {CANARY}", f"{CANARY}\n{CANARY}"])
def test_what_another_program_put_into_the_keyring_is_checked(store: Store, value: str) -> None:
    said = r"the stored key 'openai' (begins|holds)"
    with chosen(Allowed(openai=value)), pytest.raises(ConfigError, match=said) as caught:
        read(store)

    assert CANARY not in str(caught.value)


def test_the_list_says_where_each_key_is_and_shows_none(store: Store) -> None:
    with chosen(ring := Allowed()):
        assert store.list() == {}
        store.set("b-in-ring", secret())
        store.set("c-lost", secret())
        store.set("a-in-file", secret(), in_file=True)
        del ring.known["openai-gateway", "c-lost"]
        (store.directory / "README.txt").touch()
        (store.directory / ".openai.123").touch()
        found = store.list()
        ring.error = KeyringLocked("locked")
        locked = store.list()

    assert {name: stored.where for name, stored in found.items()} == {
        "a-in-file": repr(str(store.directory / "a-in-file")),
        "b-in-ring": "the OS keyring (Secret Service)",
        "c-lost": "nowhere: the OS keyring (Secret Service) has lost it",
    }
    assert list(found) == sorted(found)
    assert "cannot be asked: the OS keyring (Secret Service) says: locked" in locked["b-in-ring"].where
    assert CANARY not in str(found)


def test_what_is_removed_is_gone_from_everywhere(store: Store) -> None:
    with chosen(ring := Allowed()):
        store.set("openai", secret())
        store.set("openai", secret(), in_file=True)

        assert store.remove("openai")
        assert ring.known == {}
        assert not any(store.directory.iterdir())
        assert not store.remove("openai")


def test_a_file_can_be_removed_where_there_is_no_keyring(store: Store) -> None:
    with chosen(NO_RING):
        store.set("openai", secret())

        assert store.remove("openai")
        assert not store.remove("openai")


def test_what_is_in_a_keyring_that_cannot_be_asked_is_not_said_to_be_removed(store: Store) -> None:
    with chosen(Allowed()):
        store.set("openai", secret("older-key-000"))
    with chosen(NO_RING):
        store.set("openai", secret())
        with pytest.raises(ConfigError, match="The OS keyring has a key 'openai' and cannot be asked"):
            store.remove("openai")
        assert read(store) == CANARY


@pytest.mark.parametrize("name", NAMES_THAT_ARE_NONE)
def test_no_name_leads_out_of_the_directory(store: Store, name: str) -> None:
    for act in (lambda: store.read(name, name="x"), lambda: store.set(name, secret()), lambda: store.remove(name)):
        with pytest.raises(ConfigError, match="no name for a stored key"):
            act()


def test_a_directory_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / ("long" * 100))

    for act in (store.remove, lambda entry: store.read(entry, name="x")):
        with chosen(Allowed()), pytest.raises(ConfigError, match="cannot be used to store keys: File name too long"):
            act("openai")


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "keys")

    with chosen(Allowed()):
        with pytest.raises(ConfigError, match="cannot be used to store keys"):
            store.set("openai", secret())
        with pytest.raises(ConfigError, match="cannot be used to store keys"):
            store.remove("openai")
