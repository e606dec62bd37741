"""The floor: trio, a task a message, and nothing else. It validates nothing and answers every line the same."""

import json
import os

import trio


async def answer(line: bytes) -> None:  # noqa: ASYNC124, ASYNC910 - a checkpoint would cost what the floor does not do
    message = json.loads(line)
    if "id" in message:
        reply = {"jsonrpc": "2.0", "id": message["id"], "result": {}}
        os.write(1, json.dumps(reply).encode() + b"\n")


async def main() -> None:
    rest = b""
    async with trio.open_nursery() as nursery:
        data = b"\n"
        while data:
            await trio.lowlevel.wait_readable(0)
            data = os.read(0, 65536)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                nursery.start_soon(answer, line)


trio.run(main)
