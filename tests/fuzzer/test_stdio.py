"""A process is talked to over its pipes, and nothing of it is left."""

from __future__ import annotations

import os
import sys

import pytest
import trio

from openai_gateway_mcp.fuzz.conversation import Ended
from openai_gateway_mcp.fuzz.stdio import LONGEST_LINE, Process

LONG = 20.0  # seconds that nothing here takes
ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"


async def started(nursery: trio.Nursery, program: str, *, patience: float = LONG) -> Process:
    return await Process.start(nursery, [sys.executable, "-c", program], patience=patience)


async def end_of(pidfd: int) -> None:
    """It takes a while from the signal to the end, and who is not its parent can't wait for it otherwise."""
    try:
        with trio.fail_after(LONG):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


async def test_lines_go_there_and_back_until_the_input_ends(nursery: trio.Nursery) -> None:
    line = await started(nursery, ECHO + "\nprint('bye')")
    await line.say(b"abc\nde")
    await line.say(b"f\n")
    assert [await line.hear(LONG), await line.hear(LONG), await line.hear(0.0)] == [b"cba", b"fed", None]
    assert await line.finish(LONG)
    assert await line.hear(0.0) == b"bye"
    with pytest.raises(Ended) as ended:
        await line.hear(0.0)
    assert ended.value.status == 0


async def test_one_that_ends_by_itself_is_heard_to_its_last_byte_and_then_gone(nursery: trio.Nursery) -> None:
    line = await started(nursery, "import sys; print('a'); print('b', end=''); sys.exit('why')")
    assert [await line.hear(LONG), await line.hear(LONG)] == [b"a", b"b"]
    with pytest.raises(Ended) as ended:
        await line.hear(LONG)
    assert ended.value.status == 1
    assert line.last_words == b"why\n"
    await line.say(b"into the void\n" * 100_000)  # nobody reads it, and nothing is raised


async def test_one_that_outlives_its_input_is_killed_with_all_that_it_started(nursery: trio.Nursery) -> None:
    line = await started(
        nursery,
        "import subprocess, signal; child = subprocess.Popen(['sleep', '1000']);"
        "print(child.pid, flush=True); signal.pause()",
    )
    child = os.pidfd_open(int(await line.hear(LONG) or b""))
    assert not await line.finish(0.05)
    await end_of(child)


async def test_cancelling_kills_it_too() -> None:
    async with trio.open_nursery() as nursery:
        line = await started(nursery, "import os, signal; print(os.getpid(), flush=True); signal.pause()")
        process = os.pidfd_open(int(await line.hear(LONG) or b""))
        nursery.cancel_scope.cancel()
    await end_of(process)


async def test_one_that_reads_nothing_is_told_of(nursery: trio.Nursery) -> None:
    line = await started(nursery, "import signal; signal.pause()", patience=0.05)
    with pytest.raises(TimeoutError):
        await line.say(b"x" * 1_000_000)
    assert not await line.finish(0.0)


async def test_one_that_says_much_while_it_reads_nothing_is_read(nursery: trio.Nursery) -> None:
    line = await started(nursery, "import sys; print('x' * 5_000_000, flush=True); print(len(sys.stdin.read()))")
    await line.say(b"y" * 2_000_000)
    assert await line.finish(LONG)
    assert len(await line.hear(0.0) or b"") == 5_000_000
    assert await line.hear(0.0) == b"2000000"


async def test_a_line_without_an_end_is_handed_on_as_it_stands(nursery: trio.Nursery) -> None:
    pieces = LONGEST_LINE // 65536 + 1
    program = f"import os, signal\nfor _ in range({pieces}): os.write(1, b'x' * 65536)\nsignal.pause()"
    line = await started(nursery, program)
    assert len(await line.hear(LONG) or b"") > LONGEST_LINE
    assert not await line.finish(0.0)


async def test_where_there_is_no_such_program_it_says_so(nursery: trio.Nursery) -> None:
    with pytest.raises(FileNotFoundError):
        await Process.start(nursery, ["/no/such/program"], patience=LONG)
