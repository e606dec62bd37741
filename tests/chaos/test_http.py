"""/mcp and the gateway's service as processes, and clients on their sockets that do what no good one does."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.chaos.watched import (
    MEGABYTE,
    SLACK,
    children,
    forget_the_peak,
    leave_descriptors,
    peak,
    processor_seconds,
    unread_by_peer,
    write_what_is_taken,
)
from tests.cli.test_http import serving
from tests.gateway_service.process import configuration, made_key, served
from tests.peers.fake_upstream import running

Json = Any
PATIENCE = 30
MAX_BODY = 16 * MEGABYTE  # MAX_MESSAGE_BYTES, by default

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")


@attrs.frozen
class Face:
    """A server, and how a text is sent to it that comes back in the answer."""

    process: subprocess.Popen[str]
    port: int
    asking: Callable[[str], bytes]

    @property
    def question(self) -> bytes:
        return self.asking("Hello!")

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


def post(path: str, body: Json, *fields: str) -> bytes:
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


@contextmanager
def mcp(_: Path) -> Iterator[Face]:
    def asking(text: str) -> bytes:
        params = {"name": "chat", "arguments": {"prompt": text}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return post("/mcp", body, "Accept: application/json, text/event-stream")

    with serving("--rate-limit", "0") as started:
        port = int(started.url.split("/")[2].rpartition(":")[2])
        yield Face(started.process, port, asking)


@contextmanager
def gateway(path: Path) -> Iterator[Face]:
    def asking(text: str) -> bytes:
        body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
        return post("/v1/chat/completions", body, f"Authorization: Bearer {key}")

    with running() as upstream:
        config = configuration(path / "gateway.toml", upstream.url)
        with served(path / "data", "--config", str(config)) as started:
            key = made_key(path / "data")
            port = int(started.url.rpartition(":")[2])
            yield Face(started.process, port, asking)


@pytest.fixture(scope="module", params=[mcp, gateway], ids=["mcp", "gateway"])
def face(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    """One of each, which goes through all of it. It has answered once before, and at the end it leaves well."""
    with request.param(tmp_path_factory.mktemp("face")) as face:
        with face.connect() as client:
            client.sendall(face.question)
            assert answered(client)
        yield face
        with face.connect() as client:  # after all that it serves
            client.sendall(face.question)
            assert answered(client)
        assert children(face.pid) == ""
        face.process.send_signal(signal.SIGTERM)
        assert face.process.stderr is not None
        said = face.process.stderr.read()
        assert (face.process.wait(PATIENCE), "Traceback" in said) == (0, False), said


def answered(client: socket.socket) -> str:
    """An answer with a length or in chunks, to its end."""
    said = b""
    while not is_whole(said):
        piece = client.recv(65_536)
        assert piece, said
        said += piece
    assert said.startswith(b"HTTP/1.1 200 ")
    return said.decode()


def is_whole(said: bytes) -> bool:
    """Whether it is all of the answer to a question."""
    return b"Hello!" in said and said.endswith((b"}", b"0\r\n\r\n"))


def test_a_client_that_writes_a_byte_at_a_time(face: Face) -> None:
    with face.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in face.question:
            client.sendall(bytes([byte]))
            while unread_by_peer(client):
                os.sched_yield()
        answered(client)


def test_a_client_that_closes_its_half_is_answered_or_taken_for_gone(face: Face) -> None:
    """A half-closed connection is how most proxies tell that the client left (nginx 499): no answer is owed to it."""
    with face.connect() as client:
        client.sendall(face.question)
        client.shutdown(socket.SHUT_WR)
        said = b""
        while piece := client.recv(65_536):
            said += piece
        assert not said or (said.startswith(b"HTTP/1.1 200 ") and is_whole(said))


def test_a_client_that_asks_without_end_and_never_reads(face: Face) -> None:
    """One question of a connection is in work at a time, so what it holds is what the sockets hold."""
    before = forget_the_peak(face.pid)
    data = face.asking("Hello!" * 3_000) * 4_000
    with face.connect() as client:
        client.setblocking(False)
        assert write_what_is_taken(client.fileno(), data) < len(data) / 2
        assert peak(face.pid) - before < SLACK


def test_without_a_descriptor_left_those_who_are_in_go_on_and_the_others_wait(face: Face) -> None:
    with ExitStack() as stack:
        inside = stack.enter_context(face.connect())
        inside.sendall(face.question)
        answered(inside)
        before = leave_descriptors(face.pid, 6)  # enough for a call's own
        outside = [stack.enter_context(face.connect()) for _ in range(20)]  # of which a few are let in
        for _ in range(10):
            inside.sendall(face.question)
            answered(inside)
        spent = processor_seconds(face.pid)
        assert select.select([inside], [], [], 0.5)[0] == []
        assert processor_seconds(face.pid) - spent < 0.25  # it does not ask without a pause
        resource.prlimit(face.pid, resource.RLIMIT_NOFILE, before)
        for client in outside:
            client.sendall(face.question)
            answered(client)


def test_stopped_and_woken_it_answers_what_was_asked_before_and_meanwhile(face: Face) -> None:
    with face.connect() as early, face.connect() as late:
        early.sendall(face.question)
        face.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, face.pid, os.WSTOPPED | os.WNOWAIT)
        late.sendall(face.question)
        face.process.send_signal(signal.SIGCONT)
        answered(early)
        answered(late)


@pytest.mark.peers
def test_a_body_of_a_gigabyte_to_mcp_is_refused_and_not_held(tmp_path: Path) -> None:
    with mcp(tmp_path) as face, face.connect() as client:
        before = forget_the_peak(face.pid)
        fields = ["Host: localhost", "Content-Type: application/json", "Transfer-Encoding: chunked"]
        client.sendall("\r\n".join(["POST /mcp HTTP/1.1", *fields, "", ""]).encode())
        piece = b"%x\r\n%b\r\n" % (MEGABYTE, b"x" * MEGABYTE)
        try:
            for _ in range(1_024):
                client.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        assert (
            peak(face.pid) - before < 2 * 16 * MEGABYTE + SLACK
        )  # twice: the pieces, and the whole they are joined to
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")
