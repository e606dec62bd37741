"""Mixed calls on one service, many of them broken off or faulty, and a look at what it holds meanwhile.

It fails where a call ends otherwise than it must, where resident memory grows by a megabyte a hundred thousand calls or
more, or where descriptors stay open.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Final

import attrs
import trio
from scripts import growth
from scripts.growth import Sample, sample
from tests.gateway_service.process import Served, made_key, served

PATIENCE: Final = 20  # seconds that a call may take

DONE: Final = b"data: [DONE]\n\n"
ANSWER: Final = json.dumps(
    {
        "id": "c", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 200}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }
).encode()  # fmt: skip


def event(text: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": None if text else "stop"}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def whole(body: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


async def upstream(stream: trio.SocketStream) -> None:
    """One connection of a provider that does what the model's name says."""
    try:
        while (request := await _request(stream)) is not None:
            if not await _answer(stream, request):
                await stream.send_eof()
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        await trio.aclose_forcefully(stream)


async def _request(stream: trio.SocketStream) -> bytes | None:
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if end and len(body) >= int(fields.get(b"content-length", 0)):
            return data
        piece = await stream.receive_some()
        if not piece:
            return None
        data += piece


async def _answer(stream: trio.SocketStream, request: bytes) -> bool:
    """Whether another request may follow on the connection."""
    body = request.partition(b"\r\n\r\n")[2]
    manner = next((name for name in MANNERS if b'"%b"' % name.encode() in body), "good")
    streams = b'"stream":true' in body
    match manner:
        case "broken":
            await stream.send_all(whole(b'{"error": {"message": "No", "type": "server_error"}}', 500))
        case "garbage":
            await stream.send_all(b"this is no HTTP\r\n\r\n")
            return False
        case "cuts":
            await stream.send_all(STREAM + event("Hel"))
            return False
        case "slow":
            await trio.sleep(0.05)
            await stream.send_all(whole(ANSWER))
        case _ if streams:
            await stream.send_all(STREAM)
            for _ in range(8):
                await stream.send_all(event("Hello "))
                await trio.lowlevel.checkpoint()
            await stream.send_all(event(None) + DONE)
            return False
        case _:
            await stream.send_all(whole(ANSWER))
    return True


MANNERS: Final = ("broken", "garbage", "cuts", "slow")


@attrs.frozen
class Asks:
    """The service's port, and the keys of a caller and of one whose limit is reached."""

    port: int
    key: str
    limited: str

    async def chat(self, model: str, *, stream: bool = False, key: str = "", leaves: str = "") -> bytes:
        """All that comes; nothing more once `leaves` has come, and nothing at all with "at once"."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream})
        return await self._ask("chat/completions", "application/json", body.encode(), key=key, leaves=leaves)

    async def upload(self) -> bytes:
        boundary = "b0und4ry"
        parts = (('name="model"', b"good"), ('name="file"; filename="a.wav"', b"R" * 65536))
        body = b"".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + content + b"\r\n"
            for name, content in parts
        )
        kind = f"multipart/form-data; boundary={boundary}"
        return await self._ask("audio/transcriptions", kind, body + f"--{boundary}--\r\n".encode())

    async def _ask(self, path: str, kind: str, body: bytes, *, key: str = "", leaves: str = "") -> bytes:
        head = (
            f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key or self.key}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(head.encode() + body)
            if leaves == "at once":
                await trio.sleep(0.01)
                return b""
            said = b""
            while piece := await stream.receive_some():
                said += piece
                if leaves and leaves.encode() in said:
                    break
            return said


Kind = tuple[str, int, Callable[[Asks], Awaitable[bytes]], Callable[[bytes], bool]]


def begins(status: int) -> Callable[[bytes], bool]:
    return lambda said: said.startswith(b"HTTP/1.1 %d " % status)


KINDS: Final[tuple[Kind, ...]] = (
    ("whole", 40, lambda to: to.chat("good"), begins(200)),
    ("streamed", 20, lambda to: to.chat("good", stream=True), lambda said: b"data: [DONE]" in said),
    ("left in a stream", 10, lambda to: to.chat("good", stream=True, leaves="Hello "), begins(200)),
    ("left before the answer", 6, lambda to: to.chat("slow", leaves="at once"), lambda said: not said),
    ("upstream broke", 8, lambda to: to.chat("broken"), begins(500)),
    ("upstream sent garbage", 4, lambda to: to.chat("garbage"), begins(502)),
    ("upstream cut a stream", 5, lambda to: to.chat("cuts", stream=True),
     lambda said: b'"error"' in said and DONE not in said),
    ("with a wrong key", 3, lambda to: to.chat("good", key="ogw_" + "x" * 43), begins(401)),
    ("over a limit", 2, lambda to: to.chat("good", key=to.limited), begins(429)),
    ("uploaded", 2, lambda to: to.upload(), begins(200)),
)  # fmt: skip


async def soak(to: Asks, service: Served, asked: argparse.Namespace) -> tuple[list[Sample], Counter[str]]:
    random, wrong = Random(asked.seed), Counter[str]()  # noqa: S311 - which call comes next is no secret
    samples, calls = [sample(service.process.pid, 0)], asked.calls
    chosen = random.choices(KINDS, [weight for _, weight, _, _ in KINDS], k=calls)
    begun = 0

    async def ask() -> None:
        nonlocal begun
        while begun < calls:
            name, _, asks, is_right = chosen[begun]
            begun += 1
            if begun % max(1, calls // growth.SAMPLES) == 0:
                samples.append(sample(service.process.pid, begun))
            said = b"nothing in time"
            with trio.move_on_after(PATIENCE):
                said = await asks(to)
            if not is_right(said):
                wrong[f"{name}: {said[:80]!r}"] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(asked.at_once):
            nursery.start_soon(ask)
    await trio.sleep(2)  # what is being closed is closed
    return [*samples, sample(service.process.pid, calls)], wrong


def report(samples: list[Sample], wrong: Counter[str], seconds: float, at_once: int) -> int:
    """Print what was seen; the exit status."""
    is_flat = growth.report(samples, "calls", seconds, kept=at_once)  # so many connections may be kept upstream
    for what, count in wrong.most_common(10):
        print(f"WRONG {count} times: {what}")
    return 0 if is_flat and not wrong else 1


def configuration(path: Path, port: int) -> Path:
    path.write_text(f"""
[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"

[[models]]
name = "*"
provider = "up"
model = "*"
price = {{ input = 1.0, output = 2.0 }}
max_output_tokens = 100

[retries]
max_retries = 0
""")
    path.chmod(0o600)
    return path


async def run(asked: argparse.Namespace, room: Path, key: str, limited: str) -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, upstream, [listener])
        config = configuration(room / "gateway.toml", listener.socket.getsockname()[1])
        with served(room / "data", "--config", str(config)) as service:
            # Whoever does not read what a service logs stops it, once the pipe is full.
            threading.Thread(target=deque, args=(service.process.stderr, 0), daemon=True).start()
            to = Asks(int(service.url.rpartition(":")[2]), key, limited)
            began = time.monotonic()
            samples, wrong = await soak(to, service, asked)
            status = report(samples, wrong, time.monotonic() - began, asked.at_once)
            service.process.terminate()
            ended = await trio.to_thread.run_sync(service.process.wait)
        nursery.cancel_scope.cancel()
    return status or ended


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak service", description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        data = Path(room) / "data"
        key = made_key(data, "--budget", "1000000", "--rpm", "1000000")
        return trio.run(run, asked, Path(room), key, made_key(data, "--rpm", "0"))


if __name__ == "__main__":
    sys.exit(main())
