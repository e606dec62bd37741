"""`openai-gateway serve`: where the settings, the store, the gateway and the listener are put together."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from openai_gateway.engine.beside import beside
from openai_gateway.engine.gateway import Gateway, open_gateway
from openai_gateway.engine.store import ServiceStore
from openai_gateway.engine.store.lenient import as_told
from openai_gateway.engine.store.opening import open_store
from openai_gateway.errors import ConfigError, GatewayError
from openai_gateway.log import set_up
from openai_gateway.net.admission import is_loopback
from openai_gateway.net.leaving import LEAVING, drained, leave_at
from openai_gateway.net.listener import Bounds, HttpServer
from openai_gateway.net.tls import server_context
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import Redactor
from openai_gateway.service.app import Service
from openai_gateway.service.audit import open_audit
from openai_gateway.service.control import Line, Worker
from openai_gateway.service.metrics import Metrics
from openai_gateway.service.replies import refuse
from openai_gateway.service.traces import open_traces

_LOG: Final = logging.getLogger("openai_gateway")
_DAY: Final = 86_400_000  # milliseconds
_PRUNE_EVERY: Final = 3600.0  # seconds

Reread = Callable[[], Settings]
"""Reads the settings again, in a thread; it raises ConfigError."""


def refuse_open_doors(service: ServiceSettings) -> None:
    """Raises ConfigError for a service that anybody on the network could use."""
    if service.no_auth and not is_loopback(service.host):
        raise ConfigError(f"--no-auth needs an address of this machine alone, and {service.host} is none.")


async def bind(service: ServiceSettings) -> Sequence[trio.SocketListener]:
    """The listening sockets. Raises ConfigError where the address cannot be had."""
    try:
        return await trio.open_tcp_listeners(service.port, host=service.host, backlog=1024)
    except OSError as error:
        raise ConfigError(f"{service.host}:{service.port} cannot be listened on: {error.strerror or error}.") from None


@attrs.frozen(kw_only=True)
class Inherited:
    """What a worker has from its parent: the listening sockets, and its end of the line."""

    listeners: tuple[int, ...]
    line: int

    @classmethod
    def of(cls, said: str) -> Inherited:
        """From the descriptors as the parent wrote them, its line last. Raises ConfigError."""
        numbers = said.split(",")
        if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
            raise ConfigError("--worker is for the workers that `serve --workers` starts.")
        *listeners, line = map(int, numbers)
        return cls(listeners=tuple(listeners), line=line)


async def run_service(
    settings: Settings,
    service: ServiceSettings,
    listeners: Sequence[trio.SocketListener],
    *,
    redactor: Redactor,
    drain: trio.Event,
    reread: Reread,
    orders: AsyncIterable[int] | Line,
) -> None:
    """Serve until `drain` is set and what was in work then has ended, or the grace is over.

    `orders` are the hangups that ask for a reload, or the line to a parent that says when to reload and to drain.
    """
    tls = None
    if service.tls is not None:
        tls = server_context(service.tls.certificate, service.tls.key, service.tls.client_ca)
    metrics = Metrics(settings.table)
    await trio.Path(service.data).mkdir(mode=0o700, parents=True, exist_ok=True)  # uploads lie there too
    async with (
        open_store(service) as store,
        open_audit(str(Path(service.data) / "audit.jsonl")) as audit,
        open_traces(service.otlp_endpoint) as traces,
        open_gateway(
            settings,
            redactor=redactor,
            store=as_told(store, service),
            record=metrics.record,
            strangers=True,
        ) as gateway,
    ):
        reloading = Reloading(gateway, metrics, reread)
        worker = None
        if isinstance(orders, Line):
            worker = reloading.worker(orders, drain)
            obey: Callable[[], Awaitable[None]] = worker.run
        else:
            obey = partial(reloading.at_each, orders)
        app = Service(
            gateway,
            store,
            service,
            redactor,
            audit=audit,
            metrics=metrics,
            traces=traces,
            in_work=lambda: server.exchanges,
            counts=None if worker is None else worker.summed,
        )
        server = HttpServer(app.handle, refuse=refuse, bounds=Bounds(connections=service.max_connections), tls=tls)
        await _say_how_to_begin(store, service)
        async with beside(
            obey,
            partial(_prune, store, service),
            partial(server.serve, listeners),
        ):
            gc.freeze()  # what the imports made stays: no later collection has to look at it
            await drain.wait()
            app.draining = True
            await drained(server, service.grace)


class Reloading:
    """Keeps a gateway's settings what the files say: at a signal, or in two steps as a parent says."""

    def __init__(self, gateway: Gateway, metrics: Metrics, reread: Reread) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._reread = reread
        self._checked: Settings | None = None

    def worker(self, line: Line, drain: trio.Event) -> Worker:
        """This process as a worker."""
        return Worker(line, drain=drain, check=self.check, swap=self.swap, count=self._metrics.snapshot)

    async def check(self) -> str:
        """Read the configuration; what is wrong with it, "" for nothing."""
        try:
            self._checked = await trio.to_thread.run_sync(self._reread, abandon_on_cancel=True)
        except ConfigError as error:
            return str(error)
        return ""

    async def swap(self) -> None:
        """Let what was read last take effect."""
        settings, self._checked = self._checked, None
        if settings is not None:
            self._metrics.reload(settings.table)
            await self._gateway.reload(settings)

    async def at_each(self, hangups: AsyncIterable[int]) -> None:
        """Both, at each SIGHUP."""
        async for _ in hangups:
            if error := await self.check():
                _LOG.error("SIGHUP came, but the old configuration serves on: %s", error)
                continue
            await self.swap()
            rows = len(self._gateway.settings.table.rows)
            _LOG.info("SIGHUP came: the configuration is read again, %d model row(s).", rows)


def serve_until_stopped(
    reread: Reread, service: ServiceSettings, *, log_level: str, argv: Sequence[str], inherited: Inherited | None = None
) -> None:
    """The whole life of a service in this process. Raises ConfigError, and ends the process at a second signal.

    `argv` is the command line, for workers; a process that has `inherited` is one.
    """
    refuse_open_doors(service)
    settings = reread()
    ours = (service.metrics_token, service.store_password)
    redactor = Redactor([*settings.secrets, *(secret for secret in ours if secret is not None)])
    set_up(log_level, redactor)
    if inherited is None:
        for warning in settings.warnings:
            _LOG.warning("%s", warning)
    try:
        if inherited is None and service.workers > 1:
            trio.run(_supervise, service, argv)
        else:
            trio.run(_serve, settings, service, redactor, reread, inherited)
    except GatewayError as error:  # the store cannot be used
        message = str(error)
    else:
        return
    raise ConfigError(message)


async def _supervise(service: ServiceSettings, argv: Sequence[str]) -> None:
    from openai_gateway.supervisor import Supervisor  # noqa: PLC0415 - for several workers alone

    with trio.open_signal_receiver(*Supervisor.SIGNALS) as signals:  # before anybody is told that we serve
        listeners = await bind(service)
        _say_where(service, listeners)
        await Supervisor(argv, service, [one.socket.fileno() for one in listeners], signals).run()


async def _serve(
    settings: Settings, service: ServiceSettings, redactor: Redactor, reread: Reread, inherited: Inherited | None
) -> None:
    drain = trio.Event()
    serving = partial(run_service, settings, service, redactor=redactor, drain=drain, reread=reread)
    with trio.open_signal_receiver(*LEAVING) as leaving:
        if inherited is None:
            # A hangup that comes while the store is being opened waits; without a receiver it would end the process.
            with trio.open_signal_receiver(signal.SIGHUP) as hangups:
                listeners = await bind(service)
                _say_where(service, listeners)
                async with beside(partial(leave_at, leaving, drain, os._exit)):
                    await serving(listeners, orders=hangups)
            return
        sockets = [trio.socket.from_stdlib_socket(socket.socket(fileno=number)) for number in inherited.listeners]
        line = Line(trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=inherited.line))))
        listeners = [trio.SocketListener(one) for one in sockets]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one for the whole group is the parent's to act on
        async with beside(partial(leave_at, leaving, drain, os._exit)):  # systemd sends SIGTERM to all of a unit
            await serving(listeners, orders=line)


def _say_where(service: ServiceSettings, listeners: Sequence[trio.SocketListener]) -> None:
    scheme = "http" if service.tls is None else "https"
    _LOG.info("Serving on %s://%s:%d.", scheme, service.host, listeners[0].socket.getsockname()[1])


async def _prune(store: ServiceStore, service: ServiceSettings) -> None:
    """Rows of the ledger are kept by age and number."""
    while True:
        before = round(time.time() * 1000) - service.retention_days * _DAY
        try:
            gone = await store.prune(before=before, most=service.retention_rows)
        except GatewayError as error:
            _LOG.warning("Old rows of the ledger could not be dropped: %s", error)
        else:
            if gone:
                _LOG.info("%d old row(s) of the ledger were dropped.", gone)
        await trio.sleep(_PRUNE_EVERY)


async def _say_how_to_begin(store: ServiceStore, service: ServiceSettings) -> None:
    if service.lenient:
        _LOG.warning('on_store_failure is "allow": while the store cannot be asked, no limit and no budget holds.')
    if service.no_auth:
        _LOG.warning("--no-auth: whoever reaches %s may use every model, and every provider's key.", service.host)
    elif not await store.keys():
        _LOG.warning("There is no key yet, so nobody can call. Make one: openai-gateway keys create --name me")
