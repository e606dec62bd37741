"""The floor: trio, a task a message, and nothing else. It validates nothing and answers every line the same."""

import json
import os
import sys
from pathlib import Path

import trio

RESULT = Path(sys.argv[1]).read_text() if sys.argv[1:] else "{}"


async def answer(line: bytes) -> None:  # noqa: ASYNC124, ASYNC910 - a checkpoint would cost what the floor does not do
    message = json.loads(line)
    if "id" in message:
        os.write(1, f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},"result":{RESULT}}}\n'.encode())


async def main() -> None:
    rest, data = b"", b"\n"
    async with trio.open_nursery() as nursery:
        while data:
            await trio.lowlevel.wait_readable(0)
            data = os.read(0, 65536)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                nursery.start_soon(answer, line)


trio.run(main)
