"""A million messages on one MCP server over its pipes, of both eras and every kind, and a look at what it holds.

They come in rounds: a round opens with a revision of the legacy era, is judged by a judge of its own (who remembers all
that was said), and ends when each request has had its answer; the ids begin anew with it. It fails where any message
ends otherwise than it must, where resident memory grows by a megabyte a hundred thousand messages or more, or where
descriptors stay open.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import attrs
import trio
from asks import KINDS, LEGACY, MOST_BYTES, SLOW, Asked, IsRight, follow_up, has, is_empty, request
from scripts import growth
from scripts.growth import Sample, sample
from tests.gateway_service.process import environment

from openai_gateway_mcp.fuzz import messages
from openai_gateway_mcp.fuzz.judge import Judge

ROUND: Final = 500  # messages
SLOW_EVERY: Final = 100  # rounds
ROUGH_EVERY: Final = 4  # rounds, of which the last has lines that the standards leave in doubt
PATIENCE: Final = 60  # seconds that a round may take
DRAIN: Final = 5  # seconds
SOFT_DEADLINE: Final = 10  # seconds; a round takes less than one, so that a machine that stalls makes no task of a call
OPENING, PROBE = 0, 1  # ids

EVENTS: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
CHUNK: Final = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hello "},"finish_reason":null}]}\n\n'


async def upstream(stream: trio.SocketStream) -> None:
    """A provider that takes longer than the server lets its caller wait, and ends in the middle of a word."""
    try:
        await stream.receive_some()
        await stream.send_all(EVENTS)
        for _ in range(6):
            await stream.send_all(CHUNK)
            await trio.sleep(SOFT_DEADLINE / 5)
        await stream.send_all(b"data: [DONE]\n\n")
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        await trio.aclose_forcefully(stream)


def configuration(path: Path, port: int) -> Path:
    path.write_text(f"""
[providers.echo]
kind = "echo"

[providers.up]
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"

[[models]]
name = "echo"
provider = "echo"

[[models]]
name = "echo2"
provider = "echo"
model = "echo"

[[models]]
name = "slow"
provider = "up"
""")
    path.chmod(0o600)
    return path


@attrs.define(eq=False)
class Round:
    """What was said in one round, what is still to come of it, and what was wrong with what came."""

    judge: Judge = attrs.field(factory=Judge)
    wrong: list[str] = attrs.field(factory=list)
    _due: dict[int, IsRight] = attrs.field(factory=dict)
    _maybe: dict[int, IsRight] = attrs.field(factory=dict)
    _nameless: Counter[int] = attrs.field(factory=Counter)
    _free: int = PROBE + 1
    sent: int = 0

    @property
    def is_over(self) -> bool:
        return not self._due and not self._nameless

    def next_id(self) -> int:
        self._free += 1
        return self._free - 1

    def say(self, asked: Asked) -> bytes:
        """The bytes of it, from now on expected to be answered."""
        for one in asked.lines:
            self.judge.sent(one)
        (self._maybe if asked.may_be_silent else self._due).update(asked.answers)
        self._nameless.update(asked.nameless)
        self.sent += len(asked.lines)
        return b"".join(one + b"\n" for one in asked.lines)

    def hear(self, line: bytes) -> Asked | None:
        """Take in a line; what it leads to."""
        self.judge.heard(line)
        message = json.loads(line)
        id_ = message.get("id")
        if "method" in message:
            return None
        if id_ is None:
            code = message["error"]["code"]
            if not self._nameless[code]:
                self.wrong.append(f"nothing called for {line[:200]!r}")
            self._nameless -= Counter([code])
            return None
        is_right = self._due.pop(id_, None) or self._maybe.pop(id_, None)
        if is_right is None:
            self.wrong.append(f"twice, or not asked: {line[:200]!r}")
        elif not is_right(message):
            self.wrong.append(f"not what it must be: {line[:200]!r}")
        elif id_ == PROBE:
            self.judge.caught_up()
        return follow_up(message, self.next_id())

    def end(self) -> list[str]:
        """All that was wrong."""
        self.judge.settled()
        missing = [f"no answer to id {id_}" for id_ in self._due]
        missing += [f"{count} errors {code} without an id are missing" for code, count in self._nameless.items()]
        return [*self.wrong, *missing, *(f"{one.rule.id}: {one.text}" for one in self.judge.deviations)]


class Client:
    """The client's ends of the server's pipes."""

    def __init__(self, to: trio.abc.SendStream, from_: trio.abc.ReceiveStream) -> None:
        self._to = to
        self._from = from_
        self._turn = trio.Lock()
        self._rest = b""
        self._lines: deque[bytes] = deque()

    async def send(self, data: bytes) -> None:
        async with self._turn:
            await self._to.send_all(data)

    async def line(self) -> bytes:
        """The next one. Raises EOFError where the server ended."""
        while not self._lines:
            data = await self._from.receive_some()
            if not data:
                raise EOFError("the server ended")
            *ended, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(ended)
        return self._lines.popleft()

    async def close(self) -> bytes:
        """Close the server's input; what else it said."""
        await self._to.aclose()
        rest = b"".join([one + b"\n" for one in self._lines]) + self._rest
        while data := await self._from.receive_some():
            rest += data
        return rest


async def play(client: Client, number: int, random: Random) -> Round:
    """One round; `end` says what was wrong with it."""
    this = Round()
    opening = messages.initialize(random.choice(LEGACY))["params"]
    asked = Asked(lines=(request(OPENING, "initialize", **opening),), answers=((OPENING, has("protocolVersion")),))
    await client.send(this.say(asked))
    with trio.move_on_after(PATIENCE):
        this.hear(await client.line())
        async with trio.open_nursery() as nursery:
            said = b"".join(map(this.say, _kinds(this, number, random)))
            nursery.start_soon(client.send, said)
            while not this.is_over:
                if (next_ := this.hear(await client.line())) is not None:
                    nursery.start_soon(client.send, this.say(next_))
    return this


def _kinds(this: Round, number: int, random: Random) -> Iterator[Asked]:
    """Well over `ROUND` messages are never said: a kind has two lines at most."""
    is_rough = number % ROUGH_EVERY == ROUGH_EVERY - 1
    slow = SLOW if number % SLOW_EVERY == 0 else ()
    chosen = [*slow, *random.choices([kind for _, kind in KINDS], [weight for weight, _ in KINDS], k=ROUND)]
    random.shuffle(chosen)
    for kind in chosen:
        if this.sent >= ROUND - 1:
            break
        asked = kind(this.next_id(), f"Why is {random.random():.12f}? ")
        if is_rough or not asked.in_doubt:
            yield asked
    yield Asked(lines=(request(PROBE, "ping"),), answers=((PROBE, is_empty),))


async def soak(client: Client, pid: int, asked: argparse.Namespace) -> tuple[list[Sample], Counter[str]]:
    random, wrong = Random(asked.seed), Counter[str]()  # noqa: S311 - what is said next is no secret
    samples: list[Sample] = []
    said, number = 0, 0
    while said < asked.messages:
        this = await play(client, number, random)
        said, number = said + this.sent, number + 1
        faults = this.end()
        wrong.update(faults)
        if not samples or said >= len(samples) * asked.messages / growth.SAMPLES:
            samples.append(sample(pid, said))
        if any(fault.startswith("no answer") for fault in faults):
            break  # whatever comes later would be taken for an answer in the next round
    return [*samples, sample(pid, said)], wrong


async def run(asked: argparse.Namespace, room: Path) -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, upstream, [listener])
        config = configuration(room / "gateway.toml", listener.socket.getsockname()[1])
        argv = [
            "--config",
            str(config),
            "--drain",
            str(DRAIN),
            "--rate-limit",
            "0",
            "--soft-deadline",
            str(SOFT_DEADLINE),
        ]
        argv += ["--log-level", "warn"]
        with (room / "log").open("w+b") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "openai_gateway_mcp", *argv],
                env=environment(MAX_MESSAGE_BYTES=str(MOST_BYTES)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            client = Client(process.stdin, process.stdout)
            began = time.monotonic()
            samples, wrong = await soak(client, process.pid, asked)
            # What a client left may still be closing: a call to a slow provider is over in some seconds.
            is_flat = growth.report(samples, "messages", time.monotonic() - began, kept=4)
            rest = await client.close()
            ended = await process.wait()
            log.seek(0)
            traces = log.read().count(b"Traceback")
        nursery.cancel_scope.cancel()
    print(f"after the end of its input it said {rest[:200]!r} and ended with status {ended}; {traces} tracebacks")
    print(f"{wrong.total()} were wrong")
    for what, count in wrong.most_common(10):
        print(f"WRONG {count} times: {what}")
    return int(not (is_flat and not wrong and not rest and not ended and not traces))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak stdio", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    with tempfile.TemporaryDirectory() as room:
        return trio.run(run, parser.parse_args(), Path(room))


if __name__ == "__main__":
    sys.exit(main())
