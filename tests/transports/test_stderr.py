"""Standard error, when nobody reads it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from openai_gateway_mcp.transports.stderr import lossy_text

LOST = "\n[output was lost here: nobody read stderr]\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    output, unread = os.pipe()
    yield output, unread
    os.close(unread)


def test_what_is_read_comes_whole_and_at_once(pipe: tuple[int, int]) -> None:
    output, unread = pipe
    stderr = lossy_text(unread)
    stderr.write("one\n")
    print("two é \ud800", file=stderr)
    assert os.read(output, 1000).decode() == "one\ntwo é \\ud800\n"
    os.close(output)


def test_a_full_pipe_holds_nobody_up_and_the_loss_is_said_later(pipe: tuple[int, int]) -> None:
    output, unread = pipe
    stderr = lossy_text(unread)
    for _ in range(100):
        stderr.write("x" * 10_000)
    os.set_blocking(output, False)
    held = os.read(output, 2**20)
    assert 0 < len(held) < 1_000_000
    stderr.write("after\n")
    stderr.write("and on\n")
    assert os.read(output, 1000).decode() == f"{LOST}after\nand on\n"
    os.close(output)


def test_it_may_be_written_to_when_there_is_no_reader_any_more(pipe: tuple[int, int]) -> None:
    output, unread = pipe
    os.close(output)
    lossy_text(unread).write("x\n")


def test_threads_may_print_at_the_same_time(pipe: tuple[int, int]) -> None:
    output, unread = pipe
    stderr = lossy_text(unread)
    threads = [threading.Thread(target=lambda: [stderr.write("abc\n") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.read(output, 2**20).decode().count("abc\n") == 2_000
    os.close(output)


def test_a_library_may_ask_what_it_writes_to(pipe: tuple[int, int]) -> None:
    output, unread = pipe
    stderr = lossy_text(unread)
    assert (stderr.fileno(), stderr.isatty(), stderr.writable()) == (unread, False, True)
    stderr.close()
    os.write(unread, b"still open")
    os.close(output)
