"""Ten thousand connections that say nothing, and bodies without end: the others are served, and memory is bounded."""

from __future__ import annotations

import re
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from tests.gateway_service.process import configuration, made_key, served
from tests.gateway_service.test_workers import SAY
from tests.peers.fake_upstream import running

pytestmark = pytest.mark.peers

CONNECTIONS = 9_900  # of the 10,000 that a service has by default
MEGABYTE = 2**20


def memory(pid: int) -> int:
    """What of its memory is resident, in bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), flags=re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def test_ten_thousand_that_say_nothing_hold_up_nobody(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > 11_000, "This test needs more descriptors: raise the hard limit (ulimit -Hn)."
    with running() as upstream, ExitStack() as stack:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        service = stack.enter_context(served(tmp_path, "--config", str(config)))
        port = int(service.url.rpartition(":")[2])
        before = memory(service.process.pid)
        for number in range(CONNECTIONS):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            idle.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo"[: number % 40])  # some a part of a head
        with openai.OpenAI(base_url=f"{service.url}/v1", api_key=made_key(tmp_path), timeout=30) as ai:
            said = ai.chat.completions.create(model="echo", messages=SAY)
        assert said.choices[0].message.content == "Hello!"
        assert memory(service.process.pid) - before < CONNECTIONS * 40_000
        stack.pop_all().close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/audio/transcriptions"])
def test_a_body_of_a_gigabyte_is_refused_and_not_held(tmp_path: Path, path: str) -> None:
    """Chunked, so that nobody knows its length before."""
    with running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        with served(tmp_path, "--config", str(config)) as service:
            key, port = made_key(tmp_path), int(service.url.rpartition(":")[2])
            kind = "multipart/form-data; boundary=b" if "audio" in path else "application/json"
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n"
            begins = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            piece = b"%x\r\n%b\r\n" % (MEGABYTE, b"x" * MEGABYTE)
            before = memory(service.process.pid)
            most, sent = before, 0
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                client.sendall(b"%x\r\n%b\r\n" % (len(begins), begins))
                try:
                    while sent < 1024:
                        client.sendall(piece)
                        sent += 1
                        most = max(most, memory(service.process.pid))
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it has heard enough
                try:
                    answer = client.recv(65536)
                except ConnectionResetError:
                    answer = b""
            assert answer.startswith(b"HTTP/1.1 413") or (sent < 1024 and not answer)
            assert most - before < 128 * MEGABYTE
            with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key) as ai:
                assert ai.chat.completions.create(model="echo", messages=SAY).choices
