"""Key files: whole or not at all, nobody else's, and read again only when they changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import Found, read_again, read_secret_file, write_secret_file
from openai_gateway.secret import Secret

CANARY = "sk-canary-0123456789abcdefghij"
AN_HOUR_AGO = 3600 * 10**9


def written(path: Path, key: str, *, age: int = AN_HOUR_AGO) -> Path:
    path.write_text(key)
    path.chmod(0o600)
    changed = path.stat().st_mtime_ns - age
    os.utime(path, ns=(changed, changed))
    return path


NAMED = {"name": "KEY", "said_by": "KEY_FILE"}


def again(path: Path, last: Found | None = None) -> Found:
    return read_again(str(path), last, **NAMED)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "key", "first-key-000")
    first = again(path)

    assert (first.secret.reveal(), first.secret.name) == ("first-key-000", "KEY")
    assert again(path, first) is first


def test_another_time_another_size_and_another_file_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "key", "first-key-000")
    first = again(path)
    assert again(written(path, "other-key-000", age=2 * AN_HOUR_AGO), first).secret.reveal() == "other-key-000"

    changed = path.stat().st_mtime_ns
    first = again(path)
    path.write_text("longer-key-0000")
    os.utime(path, ns=(changed, changed))
    assert again(path, first).secret.reveal() == "longer-key-0000"

    first = again(path)
    new = written(tmp_path / "new", "rename-key-0000")
    os.utime(new, ns=(changed, changed))
    new.replace(path)
    assert again(path, first).secret.reveal() == "rename-key-0000"


def test_a_file_of_this_very_moment_is_read_again_as_its_time_tells_nothing_yet(tmp_path: Path) -> None:
    path = written(tmp_path / "key", "first-key-000", age=0)
    first = again(path)
    changed = path.stat().st_mtime_ns
    path.write_text("other-key-000")
    os.utime(path, ns=(changed, changed))

    assert first.mark is None
    assert again(path, first).secret.reveal() == "other-key-000"


def test_what_can_be_read_once_only_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    known = Found(Secret(CANARY, name="KEY"))

    assert again(path, known) is known


def test_a_file_that_is_gone_or_open_to_others_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"KEY_FILE names .*none.*cannot be read: No such file"):
        again(tmp_path / "none")
    path = written(tmp_path / "key", CANARY)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        again(path)


def test_a_home_directory_of_nobody_is_told() -> None:
    for act in (lambda: again(Path("~nobody-of-ours/key")), lambda: read_secret_file("~nobody-of-ours/key", **NAMED)):
        with pytest.raises(ConfigError, match="'~nobody-of-ours/key', whose home directory nobody knows"):
            act()


# Writing


def test_a_key_is_written_for_its_owner_alone_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "keys" / "openai"
    for key in ("first-key-000", "second"):
        write_secret_file(path, Secret(key, name="x"))
        assert path.read_text() == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["openai"]


def test_a_directory_that_others_can_enter_is_closed(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    write_secret_file(tmp_path / "keys" / "openai", Secret(CANARY, name="x"))

    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("as it was")
    path = tmp_path / "keys" / "openai"
    path.parent.mkdir(mode=0o700)
    path.symlink_to(theirs)
    write_secret_file(path, Secret(CANARY, name="x"))

    assert theirs.read_text() == "as it was"
    assert not path.is_symlink()


def test_a_link_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="is a link"):
        write_secret_file(tmp_path / "keys" / "openai", Secret(CANARY, name="x"))
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    with pytest.raises(ConfigError, match="belongs to somebody else"):
        write_secret_file(tmp_path / "keys" / "openai", Secret(CANARY, name="x"))


def test_a_failure_is_told_and_leaves_the_old_key_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys" / "openai"
    write_secret_file(path, Secret("first-key-000", name="x"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"openai' cannot be written: No space left on device") as caught:
        write_secret_file(path, Secret(CANARY, name="x"))

    assert CANARY not in str(caught.value)
    assert [one.name for one in path.parent.iterdir()] == ["openai"]
    assert path.read_text() == "first-key-000"


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")

    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        write_secret_file(tmp_path / "keys" / "openai", Secret(CANARY, name="x"))
