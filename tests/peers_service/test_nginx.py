"""A thousand streams through nginx and TLS, half of them buffered: progress arrives, and leaving is seen."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.cli.test_http import PATIENCE, Serving, serving
from tests.gateway_net.certificates import CA
from tests.peers import fake_upstream
from tests.peers.playing import gateway
from tests.transports.posting import modern_call, posted

pytestmark = pytest.mark.peers

STREAMS = 1_000
CONF = """
daemon off;
worker_processes 1;
pid {room}/nginx.pid;
error_log {room}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {room}/body;
    proxy_temp_path {room}/proxy;
    fastcgi_temp_path {room}/fastcgi;
    uwsgi_temp_path {room}/uwsgi;
    scgi_temp_path {room}/scgi;
    ssl_certificate {room}/cert.pem;
    ssl_certificate_key {room}/key.pem;
    {servers}
}}
"""
SERVER = """
server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    location /mcp {{
        proxy_pass {url};
        proxy_http_version 1.1;
        proxy_set_header Host localhost;
        proxy_buffering {buffering};
        proxy_read_timeout 1h;
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def nginx(room: Path, url: str) -> Iterator[tuple[int, int]]:
    """The ports of its two servers: the first buffers what it passes on, the second does not."""
    certificate = CA.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(room / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(room / "cert.pem", append=True)
    ports = free_port(), free_port()
    servers = (SERVER.format(port=port, url=url, buffering=one) for port, one in zip(ports, ("on", "off"), strict=True))
    (room / "nginx.conf").write_text(CONF.format(room=room, servers="".join(servers)))
    program = shutil.which("nginx", path=f"{os.defpath}:/usr/sbin")
    assert program is not None, "nginx is not installed; scripts/test --peers installs it"
    with subprocess.Popen([program, "-p", room, "-c", room / "nginx.conf"], stderr=subprocess.DEVNULL) as process:
        try:
            yield ports
        finally:
            process.terminate()
            process.wait(PATIENCE)


async def streams(ports: tuple[int, int]) -> list[bytes]:
    """What each stream has said when all have said something; then all are left at once."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    heard: list[bytes] = []
    all_heard = trio.Event()

    async def one(number: int) -> None:
        message, fields = modern_call(number, token=number)
        message["params"]["arguments"] = {"prompt": "Hello", "model": "stuck"}
        message["params"]["name"] = "chat"
        stream = await trio.open_ssl_over_tcp_stream("localhost", ports[number % 2], ssl_context=context)
        try:
            await stream.send_all(posted(json.dumps(message).encode(), **{**fields, "Mcp_Name": "chat"}))
            said = b""
            while b"\n\n" not in said:
                piece = await stream.receive_some()
                assert piece, said.decode()[-600:]
                said += piece
            heard.append(said)
            if len(heard) == STREAMS:
                all_heard.set()
            await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        for number in range(STREAMS):
            nursery.start_soon(one, number)
            if number % 100 == 99:  # a burst of handshakes would only measure nginx
                await trio.sleep(0.2)
        await all_heard.wait()
        nursery.cancel_scope.cancel()
    return heard


async def until_all_are_gone(upstream: fake_upstream.Upstream) -> None:
    for _ in range(10 * PATIENCE):  # the journal is another thread's
        if upstream.journal.kinds("stuck").count("gone") == STREAMS:
            return
        await trio.sleep(0.1)
    raise AssertionError(upstream.journal.kinds("stuck").count("gone"))


def listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_thousand_streams_through_nginx(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > 8_000, "This test needs more descriptors: raise the hard limit (ulimit -Hn)."
    with fake_upstream.running() as upstream:
        started: Serving
        flags = ("--max-in-flight", str(2 * STREAMS), "--rate-limit", "0")
        with serving(*flags, embedded=False, **gateway(upstream)) as started, nginx(tmp_path, started.url) as ports:
            heard = trio.run(_in_turn, ports, upstream)
            assert started.end() == 0
    assert len(heard) == STREAMS
    assert all(b"notifications/progress" in said for said in heard)


async def _in_turn(ports: tuple[int, int], upstream: fake_upstream.Upstream) -> list[bytes]:
    for _ in range(20 * PATIENCE):  # nginx says nothing when it is ready
        if all(map(listening, ports)):
            break
        await trio.sleep(0.05)
    with trio.fail_after(PATIENCE):
        heard = await streams(ports)
    await until_all_are_gone(upstream)
    return heard
