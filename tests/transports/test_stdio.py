"""A real process over real descriptors of every kind that a parent may hand to it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import termios
from pathlib import Path

import pytest
from tests.transports import process
from tests.transports.conversation import answer, ping, pong
from tests.transports.process import call, lines, server

from openai_gateway_mcp.transports.outbox import HIGH_WATER


def written(completed: subprocess.CompletedProcess[bytes]) -> list[object]:
    return [json.loads(line) for line in completed.stdout.splitlines()]


# --- kinds of descriptors ---------------------------------------------------------------------------------------------


def test_a_pipe_each_way() -> None:
    completed = process.run(ping(1), call(2, "echo", "hello"))
    assert written(completed) == [pong(1), answer(2, "hello")]
    assert completed.returncode == 0
    assert completed.stderr == b"printed after the claim\nready pipe pipe\n"


def test_messages_far_larger_than_a_pipe_holds() -> None:
    text = "x" * 3_000_000
    with server() as peer:
        peer.send(call(1, "flood", str(len(text))))
        peer.until_it_says("ready")
        assert peer.receive() == answer(1, text)
        peer.stdin.close()
        assert peer.exit_code() == 0


def test_a_socket_pair_each_way_as_node_clients_give() -> None:
    ours_in, theirs_in = socket.socketpair()
    ours_out, theirs_out = socket.socketpair()
    with (
        ours_in,
        ours_out,
        ours_in.makefile("wb") as stdin,
        ours_out.makefile("rb") as stdout,
        server(stdin=theirs_in.fileno(), stdout=theirs_out.fileno(), client=(stdin, stdout)) as peer,
    ):
        theirs_in.close()
        theirs_out.close()
        peer.send(ping(1), call(2, "flood", "1000000"))
        assert peer.receive() == pong(1)
        assert peer.receive() == answer(2, "x" * 1_000_000)
        ours_in.shutdown(socket.SHUT_WR)
        assert peer.exit_code() == 0
        assert "ready socket socket" in peer.rest_of_stderr()


def test_one_socket_for_both_ways() -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        ours.makefile("wb") as stdin,
        ours.makefile("rb") as stdout,
        server(stdin=theirs.fileno(), stdout=theirs.fileno(), client=(stdin, stdout)) as peer,
    ):
        theirs.close()
        peer.send(ping(1))
        assert peer.receive() == pong(1)
        ours.shutdown(socket.SHUT_WR)
        assert peer.exit_code() == 0


def test_a_file_is_answered_whole_however_long_the_calls_take(tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_bytes(lines(ping(1), call(2, "take_a_second", "late"), call(3, "echo", "early")))
    with requests.open("rb") as stdin, answers.open("wb") as stdout:
        completed = process.run(stdin=stdin, stdout=stdout)
    assert completed.returncode == 0
    assert answers.read_bytes() == lines_as_sent(pong(1), answer(3, "early"), answer(2, "late"))
    assert b"ready file file" in completed.stderr


def lines_as_sent(*messages: object) -> bytes:
    return b"".join(json.dumps(message, separators=(",", ":")).encode() + b"\n" for message in messages)


def test_answers_into_the_null_device() -> None:
    assert process.run(ping(1), call(2, "echo"), stdout=subprocess.DEVNULL).returncode == 0


def test_started_on_the_null_device_it_says_what_to_do() -> None:
    completed = process.run(stdin=subprocess.DEVNULL)
    assert completed.returncode == 0
    assert completed.stdout == b""
    _, advice = completed.stderr.decode().splitlines()
    assert "null device" in advice
    assert "docker run -i" in advice


def test_a_closed_stdin_is_like_the_null_device() -> None:
    completed = process.shell("$SERVER <&-")
    assert completed.returncode == 0
    assert completed.stdout == b""
    assert b"stdin is closed" in completed.stderr


def test_a_closed_stdout_is_nobody_to_answer(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    requests.write_bytes(lines(call(1, "wait")))
    completed = process.shell(f"$SERVER <{requests} >&-")
    assert completed.returncode == 0
    assert b"stdout is closed" in completed.stderr


def test_a_closed_stderr_changes_nothing() -> None:
    completed = process.shell("""echo '{"jsonrpc":"2.0","id":1,"method":"ping"}' | { $SERVER 2>&-; echo code $?; }""")
    assert completed.stdout == lines_as_sent(pong(1)) + b"code 0\n"


def test_all_three_closed_end_quietly() -> None:
    assert process.shell("exec $SERVER <&- >&- 2>&-").returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_behind_stdout_is_said_and_not_a_traceback() -> None:
    with Path("/dev/full").open("wb") as stdout:
        completed = process.run(ping(1), stdout=stdout)
    assert completed.returncode == 1
    assert b"writing failed: No space left on device" in completed.stderr
    assert b"Traceback" not in completed.stderr


# --- a terminal -------------------------------------------------------------------------------------------------------


def local_flags(fd: int) -> int:
    flags = termios.tcgetattr(fd)[3]
    assert isinstance(flags, int)
    return flags


@pytest.mark.parametrize(("ending", "code"), [("end of file", 0), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_on_a_terminal_the_echo_is_off_until_it_ends(ending: str | int, code: int) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    try:
        with (
            os.fdopen(master, "r+b", buffering=0, closefd=False) as terminal,
            server(stdin=slave, stdout=slave, client=(terminal, terminal)) as peer,
        ):
            peer.until_it_says("ready terminal terminal")
            assert not local_flags(slave) & termios.ECHO
            peer.until_it_answers()
            if isinstance(ending, int):
                peer.signal(ending)
            else:
                terminal.write(b"\x04")
            assert peer.exit_code() == code
            assert "Traceback" not in peer.rest_of_stderr()
            assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_on_a_terminal_that_nobody_reads_a_signal_still_ends_it() -> None:
    master, slave = pty.openpty()
    try:
        with (
            os.fdopen(master, "r+b", buffering=0, closefd=False) as terminal,
            server(stdin=slave, stdout=slave, client=(terminal, terminal)) as peer,
        ):
            peer.send(call(1, "flood", "1000000"), call(2, "wait", "behind it"))
            peer.until_it_says("started behind it")
            peer.signal(signal.SIGTERM)
            assert peer.exit_code() == 143
    finally:
        os.close(master)
        os.close(slave)


def test_ctrl_c_at_the_terminal() -> None:
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(process.ROOT)
        os.execve(process.SERVER[0], process.SERVER, process.environment())  # noqa: S606 - the child of a fork, with a terminal for its own
    with os.fdopen(master, "r+b", buffering=0) as terminal:
        said = b""
        while b"ready" not in said:
            said += terminal.read(1000)
        terminal.write(b"\x03")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 130
        assert b"Traceback" not in said


# --- what belongs to others -------------------------------------------------------------------------------------------


def test_the_parent_s_descriptors_stay_as_they_were() -> None:
    master, slave = pty.openpty()
    end, start = os.pipe()
    nobody = (Path(os.devnull).open("wb"), Path(os.devnull).open("rb"))  # noqa: SIM115 - closed with the others
    try:
        flags = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (slave, end, start)]
        for stdin, stdout in ((slave, slave), (end, start)):
            with server(stdin=stdin, stdout=stdout, client=nobody) as peer:
                peer.until_it_says("ready")
                assert [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (slave, end, start)] == flags
                peer.signal(signal.SIGTERM)
                peer.exit_code()
        assert [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (slave, end, start)] == flags
    finally:
        for fd in (master, slave, end, start):
            os.close(fd)
        for file in nobody:
            file.close()


def test_a_parent_that_made_its_pipes_non_blocking_is_served_all_the_same() -> None:
    to_server, stdin = os.pipe()
    stdout, from_server = os.pipe()
    os.set_blocking(to_server, False)
    os.set_blocking(from_server, False)
    with (
        os.fdopen(stdin, "wb") as ours_in,
        os.fdopen(stdout, "rb") as ours_out,
        server(stdin=to_server, stdout=from_server, client=(ours_in, ours_out)) as peer,
    ):
        os.close(to_server)
        os.close(from_server)
        peer.send(ping(1), call(2, "flood", "1000000"))
        peer.until_it_says("ready")
        assert peer.receive() == pong(1)
        assert peer.receive() == answer(2, "x" * 1_000_000)
        ours_in.close()
        assert peer.exit_code() == 0


def test_what_a_library_prints_goes_to_stderr_and_a_child_reads_nothing() -> None:
    with server() as peer:
        peer.send(call(1, "be_noisy", "text"))
        assert peer.receive() == answer(1, "text 0 ''")
        peer.stdin.close()
        assert peer.exit_code() == 0
        assert peer.stdout.read() == b""
        said = peer.rest_of_stderr()
    for text in ("from print text", "from the old object text", "from descriptor 1", "child read ''"):
        assert text in said


def test_two_that_start_at_once_do_not_disturb_each_other() -> None:
    with server() as first, server() as twin:
        twin.until_it_answers()
        twin.stdin.close()
        assert twin.exit_code() == 0
        first.until_it_answers()
        first.stdin.close()
        assert first.exit_code() == 0


# --- the ends ---------------------------------------------------------------------------------------------------------


def test_the_end_of_input_cancels_what_takes_too_long() -> None:
    completed = process.run(call(1, "wait", "a call"), ping(2))
    assert written(completed) == [pong(2)]
    assert completed.returncode == 0
    assert completed.stderr.decode().endswith("started a call\ncancelled a call\n")


def test_a_worker_thread_does_not_hold_back_the_exit() -> None:
    completed = process.run(call(1, "block_a_thread"))
    assert completed.returncode == 0
    assert completed.stdout == b""


def test_the_end_of_input_is_noticed_behind_answers_that_nobody_reads() -> None:
    with server() as peer:
        peer.send(call(1, "flood", str(HIGH_WATER * 2)), call(2, "wait", "behind it"))
        peer.until_it_says("started behind it")
        peer.send(ping(3))
        peer.send(*map(ping, range(4, 1000)))
        peer.stdin.close()
        assert peer.exit_code() == 0
        assert "cancelled behind it" in peer.rest_of_stderr()


def test_a_client_that_closes_our_stdout_ends_us_quietly() -> None:
    with server() as peer:
        peer.send(call(1, "wait", "a call"))
        peer.until_it_says("started a call")
        peer.stdout.close()
        peer.send(ping(2))
        assert peer.exit_code() == 0
        assert peer.rest_of_stderr().endswith("cancelled a call\n")


def test_a_client_that_vanishes_from_its_sockets_ends_us_quietly() -> None:
    ours, theirs = socket.socketpair()
    stdin, stdout = ours.makefile("wb"), ours.makefile("rb")
    with server(stdin=theirs.fileno(), stdout=theirs.fileno(), client=(stdin, stdout)) as peer:
        theirs.close()
        peer.send(call(1, "flood", "10000000"))
        peer.until_it_says("ready")
        for end in (stdin, stdout, ours):
            end.close()
        assert peer.exit_code() == 0
        assert "Traceback" not in peer.rest_of_stderr()


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
@pytest.mark.parametrize("tool", ["wait", "block_a_thread"])
def test_a_signal_cancels_and_leaves(signum: int, code: int, tool: str) -> None:
    with server() as peer:
        peer.send(call(1, tool, "a call"))
        peer.until_it_says("started a call")
        peer.signal(signum)
        assert peer.exit_code() == code
        assert peer.stdout.read() == b""
        assert "Traceback" not in peer.rest_of_stderr()
        assert ("cancelled a call\n" in peer.rest_of_stderr()) is (tool == "wait")


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
@pytest.mark.parametrize("tool", ["cling", "block"])
def test_a_signal_ends_even_what_refuses_to_be_cancelled(signum: int, code: int, tool: str) -> None:
    with server() as peer:
        peer.send(call(1, tool, "a call"))
        peer.until_it_says("started a call")
        peer.signal(signum)
        assert peer.exit_code() == code
        assert "Traceback" not in peer.rest_of_stderr()


def test_a_second_signal_ends_it_at_once() -> None:
    """The code says which signal ended it: the first one's patience would end it with the code of the first."""
    with server() as peer:
        peer.send(call(1, "cling", "a call"))
        peer.until_it_says("started a call")
        peer.signal(signal.SIGSTOP)  # so that it finds both together, in the order of their numbers
        peer.signal(signal.SIGINT)
        peer.signal(signal.SIGTERM)
        peer.signal(signal.SIGCONT)
        assert peer.exit_code() == 143
        assert "Traceback" not in peer.rest_of_stderr()


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_while_answers_are_stuck_does_not_wait_for_the_client(signum: int, code: int) -> None:
    with server() as peer:
        peer.send(call(1, "flood", "10000000"), call(2, "wait", "behind it"))
        peer.until_it_says("started behind it")
        peer.signal(signum)
        assert peer.exit_code() == code
