"""The conformance suite speaks HTTP alone: this passes what it asks on to our server for it over stdio.

`python -m tests.conformance_bridge` prints the URL that it serves at. It knows nothing of MCP but where ids stand.
"""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
from typing import Any

import trio

from openai_gateway.net.listener import Exchange, HttpServer
from openai_gateway.wire.sse import encode
from openai_gateway_mcp.transports.replies import refuse

Json = Any
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Bridge:
    """One process for all clients: ids and progress tokens are made its own on the way in, theirs on the way out."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._line = trio.Lock()
        self._waiting: dict[int, trio.MemorySendChannel[Json]] = {}

    async def listen(self) -> None:
        """What the process says goes to whom it concerns."""
        assert self._process.stdout is not None
        unfinished = b""
        async for piece in self._process.stdout:
            *lines, unfinished = (unfinished + piece).split(b"\n")
            for line in lines:
                message = json.loads(line)
                waiting = self._waiting.get(self._number(message))
                if waiting is not None:
                    waiting.send_nowait(message)

    def _number(self, message: Json) -> int:
        params = message.get("params", {})
        tag = params.get("_meta", {}).get(SUBSCRIPTION)
        return int(message.get("id") or params.get("progressToken") or tag or 0)

    async def handle(self, exchange: Exchange) -> None:
        if exchange.request.method != "POST":
            await exchange.answer(405)
            return
        message = json.loads(await exchange.body(2**24))
        if "id" not in message:
            await self._say(message)
            await exchange.answer(202)
            return
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[Json](1_000)
        self._waiting[number] = send
        try:
            await self._converse(exchange, message, number, receive)
        finally:
            del self._waiting[number]

    async def _converse(
        self, exchange: Exchange, message: Json, number: int, receive: trio.MemoryReceiveChannel[Json]
    ) -> None:
        meta = message.get("params", {}).get("_meta", {})
        token = meta.get("progressToken")
        if token is not None:
            meta["progressToken"] = number
        await self._say({**message, "id": number})
        await exchange.begin(200, [("content-type", "text/event-stream")])
        async for said in receive:
            self._give_back(said, message["id"], token)
            await exchange.send(encode(json.dumps(said).encode()))
            if "method" not in said:
                break
        await exchange.finish()

    def _give_back(self, said: Json, id_: Json, token: Json) -> None:
        params = said.get("params", {})
        for meta in (params.get("_meta", {}), said.get("result", {}).get("_meta", {})):
            if SUBSCRIPTION in meta:
                meta[SUBSCRIPTION] = id_
        if "id" in said:
            said["id"] = id_
        if "progressToken" in params:
            params["progressToken"] = token

    async def _say(self, message: Json) -> None:
        assert self._process.stdin is not None
        async with self._line:
            await self._process.stdin.send_all(json.dumps(message).encode() + b"\n")


async def main() -> None:
    command = [sys.executable, "-m", "tests.conformance_server", "stdio"]
    run = functools.partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        bridge = Bridge(process)
        nursery.start_soon(bridge.listen)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        sys.stdout.write(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/mcp\n")  # noqa: TID251 - no wire here
        sys.stdout.flush()  # noqa: TID251 - as above
        await HttpServer(bridge.handle, refuse=refuse).serve(listeners)


if __name__ == "__main__":
    trio.run(main)
