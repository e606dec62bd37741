"""`keys set`, `keys list` and `keys remove`, with a keyring and without one; a key is never shown."""

from __future__ import annotations

import getpass
import io
import os
import pty
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from keyring.errors import KeyringLocked
from typer.testing import CliRunner, Result

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.store import Store
from openai_gateway_mcp import cli, keys
from tests.cli.test_process import CANARY, INHERITED, ROOT, start
from tests.gateway_keystore.rings import NO_RING, Allowed, chosen

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*argv: str, stdin: str | bytes = "") -> Result:
        done = CliRunner().invoke(cli.app, ["keys", *argv], input=stdin, env={"XDG_CONFIG_HOME": str(tmp_path)})
        assert CANARY not in done.output + repr(done.exception)
        return done

    return run


@pytest.fixture
def ring() -> Iterator[Allowed]:
    with chosen(ring := Allowed()):
        yield ring


@pytest.fixture
def no_ring() -> Iterator[None]:
    with chosen(NO_RING):
        yield


def stored(directory: Path) -> str:
    return Store(directory / "openai-gateway" / "keys").read("openai", name="x").reveal()


def test_a_key_that_is_piped_in_goes_into_the_keyring(run: Run, ring: Allowed) -> None:
    done = run("set", "openai", stdin=f"{CANARY}\n")

    assert done.exit_code == 0
    assert ring.known == {("openai-gateway", "openai"): CANARY}
    assert done.stdout.splitlines() == [
        "Stored openai in the OS keyring (Secret Service). A provider uses it so:",
        'api_key = { keyring = "openai" }',
    ]


def test_without_a_keyring_it_goes_into_a_file_and_says_so(run: Run, no_ring: None, tmp_path: Path) -> None:
    done = run("set", "openai", stdin=CANARY)
    path = tmp_path / "openai-gateway" / "keys" / "openai"

    assert done.exit_code == 0
    assert path.read_text() == CANARY
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"Stored openai in '{path}', a file of mode 0600 (this machine has no keyring" in done.stdout


def test_a_file_may_be_asked_for(run: Run, ring: Allowed, tmp_path: Path) -> None:
    assert "(a file was asked for)" in run("set", "openai", "--file", stdin=CANARY).stdout
    assert (ring.known, stored(tmp_path)) == ({}, CANARY)


@pytest.mark.parametrize("stdin", ["", "\n", f"{CANARY}\n{CANARY}", f"Bearer {CANARY}", b"\xff", "k" * 70_000])
def test_what_is_no_key_is_not_stored(run: Run, ring: Allowed, stdin: str | bytes) -> None:
    done = run("set", "openai", stdin=stdin)

    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("What was piped in ")
    assert ring.known == {}


@pytest.mark.parametrize("command", ["set", "remove"])
@pytest.mark.parametrize("name", ["../openai", "OpenAI", "a.b", "con"])
def test_what_is_no_name_is_refused(run: Run, ring: Allowed, command: str, name: str) -> None:
    done = run(command, name, stdin=CANARY)

    assert isinstance(done.exception, ConfigError)
    assert "no name for a stored key" in str(done.exception)
    assert ring.known == {}


def test_a_keyring_that_refuses_is_told_with_the_way_round_it(run: Run, ring: Allowed, tmp_path: Path) -> None:
    ring.error = KeyringLocked("locked")
    done = run("set", "openai", stdin=CANARY)

    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).endswith("says: locked. Try again, or keep it in a file with --file.")
    assert not (tmp_path / "openai-gateway").exists()


@pytest.mark.parametrize("argv", [("set", "openai"), ("list",), ("remove", "openai")])
def test_ctrl_c_while_the_keyring_waits_ends_it_as_it_ends_a_call(
    run: Run, ring: Allowed, argv: tuple[str, ...]
) -> None:
    run("set", "openai", stdin=CANARY)
    ring.error = KeyboardInterrupt()
    done = run(*argv, stdin=CANARY)

    assert (done.exit_code, done.stdout) == (130, "")


def test_the_list_has_names_and_places(run: Run, ring: Allowed, tmp_path: Path) -> None:
    run("set", "in-ring", stdin=CANARY)
    run("set", "a", "--file", stdin=CANARY)
    done = run("list")

    assert done.stdout.splitlines() == [
        f"a        '{tmp_path}/openai-gateway/keys/a'",
        "in-ring  the OS keyring (Secret Service)",
    ]


def test_an_empty_list_says_how_to_store_a_key(run: Run, ring: Allowed) -> None:
    done = run("list")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "keys set NAME" in done.stderr


def test_a_key_is_removed_and_a_second_time_there_is_none(run: Run, ring: Allowed) -> None:
    run("set", "openai", stdin=CANARY)

    assert (run("remove", "openai").stdout, ring.known) == ("Removed openai.\n", {})
    done = run("remove", "openai")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no key is stored as openai" in done.stderr


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.sys, "stdin", Terminal(io.BytesIO()))  # type: ignore[attr-defined]  # that module's own


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (EOFError(), "No key was given"),
        (getpass.GetPassWarning("echo"), "This terminal cannot hide what is typed"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "What was typed holds a character that no key has"),
    ],
)
def test_a_prompt_that_gives_nothing_or_cannot_hide_is_told(
    monkeypatch: pytest.MonkeyPatch, ring: Allowed, raised: Exception, said: str
) -> None:
    def ask(prompt: str) -> str:
        if isinstance(raised, Warning):
            warnings.warn(raised, stacklevel=1)
        raise raised

    monkeypatch.setattr(getpass, "getpass", ask)
    with pytest.raises(ConfigError, match=said):
        keys.set_key("openai")
    assert ring.known == {}


def test_without_any_stdin_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.sys, "stdin", None)  # type: ignore[attr-defined]  # that module's own
    with pytest.raises(ConfigError, match="no stdin to read the key from"):
        keys.set_key("openai")


# The process itself


@contextmanager
def prompted(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """The real command on a terminal of its own, waiting for a key; and the terminal."""
    master, slave = pty.openpty()
    environ = {"XDG_CONFIG_HOME": str(directory), "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    with (
        open(master, "r+b", buffering=0) as terminal,  # noqa: PTH123 - a descriptor has no path
        subprocess.Popen(
            [sys.executable, "-m", "openai_gateway_mcp", "keys", "set", "openai"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=INHERITED | {"PYTHONPATH": str(ROOT / "src")} | environ,
            start_new_session=True,
        ) as process,
    ):
        os.close(slave)
        shown = b""
        while not shown.endswith(b"Key for openai (not shown): "):
            shown += terminal.read(1024)
        yield process, terminal


def rest_of(terminal: BinaryIO) -> str:
    """What is shown until nobody has the terminal open any more, for which Linux's word is an error."""
    shown = b""
    with suppress(OSError):
        while piece := terminal.read(1024):
            shown += piece
    return shown.decode()


def test_what_a_person_types_is_stored_and_not_shown(tmp_path: Path) -> None:
    with prompted(tmp_path) as (process, terminal):
        terminal.write(f"{CANARY}\n".encode())
        shown = rest_of(terminal)

    assert (process.returncode, stored(tmp_path)) == (0, CANARY)
    assert "Stored openai in" in shown
    assert CANARY not in shown


def test_a_person_may_think_better_of_it(tmp_path: Path) -> None:
    with prompted(tmp_path) as (process, terminal):
        process.send_signal(signal.SIGINT)
        shown = rest_of(terminal)

    assert process.returncode == 130
    assert shown.strip() == ""
    assert not (tmp_path / "openai-gateway").exists()


def test_a_key_as_an_argument_is_refused() -> None:
    for argv in (("keys", "set", CANARY), ("keys", "set", "openai", CANARY)):
        done = start(*argv, messages=[])
        assert done.returncode == 2
        assert "looks like a key" in done.stderr
        assert CANARY not in done.stderr


def test_a_wrong_name_is_one_line_and_exit_code_two() -> None:
    done = start("keys", "remove", "../x", messages=[])

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("openai-gateway-mcp: This is no name for a stored key")
    assert done.stderr.count("\n") == 1


def test_a_keyring_with_plain_text_is_not_used_by_the_real_command(tmp_path: Path) -> None:
    """As with keyrings.alt installed: keyring would take it, and we do not."""
    backend = tmp_path / "plain.py"
    backend.write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Keyring(KeyringBackend):\n"
        "    priority = 9\n"
        "    def get_password(self, service, username): return 'plain-text-0000'\n"
        f"    def set_password(self, *said): open({str(tmp_path / 'leak')!r}, 'w').write(said[-1])\n"
    )
    environ = {"PYTHON_KEYRING_BACKEND": "plain.Keyring", "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "openai_gateway_mcp", "keys", "set", "openai"],
        input=CANARY,
        env={"PATH": INHERITED["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}", **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "plain.Keyring is not among the keyrings that are known to keep a secret" in done.stdout
    assert not (tmp_path / "leak").exists()
    assert stored(tmp_path) == CANARY
