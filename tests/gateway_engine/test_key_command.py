"""A command that gives a key: real programs, with all that can be wrong with them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from openai_gateway.engine.key_command import key_of_command
from openai_gateway.engine.key_readers import Readers
from openai_gateway.errors import ConfigError
from openai_gateway.routing.key_source import KeyCommand

CANARY = "sk-canary-0123456789abcdefghij"

HOLDS_A_LINE = """
import os, socket, subprocess, sys, time
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], pass_fds=[line.fileno()])
line.sendall(b".")
"""
"""A program with a child: both hold a connection open for as long as they live."""


def program(code: str, *arguments: str, **more: Any) -> KeyCommand:
    return KeyCommand(argv=(sys.executable, "-c", code, *arguments), set_by="api_key of p", **more)


async def fault(source: KeyCommand) -> str:
    with pytest.raises(ConfigError) as caught:
        await key_of_command(source)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


async def test_what_it_prints_is_the_key() -> None:
    secret = await key_of_command(program(f"print('  {CANARY}  ')"))

    assert secret.reveal() == CANARY
    assert repr(secret) == f"Secret(the command {sys.executable!r} (api_key of p))"


async def test_the_readers_run_it_each_time() -> None:
    found = await Readers()(program(f"print('{CANARY}')"), None)

    assert (found.secret.reveal(), found.mark) == (CANARY, None)


async def test_arguments_are_arguments_and_no_shell_sees_them() -> None:
    secret = await key_of_command(program("import sys; print(sys.argv[1])", "$HOME;`id`|*"))

    assert secret.reveal() == "$HOME;`id`|*"


async def test_it_inherits_the_environment_and_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_OURS", "inherited-0123")
    secret = await key_of_command(program("import os, sys; print(os.environ['OF_OURS'] + str(len(sys.stdin.read())))"))

    assert secret.reveal() == "inherited-01230"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"import sys; print('{CANARY}'); print('{CANARY}', file=sys.stderr, end=''); sys.exit(3)", "exit status 3"),
        ("import sys; sys.stderr.write('x' * 24); sys.exit(1)", "exit status 1 and 24 bytes on stderr"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("pass", "is empty"),
        (f"print('{CANARY}'); print('{CANARY}')", "a character that no key has"),
        (f"print('Bearer {CANARY}')", 'begins with "Bearer"'),
        (f"import sys; sys.stdout.buffer.write(b'{CANARY}' + bytes([255]))", "a character that no key has"),
        (f"import sys\nwhile True: sys.stdout.write('{CANARY}' * 1000)", "printed more than a key"),
        (f"print('{CANARY}' * 3000)", "printed more than a key"),
    ],
)
async def test_what_is_of_no_use_is_told_without_showing_it(code: str, said: str) -> None:
    message = await fault(program(code))

    assert said in message
    assert "api_key of p" in message


async def test_one_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    missing = KeyCommand(argv=("no-such-program-of-ours",), set_by="api_key of p")
    directory = KeyCommand(argv=(str(tmp_path),), set_by="api_key of p")

    assert "cannot be started: No such file or directory. It is looked for in PATH" in await fault(missing)
    assert "cannot be started: Permission denied" in await fault(directory)


@pytest.mark.parametrize("argument", ["a\0b", "\ud800"], ids=["a NUL", "half a character"])
async def test_arguments_that_no_program_can_be_given_are_told(argument: str) -> None:
    source = KeyCommand(argv=(sys.executable, argument), set_by="api_key of p")

    assert "cannot be started: " in await fault(source)


async def test_one_that_says_much_and_ends_well_is_no_matter_how_much_it_complains() -> None:
    secret = await key_of_command(program(f"import sys; sys.stderr.write('x' * 1_000_000); print('{CANARY}')"))

    assert secret.reveal() == CANARY


@attrs.define
class Line:
    """The other end of what the program and its child hold open."""

    port: str
    listener: trio.SocketListener

    async def accept(self) -> trio.SocketStream:
        stream = await self.listener.accept()
        assert await stream.receive_some() == b"."
        return stream

    async def is_cut(self, stream: trio.SocketStream) -> bool:
        """Whether all who held the other end are gone; waits for it."""
        async with stream:
            try:
                return await stream.receive_some() == b""
            except trio.BrokenResourceError:  # a reset, as the end of a killed process may come
                return True


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield Line(str(listener.socket.getsockname()[1]), listener)


HANGS = HOLDS_A_LINE + "time.sleep(3600)"


async def test_one_that_does_not_end_in_time_is_killed_with_its_children(mock_clock: MockClock) -> None:
    told: list[str] = []

    async def ask(port: str) -> None:
        told.append(await fault(program(HANGS, port)))

    async with line() as ours, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ours.port)
        stream = await ours.accept()
        mock_clock.jump(10)
        assert await ours.is_cut(stream)
    assert "did not end within 10 s and was killed" in told[0]


async def test_what_it_leaves_running_is_killed_and_not_waited_for() -> None:
    got: list[str] = []

    async def ask(port: str) -> None:
        got.append((await key_of_command(program(HOLDS_A_LINE + f"print('{CANARY}')", port))).reveal())

    async with line() as ours, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ours.port)
        assert await ours.is_cut(await ours.accept())
    assert got == [CANARY]


async def test_a_daemon_of_its_own_that_holds_the_pipes_is_neither_killed_nor_waited_for() -> None:
    daemon = "import socket, sys; socket.fromfd(int(sys.argv[1]), socket.AF_INET, socket.SOCK_STREAM).recv(1)"
    code = f"""
import os, socket, subprocess, sys
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
fd = line.fileno()
subprocess.Popen([sys.executable, "-c", {daemon!r}, str(fd)], pass_fds=[fd], start_new_session=True)
line.sendall(b".")
print("{CANARY}")
"""
    got: list[str] = []

    async def ask(port: str) -> None:
        got.append((await key_of_command(program(code, port, timeout=3600))).reveal())

    async with line() as ours:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ours.port)
            stream = await ours.accept()
        assert got == [CANARY]
        await stream.send_eof()  # which ends the daemon
        assert await ours.is_cut(stream)


async def test_cancelling_kills_it_and_its_children_before_anything_else_happens() -> None:
    async with line() as ours, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                stream = await ours.accept()
                scope.cancel()
                assert await ours.is_cut(stream)

            nursery.start_soon(cancel)
            await key_of_command(program(HANGS, ours.port))
        assert scope.cancelled_caught


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_no_descriptor_stays_open() -> None:
    async def run_all() -> None:
        await key_of_command(program(f"print('{CANARY}')"))
        await fault(program("import sys; sys.exit(1)"))
        await fault(KeyCommand(argv=("no-such-program-of-ours",), set_by="x"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await key_of_command(program("pass"))

    await run_all()
    before = descriptors()
    await run_all()
    assert descriptors() == before
