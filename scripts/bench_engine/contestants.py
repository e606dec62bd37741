"""Who calls: h11 on a trio socket as the floor, httpx with either transport, the router with either transport."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import h11
import httpx
import trio

from openai_gateway import Call, Chunk, Settings, open_gateway
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable
from openai_gateway.secret import Secret

BODY = {"messages": [{"role": "user", "content": "Say a few words. " * 10}]}
_HEADERS = {"authorization": "Bearer sk-bench", "content-type": "application/json", "accept-encoding": "identity"}


@attrs.frozen(kw_only=True)
class Caller:
    """`call` makes one call and reads its answer; `stream` makes a streamed one and gives the number of its pieces."""

    call: Callable[[], Awaitable[None]]
    stream: Callable[[], Awaitable[int]]


Open = Callable[[int], AbstractAsyncContextManager[Caller]]
"""Given the port of the upstream."""


@attrs.frozen(kw_only=True)
class Contestant:
    """`name` chooses it on the command line, `title` is for the table."""

    name: str
    title: str
    open: Open


def _bytes(*, stream: bool) -> bytes:
    return json.dumps({"model": "m", **BODY, **({"stream": True} if stream else {})}, separators=(",", ":")).encode()


class _Line:
    """One connection of the floor: what h11 and a socket cost, and nothing else."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, body: bytes) -> int:
        http = self._http
        headers = [("host", "bench"), ("content-length", str(len(body))), *_HEADERS.items()]
        request = h11.Request(method="POST", target="/v1/chat/completions", headers=headers)
        await self._stream.send_all(http.send(request) + http.send(h11.Data(data=body)) + http.send(h11.EndOfMessage()))
        pieces = 0
        while (event := http.next_event()).__class__ is not h11.EndOfMessage:
            if event is h11.NEED_DATA:
                http.receive_data(await self._stream.receive_some(65536))
            pieces += isinstance(event, h11.Data)
        http.start_next_cycle()
        return pieces


@asynccontextmanager
async def _floor(port: int) -> AsyncIterator[Caller]:
    idle: list[_Line] = []
    whole, streamed = _bytes(stream=False), _bytes(stream=True)

    async def ask(body: bytes) -> int:
        line = idle.pop() if idle else _Line(await trio.open_tcp_stream("127.0.0.1", port))
        pieces = await line.ask(body)
        idle.append(line)
        return pieces

    async def call() -> None:
        await ask(whole)

    yield Caller(call=call, stream=lambda: ask(streamed))


def _httpx(transport: Callable[[], httpx.AsyncBaseTransport]) -> Open:
    @asynccontextmanager
    async def opened(port: int) -> AsyncIterator[Caller]:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        whole, streamed = _bytes(stream=False), _bytes(stream=True)
        async with httpx.AsyncClient(transport=transport(), headers=_HEADERS, timeout=30) as client:

            async def call() -> None:
                answer = await client.post(url, content=whole)
                answer.raise_for_status()

            async def stream() -> int:
                async with client.stream("POST", url, content=streamed) as answer:
                    return len([piece async for piece in answer.aiter_bytes()])

            yield Caller(call=call, stream=stream)

    return opened


def _own_of_httpx() -> httpx.AsyncBaseTransport:
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
    return httpx.AsyncHTTPTransport(verify=False, limits=limits)


def _router(transport: str) -> Open:
    @asynccontextmanager
    async def opened(port: int) -> AsyncIterator[Caller]:
        provider = Provider(
            name="bench",
            kind="openai",
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key=Secret("sk-bench", name="KEY"),
            transport=transport,
        )
        rows = (ModelRow(name="m", provider="bench", model="m"),)
        settings = Settings(table=RouteTable(providers={"bench": provider}, rows=rows))
        async with open_gateway(settings) as gateway:

            async def call() -> None:
                await gateway.call(Call(model="m", body=BODY))

            async def stream() -> int:
                async with gateway.stream(Call(model="m", body=BODY)) as parts:
                    return len([part async for part in parts if isinstance(part, Chunk)])

            yield Caller(call=call, stream=stream)

    return opened


CONTESTANTS = (
    Contestant(name="h11", title="h11 on a trio socket", open=_floor),
    Contestant(name="native", title="httpx, our transport", open=_httpx(Http11Transport)),
    Contestant(name="httpx", title="httpx, its own transport", open=_httpx(_own_of_httpx)),
    Contestant(name="router", title="router", open=_router("native")),
    Contestant(name="router-httpx", title="router, httpx's transport", open=_router("httpx")),
)
