"""A program that prints a key, run once: without a shell, in bounded time and space, and gone at the end, all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

import attrs
import trio

from openai_gateway.errors import ConfigError
from openai_gateway.keystore.usable import MAX_KEY_BYTES, key_in
from openai_gateway.routing.key_source import KeyCommand
from openai_gateway.secret import Secret

_LAST_WORDS: Final = 0.5
"""Seconds to read on after the program ended: what it said is in the pipe, which a daemon of its own may hold open."""

_REAPING: Final = 1.0  # seconds for what was killed to be gone; only a process stuck in the kernel needs them

_Pipe = trio.abc.ReceiveStream


async def key_of_command(source: KeyCommand) -> Secret:
    """Run it and take what it prints for the key. Raises ConfigError, which shows nothing of what it printed."""
    said = await _run(source)
    if said.is_too_long:
        raise ConfigError(f"{source.name} printed more than a key (over {MAX_KEY_BYTES} bytes).")
    if said.status is None:
        raise ConfigError(
            f"{source.name} did not end within {source.timeout:g} s and was killed;"
            " if it waits for a person, unlock it first, or say a longer `timeout`."
        )
    if said.status:
        raise ConfigError(
            f"{source.name} ended with {_ending(said.status)} and {said.complaints} bytes on stderr, which are not"
            " shown; run it in a terminal to see what it lacks."
        )
    return Secret(key_in(bytes(said.output), f"What {source.name} printed"), name=source.name)


def _ending(status: int) -> str:
    return f"exit status {status}" if status > 0 else f"signal {-status}"


@attrs.define
class _Said:
    """What came of a run. `status` is None for one that was killed; of stderr only the size is kept."""

    output: bytearray = attrs.field(factory=bytearray, repr=False)
    complaints: int = 0
    is_too_long: bool = False
    status: int | None = None


async def _run(source: KeyCommand) -> _Said:
    process = await _start(source)
    stdout, stderr = cast("_Pipe", process.stdout), cast("_Pipe", process.stderr)  # pipes were asked for
    said = _Said()
    is_over = False
    try:
        with trio.move_on_after(source.timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep, stdout, said, nursery.cancel_scope)
                nursery.start_soon(_count, stderr, said)
                said.status = await process.wait()
                _kill_group(process)
                is_over = True
                nursery.cancel_scope.deadline = trio.current_time() + _LAST_WORDS
    finally:
        if not is_over:
            _kill_group(process)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _REAPING):
            await process.wait()
            await stdout.aclose()
            await stderr.aclose()
    return said


async def _start(source: KeyCommand) -> trio.Process:
    """In a session of its own: a process group that can be killed, and that no Ctrl-C of ours reaches before us."""
    argv: Sequence[str] = source.argv
    try:
        return await trio.lowlevel.open_process(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        reason = error.strerror
    except ValueError as error:  # a NUL, or half a character, in the arguments
        reason = str(error)
    raise ConfigError(f"{source.name} cannot be started: {reason}. It is looked for in PATH; no shell is asked.")


async def _keep(stdout: trio.abc.ReceiveStream, said: _Said, run: trio.CancelScope) -> None:
    async for piece in stdout:
        said.output += piece
        if len(said.output) > MAX_KEY_BYTES:
            said.is_too_long = True
            run.cancel()


async def _count(stderr: trio.abc.ReceiveStream, said: _Said) -> None:
    async for piece in stderr:
        said.complaints += len(piece)


def _kill_group(process: trio.Process) -> None:
    """End the program and all that it started; harmless when they are gone.

    The group's number is the program's own. It is free again once the program was waited for, so this is called in the
    very next step or before; a system gives all its other numbers out first.
    """
    if sys.platform == "win32":  # pragma: no cover - exercised on Windows only; there are no process groups to signal
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):  # macOS says the second of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
