"""What is asked of a gateway, and what is measured of it: latency, throughput, streams, memory, and when it lets go."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median, quantiles

import attrs
import trio
from gateways import Started

PHASES = ("before the head", "in a stream", "waiting for a whole answer")
NEVER = 10.0
"""Seconds after which nobody waits any more for a gateway to notice that its client is gone."""

_MESSAGES = [{"role": "user", "content": "Say a few words. " * 10}]
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Effort:
    calls: int = 300
    seconds: int = 5


@attrs.frozen(kw_only=True)
class Run:
    """What one round gave. Times in seconds, memory in MiB; `left` by phase."""

    p50: float
    p99: float
    per_second_16: float
    per_second_64: float
    cpu_64: float
    first_token: float
    chunks_per_second: float
    memory_idle: float
    memory_loaded: float
    start: float
    left: Mapping[str, float]


def request(path: str, headers: Mapping[str, str], *, model: str = "m", stream: bool = False) -> bytes:
    """A request in bytes."""
    body = json.dumps({"model": model, "messages": _MESSAGES, "stream": stream}).encode()
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def one_at_a_time(port: int, data: bytes, calls: int) -> list[float]:
    """Seconds of each call on one connection."""
    taken = []
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for number in range(calls + 20):
            began = time.perf_counter()
            await stream.send_all(data)
            await _whole_answer(stream)
            if number >= 20:  # the first few warm up
                taken.append(time.perf_counter() - began)
    return taken


async def _whole_answer(stream: trio.SocketStream) -> None:
    said = b""
    while b"\r\n\r\n" not in said:
        said += await _some(stream)
    head, _, body = said.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"a gateway refused: {said[:500]!r}")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    while len(body) < int(length[1]) if length else not body.endswith(b"0\r\n\r\n"):
        body += await _some(stream)
    if b'"finish_reason"' not in body:
        raise SystemExit(f"a gateway answered something else: {body[:500]!r}")


async def _some(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some()
    if not data:
        raise ConnectionError("the gateway closed the connection")
    return bytes(data)


async def streamed(port: int, data: bytes) -> tuple[float, float]:
    """Seconds until the first content, and events a second from there to the end; NaN where no whole stream came."""
    try:
        return await _streamed(port, data)
    except ConnectionError:
        return math.nan, math.nan


async def _streamed(port: int, data: bytes) -> tuple[float, float]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        began = time.perf_counter()
        await stream.send_all(data)
        said = b""
        while b'"content"' not in said:
            said += await _some(stream)
            if not said.startswith(b"HTTP/1.1 200"):
                raise ConnectionError("the gateway refused")
        first = time.perf_counter()
        while b"[DONE]" not in said:
            said += await _some(stream)
        return first - began, said.count(b"data: ") / (time.perf_counter() - first)


def many_at_once(started: Started, room: Path, connections: int, seconds: int) -> tuple[float, float]:
    """Requests a second, and the gateway's processor time of each."""
    fields = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in started.headers.items())
    body = json.dumps({"model": "m", "messages": _MESSAGES})
    script = room / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n{fields}"
    )
    before = processor_time(started.pid)
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        script,
        f"http://127.0.0.1:{started.port}{started.path}",
    ]
    said = subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True, check=True).stdout
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", said)
    if "Non-2xx" in said or (broken is not None and any(map(int, broken.groups()))):
        raise SystemExit(f"a gateway refused under load: {said}")
    count, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec: +([\d.]+)", said)
    if count is None or rate is None:
        raise SystemExit(said)
    return float(rate[1]), (processor_time(started.pid) - before) / max(1, int(count[1]))


async def leave(started: Started, silent: socket.socket, phase: str) -> float:
    """Seconds from the client's going until the upstream sees it; NEVER where it takes longer."""
    seen = math.inf
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(silent))
    asked, over = trio.Event(), trio.Event()

    async def upstream(stream: trio.SocketStream) -> None:
        nonlocal seen
        said = b""
        while b"\r\n\r\n" not in said:
            if not (data := await stream.receive_some()):
                return
            said += data
        if phase == "in a stream":
            choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            event = b"data: %b\n\n" % json.dumps(chunk).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            await stream.send_all(head + b"%x\r\n%s\r\n" % (len(event), event))
        asked.set()
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        seen = time.perf_counter()
        over.set()

    data = request(started.silent_path, started.silent_headers, model="silent", stream=phase != PHASES[2])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, upstream, [listener])
        client = await trio.open_tcp_stream("127.0.0.1", started.port)
        await client.send_all(data)
        with trio.move_on_after(5):
            await asked.wait()
            if phase == "in a stream":
                await client.receive_some()
        left = time.perf_counter()
        await client.aclose()
        with trio.move_on_after(NEVER):
            await over.wait()
        nursery.cancel_scope.cancel()
    return min(NEVER, max(0.0, seen - left))


def processor_time(pid: int) -> float:
    """Of a process and all its children, in seconds."""
    return sum(_times(one) for one in tree(pid)) / _TICKS


def memory(pid: int) -> float:
    """Resident, of the same, in MiB."""
    kilobytes = 0
    for one in tree(pid):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{one}/status").read_text())
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024


def tree(pid: int) -> list[int]:
    """The process and its children, and theirs."""
    children = [one for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]
    return [pid, *(found for child in children for found in tree(int(child)))]


def _times(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def p50_and_p99(taken: list[float]) -> tuple[float, float]:
    return median(taken), quantiles(taken, n=100, method="inclusive")[98]
