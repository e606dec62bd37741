"""A service in memory: the client's side is bytes, the upstream's a script of answers, the store a real file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair

from openai_gateway.engine.gateway import Gateway, open_gateway
from openai_gateway.engine.store.lenient import as_told
from openai_gateway.engine.store.sqlite import SqliteStore, open_sqlite
from openai_gateway.net.listener import Bounds, HttpServer
from openai_gateway.net.transport import Http11Transport
from openai_gateway.routing.plan import ModelRow, Price, Provider, RouteTable
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.routing.settings import Retries, Settings, Timeouts
from openai_gateway.routing.virtual_keys import VirtualKey, digest_of
from openai_gateway.secret import Redactor, Secret
from openai_gateway.service.admin import new_secret
from openai_gateway.service.app import Service
from openai_gateway.service.audit import Audit, open_audit
from openai_gateway.service.metrics import Metrics
from openai_gateway.service.replies import refuse
from openai_gateway.service.traces import Traces
from tests.gateway_engine.loopback import Connection
from tests.gateway_net.memory import in_memory

UPSTREAM_KEY = "sk-upstream-canary-0123456789"
ANSWER = {
    "id": "c1", "object": "chat.completion", "model": "m-2026",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}  # fmt: skip
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "up"}]}
NO_RETRIES = Retries(max_retries=0)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}


def http(status: int, body: object, *fields: str) -> bytes:
    """An upstream's whole answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(content)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def sse(*events: object, done: bool = True) -> bytes:
    """An upstream's whole stream, without a length."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return head + body + (b"data: [DONE]\n\n" if done else b"")


def delta(text: str | None, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m-2026", "choices": [choice]}


@attrs.define
class Answered:
    """What the service said: `body` is without its framing."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        assert set(error) >= {"message", "type", "param", "code"}
        return error


def read(said: bytes) -> Answered:
    """The one answer in these bytes."""
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Answered(status=int(first.split()[1]), headers=headers, body=body)


def unchunked(body: bytes) -> bytes:
    pieces, whole = [], False
    while body:
        size, _, rest = body.partition(b"\r\n")
        if not int(size, 16):
            whole = True
            break
        pieces.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(pieces) + (b"" if whole else b"<cut>")


@attrs.define
class House:
    """The running service. `script` are the upstream's answers, in turn; a float is a silence, None says no more."""

    server: HttpServer
    app: Service
    gateway: Gateway
    store: SqliteStore
    audit: Audit
    path: Path
    script: list[bytes | float | None]
    asked: list[bytes]
    came: trio.Event
    """Set when the upstream was asked for an answer."""
    left: trio.Event
    """Set when the upstream sees that we are gone."""

    async def key(self, **fields: Any) -> str:
        """A new key with these rights; its secret."""
        secret = new_secret()
        name = f"key_{len(await self.store.keys()) + 1}"
        await self.store.put_key(VirtualKey(**{"id": name, "digest": digest_of(secret), "name": "ci", **fields}))
        return secret

    async def ask(
        self,
        method: str,
        target: str,
        *,
        key: str | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """One request on a connection of its own."""
        said = await self.raw(request(method, target, key=key, body=body, headers=headers))
        return read(said)

    async def raw(self, data: bytes) -> bytes:
        async with self.connection() as stream:
            await stream.send_all(data)
            said = b""
            while piece := await stream.receive_some():
                said += piece
            return said

    @asynccontextmanager
    async def connection(self, *, lockstep: bool = False) -> AsyncIterator[trio.abc.Stream]:
        """With `lockstep` what is sent waits until it is read, as it would on a socket."""
        ours, theirs = lockstep_stream_pair() if lockstep else memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.server.serve_connection, theirs)
            yield ours
            await trio.aclose_forcefully(ours)


def request(
    method: str,
    target: str,
    *,
    key: str | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request in bytes, after which the connection ends."""
    fields = {"host": "localhost", "connection": "close", **({"authorization": f"Bearer {key}"} if key else {})}
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if body is not None:
        fields |= {"content-type": "application/json", "content-length": str(len(content))}
    fields |= headers or {}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


@asynccontextmanager
async def house(
    path: Path,
    *answers: bytes | float | None,
    retries: Retries = NO_RETRIES,
    timeouts: Timeouts | None = None,
    traces: Traces | None = None,
    **fields: Any,
) -> AsyncIterator[House]:
    """A service whose model `m` is served by `up`, whose answers are these; `fields` are of ServiceSettings."""
    script: list[bytes | float | None] = list(answers)
    asked: list[bytes] = []
    came, left = trio.Event(), trio.Event()
    settings = Settings(
        table=RouteTable(
            providers={
                "up": Provider(
                    name="up", kind="openai", base_url="http://up.test/v1", api_key=Secret(UPSTREAM_KEY, name="UP")
                )
            },
            rows=(ModelRow(name="m", provider="up", model="m", price=Price(input=1000.0, output=2000.0)),),
        ),
        retries=retries,
        timeouts=timeouts or Timeouts(),
    )
    service = ServiceSettings(data=str(path), **fields)

    async def upstream(connection: Connection) -> None:
        try:
            while head := await connection.request():
                asked.append(head)
                if head.startswith(b"GET /v1/models"):
                    await connection.stream.send_all(http(200, MODELS))
                    continue
                came.set()
                await play(connection, script)
        finally:
            left.set()

    redactor = Redactor(secrets_of(settings))
    async with (
        in_memory(upstream) as memory,
        Http11Transport(connect=memory.connect) as transport,
        open_sqlite(str(path / "gateway.db")) as store,
        open_audit(str(path / "audit.jsonl")) as audit,
    ):
        metrics = Metrics(settings.table)
        async with open_gateway(
            settings,
            transport=transport,
            redactor=redactor,
            store=as_told(store, service),
            record=metrics.record,
            random=lambda: 0.0,
        ) as gateway:
            app = Service(gateway, store, service, redactor, audit=audit, metrics=metrics, traces=traces)
            server = HttpServer(app.handle, refuse=refuse, bounds=Bounds(linger_seconds=0.05))
            yield House(server, app, gateway, store, audit, path, script, asked, came, left)


async def play(connection: Connection, script: list[bytes | float | None]) -> None:
    while script:
        step = script.pop(0)
        if step is None:
            await connection.until_gone()
            return
        if isinstance(step, float):
            await trio.sleep(step)
            continue
        await connection.stream.send_all(step)
        if b"connection: close" in step:
            await trio.aclose_forcefully(connection.stream)
        if script[:1] != [None]:  # then it was all
            return


def secrets_of(settings: Settings) -> Sequence[Secret]:
    return [one.api_key for one in settings.table.providers.values() if one.api_key is not None]
